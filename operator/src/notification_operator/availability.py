"""Why aren't the dispatchers ready? The condition DispatcherAvailable, from a Deployment and its pods' own status.

`reconcile` calls `judge` with what the watches know, and `unseen` where they know nothing. The checks stand in the
order in which they are looked at: what keeps a pod from starting, then what keeps it from being there at all, then what
may still mend itself. A pod that crashes changes its status for hours: a message has no counter and no time in it, so
that it is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from notification_operator import pods, quoting
from notification_operator.pods import Container, Pod, Terminated
from notification_operator.status import Condition, ConditionType, Reason

_PULL_FAILURES = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
)
_CREATION_FAILURES = ("CreateContainerConfigError", "CreateContainerError")
_SIGNALS = {6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}


@dataclass(frozen=True, slots=True)
class Trouble:
    """The first thing that is wrong: a reason for programs and a sentence for people."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """A Deployment and the pods of its current template."""

    deployment: Mapping[str, Any]
    pods: Sequence[Pod]

    @property
    def namespace(self) -> str:
        """Where it is."""
        return str(self.deployment["metadata"]["namespace"])

    @property
    def unready(self) -> Iterator[tuple[Pod, Container]]:
        """Each container that isn't ready."""
        return ((pod, container) for pod in self.pods for container in pod.containers if not container.ready)

    def condition(self, kind: str) -> Mapping[str, Any]:
        """One condition of the Deployment; empty while it isn't there."""
        conditions: Sequence[Mapping[str, Any]] = self.deployment.get("status", {}).get("conditions", ())
        return next((one for one in conditions if one["type"] == kind), {})

    def memory_limit(self, container: str) -> str:
        """Of one container, as the template says it; empty for one that somebody else put into the pod."""
        found: Sequence[Mapping[str, Any]] = self.deployment["spec"]["template"]["spec"]["containers"]
        limits = (one.get("resources", {}).get("limits", {}) for one in found if one["name"] == container)
        return next((str(limit["memory"]) for limit in limits if "memory" in limit), "")


def unseen(why: Exception) -> Condition:
    """The condition DispatcherAvailable while nobody can say what became of the Deployment."""
    message = f"How many dispatchers are ready cannot be seen, for Deployments could not be listed: {why}."
    return Condition(ConditionType.DISPATCHER_AVAILABLE, "Unknown", Reason.STATUS_UNKNOWN, message)


def judge(deployment: Mapping[str, Any], known: Sequence[Pod] | None) -> Condition:
    """The condition DispatcherAvailable. `known` are the pipeline's pods; None when they may not be read.

    The verdict is True while enough pods serve, be they of an older template: the message tells of the new ones.
    """
    found = deployment.get("status", {})
    wanted = deployment.get("spec", {}).get("replicas", 1)
    ready, updated = found.get("readyReplicas", 0), found.get("updatedReplicas", 0)
    # A status of an older generation speaks of pods that are about to be replaced.
    current = found.get("observedGeneration") == deployment.get("metadata", {}).get("generation", -1)
    if wanted == 0:
        message = "spec.replicas is 0: nothing is taken or delivered, and what waits stays where it is."
        return Condition(ConditionType.DISPATCHER_AVAILABLE, "False", Reason.SCALED_TO_ZERO, message)
    count = f"{ready} of {wanted} dispatchers are ready"
    if current and ready >= wanted and updated >= wanted and found.get("replicas", 0) == updated:
        return Condition(ConditionType.DISPATCHER_AVAILABLE, "True", Reason.AVAILABLE, f"{count}.")
    trouble = _first_trouble(Rollout(deployment, _current(deployment, known or ()))) if current else None
    reason = Reason.ROLLING_OUT if trouble is None else trouble.reason
    # Ready ones beside the trouble are of an older template, and serve.
    serves = ready >= wanted
    link = ", but" if serves else ":"
    message = f"{count}, and a rollout is under way." if trouble is None else f"{count}{link} {trouble.message}"
    blind = "" if known is not None else " The operator may not list pods, so it cannot tell more."
    return Condition(ConditionType.DISPATCHER_AVAILABLE, "True" if serves else "False", reason, f"{message}{blind}")


def _current(deployment: Mapping[str, Any], known: Sequence[Pod]) -> list[Pod]:
    """The pods that the Deployment's template made, in a lasting order."""
    template = deployment["spec"]["template"].get("metadata", {}).get("annotations", {})
    wanted = pods.revision(template)
    return sorted((pod for pod in known if pod.active and pod.metadata.annotations == wanted), key=lambda pod: pod.name)


def _first_trouble(rollout: Rollout) -> Trouble | None:
    return next((trouble for check in _CHECKS if (trouble := check(rollout)) is not None), None)


def _image(rollout: Rollout) -> Trouble | None:
    """The image can't be had."""
    for _, container in rollout.unready:
        waiting = container.state.waiting
        if waiting is not None and waiting.reason in _PULL_FAILURES:
            why = quoting.pull_error(waiting.message)
            said = f": {why}" if why else ""
            what = f"the image {container.image} cannot be pulled{said}"
            return Trouble(Reason.IMAGE_PULL_FAILED, f"{what}. See that it exists and that the nodes may pull it.")
    return None


def _creation(rollout: Rollout) -> Trouble | None:
    """The container can't be made, most often for want of a Secret or ConfigMap. Nothing crashes: it is a rollout."""
    for pod, container in rollout.unready:
        waiting = container.state.waiting
        if waiting is not None and waiting.reason in _CREATION_FAILURES:
            why = quoting.end(waiting.message)
            return Trouble(
                Reason.ROLLING_OUT, f"the container {container.name} of pod {pod.name} cannot be created: {why}."
            )
    return None


def _crash(rollout: Rollout) -> Trouble | None:
    """The container ends, or can't even be started."""
    for pod, container in rollout.unready:
        waiting, ended = container.state.waiting, container.state.terminated or container.last_state.terminated
        subject = f"the container {container.name} of pod {pod.name}"
        if waiting is not None and waiting.reason == "RunContainerError":
            return Trouble(Reason.CRASH_LOOPING, f"{subject} cannot be started: {quoting.end(waiting.message)}.")
        if waiting is not None and waiting.reason != "CrashLoopBackOff":
            continue
        # One that was ready since its last crash has another trouble now.
        if waiting is None and (ended is None or pod.ready_since_start_of(container)):
            continue
        if ended is not None and ended.runtimes_words:
            return Trouble(Reason.CRASH_LOOPING, f"{subject} cannot be started: {quoting.end(ended.runtimes_words)}.")
        how = _how(ended, rollout.memory_limit(container.name))
        which = f" -c {container.name}" if len(pod.containers) > 1 else ""
        see = f"kubectl -n {rollout.namespace} logs {pod.name}{which} --previous"
        return Trouble(Reason.CRASH_LOOPING, f"{subject} {how}. Its last words: {see}")
    return None


def _how(ended: Terminated | None, limit: str) -> str:
    """The end of a container that started."""
    if ended is None:
        return "ends soon after its start"
    if ended.reason == "OOMKilled":
        return f"was killed because it needs more memory than its limit{f' of {limit}' if limit else ''}"
    # A shell's convention, and the container runtimes': 128 and the signal's number.
    number = ended.signal or (ended.exit_code - 128 if 128 < ended.exit_code <= 192 else 0)
    if number:
        return f"was ended by signal {number}{f' ({_SIGNALS[number]})' if number in _SIGNALS else ''}"
    return f"ended with exit code {ended.exit_code}"


def _placement(rollout: Rollout) -> Trouble | None:
    """No node takes the pod."""
    for pod in rollout.pods:
        scheduled = pod.condition("PodScheduled")
        if scheduled.status == "False":
            why = quoting.unfit(scheduled.message)
            return Trouble(Reason.UNSCHEDULABLE, f"pod {pod.name} cannot be scheduled: {why}.")
    return None


def _admission(rollout: Rollout) -> Trouble | None:
    """No pod can be made at all: a quota, Pod Security, a webhook. No node ever gets to see it."""
    failure = rollout.condition("ReplicaFailure")
    if failure.get("status") != "True":
        return None
    why = quoting.refusal(failure.get("message", ""))
    return Trouble(Reason.UNSCHEDULABLE, f"no new pod is admitted to {rollout.namespace}: {why}.")


def _readiness(rollout: Rollout) -> Trouble | None:
    """It was ready, and is no longer."""
    for pod in rollout.pods:
        see = f"kubectl -n {rollout.namespace} describe pod {pod.name}"
        for container in pod.containers:
            if not container.ready and pod.ready_since_start_of(container):
                what = f"the container {container.name} of pod {pod.name} runs, and its readiness probe fails"
                return Trouble(Reason.ROLLING_OUT, f"{what}. What it answers: {see}")
        if pod.status.container_statuses and all(container.ready for container in pod.containers):
            unready = pod.condition("Ready")
            if unready.status != "True":
                why = quoting.beginning(unready.message) or "its node may have ceased to report"
                what = f"the containers of pod {pod.name} are ready and the pod isn't: {why}"
                return Trouble(Reason.ROLLING_OUT, f"{what}. See {see}")
    return None


def _progress(rollout: Rollout) -> Trouble | None:
    """Nothing of the above, for too long."""
    if rollout.condition("Progressing").get("reason") != "ProgressDeadlineExceeded":
        return None
    seconds = rollout.deployment["spec"].get("progressDeadlineSeconds", 600)
    what = f"the rollout made no progress within {seconds} s"
    if not rollout.pods:
        name = rollout.deployment["metadata"]["name"]
        return Trouble(
            Reason.ROLLING_OUT, f"{what}, and has no pod. See kubectl -n {rollout.namespace} describe deploy {name}"
        )
    pod = next((pod for pod in rollout.pods if pod.condition("Ready").status != "True"), rollout.pods[0])
    see = f"kubectl -n {rollout.namespace} describe pod {pod.name}"
    return Trouble(Reason.ROLLING_OUT, f"{what}: pod {pod.name} {_doing(pod)}. See {see}")


def _doing(pod: Pod) -> str:
    """What a pod without a named trouble is at."""
    if any(container.state.running for container in pod.status.container_statuses):
        return "runs and never became ready"
    return "still waits for its containers, or for its volumes"


_CHECKS: tuple[Callable[[Rollout], Trouble | None], ...] = (
    _image,
    _creation,
    _crash,
    _placement,
    _admission,
    _readiness,
    _progress,
)
