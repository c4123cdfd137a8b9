"""Why dispatchers aren't ready: each cause by its reason, in words that hold still and hold no secret."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from notification_operator import naming, pods, quoting
from notification_operator.availability import judge
from notification_operator.resources import deployment
from notification_operator.resources.base import Context
from notification_operator.status import Condition, Reason
from tests.controller.pipelines import parsed

IMAGE = "registry.example.com/dispatcher:1.2.3"
POD = "booking-7d9f8c6b54-x2x7k"
STARTED = "2026-11-25T02:30:10Z"
CRASHED = "2026-11-25T02:30:09Z"
LATER = "2026-11-25T02:31:00Z"


def rollout(*, ready: int = 0, wanted: int = 1, updated: int = 1, conditions: Sequence[Any] = ()) -> dict[str, Any]:
    """The Deployment as stored, with the status that its controller gives it."""
    made = deployment.build(parsed(), Context(IMAGE))
    made["metadata"]["generation"] = 2
    made["spec"] |= {"replicas": wanted, "progressDeadlineSeconds": 600}
    made["status"] = {
        "observedGeneration": 2,
        "replicas": max(updated, ready),
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "conditions": list(conditions),
    }
    return made


def as_json(
    *containers: dict[str, Any], name: str = POD, ready: str = "False", since: str = CRASHED, **status: Any
) -> dict[str, Any]:
    """A pod of the current template, as the kubelet reports it."""
    template = rollout()["spec"]["template"]
    return {
        "metadata": {
            "name": name,
            "namespace": "plannivo",
            "uid": f"uid-of-{name}",
            "resourceVersion": "7",
            "labels": {**template["metadata"]["labels"], "pod-template-hash": "7d9f8c6b54"},
            "annotations": {**template["metadata"]["annotations"], "cni.example.com/ip": "10.0.0.7"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "booking-7d9f8c6b54", "uid": "r"}],
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
        },
        "spec": template["spec"],
        "status": {
            "phase": "Running" if containers else "Pending",
            "qosClass": "Burstable",
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": CRASHED},
                {"type": "Ready", "status": ready, "lastProbeTime": None, "lastTransitionTime": since},
            ],
            "containerStatuses": list(containers),
            **status,
        },
    }


def container(state: dict[str, Any], last: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """One container's status."""
    return {
        "name": "dispatcher",
        "image": IMAGE,
        "imageID": "",
        "ready": False,
        "started": False,
        "restartCount": 0 if last is None else 3,
        "state": state,
        "lastState": last or {},
        **fields,
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def ended(code: int = 1, reason: str = "Error", **fields: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": CRASHED, "containerID": "c://1", **fields}}


RUNNING = {"running": {"startedAt": STARTED}}
BACK_OFF = waiting("CrashLoopBackOff", f"back-off 40s restarting failed container=dispatcher pod={POD}_plannivo(1)")


def judged(*known: dict[str, Any], of: dict[str, Any] | None = None) -> Condition:
    """The verdict on pods as the watch keeps them."""
    kept = [pods.read(pods.trimmed(json.dumps(pod).encode())) for pod in known]
    return judge(of or rollout(), kept)


def test_all_ready_is_available_whatever_a_pod_went_through() -> None:
    found = judged(as_json(container(RUNNING, ended(), ready=True), ready="True"), of=rollout(ready=1))
    assert (found.status, found.reason) == ("True", Reason.AVAILABLE)
    assert found.message == "1 of 1 dispatchers are ready."


def test_before_any_pod_and_while_a_pod_starts_it_rolls_out() -> None:
    for known in (
        (),
        (as_json(),),
        (as_json(container(waiting("ContainerCreating"))),),
        (as_json(container(RUNNING)),),
    ):
        found = judged(*known)
        assert (found.status, found.reason) == ("False", Reason.ROLLING_OUT)
        assert found.message == "0 of 1 dispatchers are ready, and a rollout is under way."
    assert judge({}, []).reason is Reason.ROLLING_OUT


def test_a_status_of_an_older_generation_says_nothing_of_the_pods() -> None:
    stale = rollout(ready=1)
    stale["metadata"]["generation"] = 3
    found = judged(as_json(container(BACK_OFF, ended())), of=stale)
    assert (found.status, found.reason) == ("True", Reason.ROLLING_OUT)


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"])
def test_an_image_that_cannot_be_pulled_is_named(reason: str) -> None:
    found = judged(as_json(container(waiting(reason, f'failed to resolve reference "{IMAGE}": {IMAGE}: not found'))))
    assert (found.status, found.reason) == ("False", Reason.IMAGE_PULL_FAILED)
    assert IMAGE in found.message
    assert ": not found. See that it exists" in found.message


def test_a_pull_that_fails_and_waits_in_turn_is_told_once() -> None:
    why = f'rpc error: code = NotFound desc = failed to pull and unpack image "{IMAGE}": {IMAGE}: not found'
    tried = judged(as_json(container(waiting("ErrImagePull", why))))
    waits = judged(
        as_json(container(waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: {why}')))
    )
    assert tried == waits
    assert "rpc error" not in tried.message
    older = judged(as_json(container(waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}"'))))
    assert f"the image {IMAGE} cannot be pulled. See" in older.message


@pytest.mark.parametrize(
    ("state", "last", "said"),
    [
        (BACK_OFF, ended(3), "ended with exit code 3"),
        (RUNNING, ended(3), "ended with exit code 3"),
        (ended(3), None, "ended with exit code 3"),
        (ended(0, "Completed"), None, "ended with exit code 0"),
        (BACK_OFF, ended(137), "was ended by signal 9 (SIGKILL)"),
        (BACK_OFF, ended(0, signal=11), "was ended by signal 11 (SIGSEGV)"),
        (BACK_OFF, ended(137, "OOMKilled"), "needs more memory than its limit of 512Mi"),
        (BACK_OFF, None, "ends soon after its start"),
    ],
)
def test_a_crash_says_how_and_where_to_look(state: Any, last: Any, said: str) -> None:
    found = judged(as_json(container(state, last)))
    assert (found.status, found.reason) == ("False", Reason.CRASH_LOOPING)
    assert said in found.message
    assert found.message.endswith(f"kubectl -n plannivo logs {POD} --previous")


def test_a_crash_is_told_in_the_same_words_through_all_of_its_states() -> None:
    states = [(ended(1), None), (BACK_OFF, ended(1)), (RUNNING, ended(1)), (ended(1), ended(1))]
    told = {
        judged(as_json(container(state, last, restartCount=count))).message
        for count, (state, last) in enumerate(states * 3)
    }
    assert len(told) == 1


def test_a_program_that_cannot_be_started_has_no_log_to_look_at() -> None:
    why = 'OCI runtime create failed: exec: "notification-dispatcher": executable file not found in $PATH: unknown'
    after = judged(as_json(container(BACK_OFF, ended(128, "StartError", message=why))))
    assert after.reason is Reason.CRASH_LOOPING
    assert "cannot be started" in after.message
    assert "executable file not found" in after.message
    assert "logs" not in after.message
    assert judged(as_json(container(waiting("RunContainerError", why)))) == after


def test_what_a_program_says_of_its_own_end_is_not_repeated() -> None:
    found = judged(as_json(container(BACK_OFF, ended(1, message="token=canary"))))
    assert "canary" not in found.message


def test_of_several_containers_the_one_that_crashes_is_named() -> None:
    proxy = container(RUNNING, name="proxy", ready=True)
    injected = container(ended(0, "Completed"), name="setup", ready=True)
    found = judged(as_json(proxy, container(BACK_OFF, ended()), initContainerStatuses=[injected]))
    assert f"logs {POD} -c dispatcher --previous" in found.message


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("CreateContainerConfigError", 'secret "booking-db" not found'),
        ("CreateContainerError", "the container name is already in use"),
    ],
)
def test_what_keeps_a_container_from_being_created_is_named(reason: str, message: str) -> None:
    found = judged(as_json(container(waiting(reason, message))))
    assert (found.status, found.reason) == ("False", Reason.ROLLING_OUT)
    assert message in found.message
    assert POD in found.message


def unscheduled(message: str) -> dict[str, Any]:
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return as_json(conditions=[scheduled])


def test_a_pod_that_no_node_takes_has_the_schedulers_reasons() -> None:
    message = (
        "0/3 nodes are available: 1 Insufficient memory, 2 node(s) had untolerated taint {dedicated: batch}. "
        "no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    found = judged(unscheduled(message))
    assert (found.status, found.reason) == ("False", Reason.UNSCHEDULABLE)
    assert found.message == (
        f"0 of 1 dispatchers are ready: pod {POD} cannot be scheduled: "
        "no node fits: Insufficient memory; node(s) had untolerated taint {dedicated: batch}."
    )
    grown = message.replace("0/3", "0/9").replace("2 node(s)", "8 node(s)")
    assert judged(unscheduled(grown)) == found


def test_the_scheduler_may_have_other_words() -> None:
    assert "no nodes available to schedule pods." in judged(unscheduled("no nodes available to schedule pods")).message


def test_pods_that_are_not_admitted_have_the_servers_reason() -> None:
    def refused(name: str) -> Condition:
        message = f'pods "{name}" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0'
        failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
        return judged(of=rollout(updated=0, conditions=[failure]))

    found = refused(POD)
    assert (found.status, found.reason) == ("False", Reason.UNSCHEDULABLE)
    assert "no new pod is admitted to plannivo: exceeded quota: none" in found.message
    assert refused("booking-7d9f8c6b54-other") == found


def test_a_readiness_that_was_lost_is_no_crash() -> None:
    once_crashed = as_json(container(RUNNING, ended()), since=LATER)
    found = judged(once_crashed)
    assert (found.status, found.reason) == ("False", Reason.ROLLING_OUT)
    assert "readiness probe fails" in found.message
    assert f"kubectl -n plannivo describe pod {POD}" in found.message


def test_a_node_that_ceased_to_report_is_suspected() -> None:
    found = judged(as_json(container(RUNNING, ready=True), since=LATER))
    assert "node may have ceased to report" in found.message


def test_a_rollout_that_stalls_says_what_it_waits_for() -> None:
    deadline = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
    stalled = rollout(conditions=[deadline])
    found = judged(as_json(container(waiting("ContainerCreating"))), of=stalled)
    assert found.reason is Reason.ROLLING_OUT
    assert "no progress within 600 s" in found.message
    assert "still waits for its containers" in found.message
    assert "never became ready" in judged(as_json(container(RUNNING)), of=stalled).message
    assert "describe deploy booking" in judged(of=stalled).message


def test_an_old_pod_that_serves_keeps_the_verdict_while_the_new_ones_trouble_is_told() -> None:
    old = as_json(container(RUNNING, ready=True), name="booking-old", ready="True")
    old["metadata"]["annotations"][naming.TEMPLATE_ANNOTATION] = "another"
    new = as_json(container(waiting("ImagePullBackOff", "not found")))
    found = judged(old, new, of=rollout(ready=1) | {"status": rollout(ready=1)["status"] | {"replicas": 2}})
    assert (found.status, found.reason) == ("True", Reason.IMAGE_PULL_FAILED)
    assert found.message.startswith("1 of 1 dispatchers are ready, but the image")


@pytest.mark.parametrize(
    "other",
    [
        {"metadata": {"annotations": {naming.TEMPLATE_ANNOTATION: "another"}}},
        {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": STARTED}}},
        {"metadata": {"deletionTimestamp": LATER}},
        {"status": {"phase": "Failed"}},
    ],
)
def test_pods_that_are_on_their_way_out_are_not_looked_at(other: dict[str, Any]) -> None:
    pod = as_json(container(BACK_OFF, ended()))
    for part, fields in other.items():
        for key, value in fields.items():
            pod[part][key] = pod[part][key] | value if isinstance(value, dict) else value
    assert judged(pod).reason is Reason.ROLLING_OUT


def test_the_first_trouble_in_the_order_of_the_checks_and_then_of_names_is_told() -> None:
    crashing = [as_json(container(BACK_OFF, ended()), name=f"booking-{letter}") for letter in "bac"]
    assert "pod booking-a " in judged(*crashing, of=rollout(wanted=3)).message
    pulling = as_json(container(waiting("ErrImagePull", "not found")), name="booking-z")
    assert judged(*crashing, pulling, of=rollout(wanted=4)).reason is Reason.IMAGE_PULL_FAILED


def test_pods_that_may_not_be_read_are_said_to_be_so() -> None:
    found = judge(rollout(), None)
    assert (found.status, found.reason) == ("False", Reason.ROLLING_OUT)
    assert "may not list pods" in found.message


def test_little_of_a_pod_is_kept() -> None:
    whole = json.dumps(as_json(container(BACK_OFF, ended()))).encode()
    kept = pods.trimmed(whole)
    assert pods.read(kept) == pods.read(whole)
    assert len(kept) < len(whole) / 2
    for left_out in (b"managedFields", b"startupProbe", b"cni.example.com", b"ownerReferences", b"restartCount"):
        assert left_out in whole
        assert left_out not in kept


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        ('Get "https://user:canary@r.example.com/v2/": EOF', 'Get "https://r.example.com/v2/": EOF'),
        ('Get "https://s3.example.com/a?X-Sig=canary&b=1": denied', 'Get "https://s3.example.com/a": denied'),
        ("read udp 10.244.0.3:41234->10.96.0.10:53: i/o timeout", "read udp 10.96.0.10:53: i/o timeout"),
        ("read tcp [fd00::3]:41234->[fd00::a]:443: reset", "read tcp [fd00::a]:443: reset"),
        (f"failed to start {'ab' * 32}:\n  no such file.", "failed to start …: no such file"),
        (f"image@sha256:{'ab' * 32} not found", f"image@sha256:{'ab' * 32} not found"),
    ],
)
def test_what_is_quoted_holds_still_and_holds_no_secret(said: str, quoted: str) -> None:
    assert quoting.beginning(said) == quoted
    assert quoting.end(said) == quoted


def test_a_quotation_has_a_bound() -> None:
    assert len(quoting.beginning("long " * 1000)) < 400
    assert quoting.end("long " * 1000 + "cause").endswith("cause")
    assert len(quoting.end("long " * 1000)) < 400
