"""Pipelines and their pods, as the cluster has them. Every command starts here.

They are read as they are, not through the operator's model: a pipeline that the model would refuse is one that somebody
wants to look at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from notification_dispatcher.metric_names import DEFAULT_PREFIX
from notification_operator.group import API_VERSION, DISPATCHER_CONTAINER, DISPATCHER_PORT, PIPELINE_LABEL, PLURAL
from notification_operator.plugin.errors import DeniedError, MissingError, PluginError
from notification_operator.plugin.kubectl import Json, Kubectl

_API = f"/apis/{API_VERSION}"
_NO_SUCH_API = "the server could not find the requested resource"
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One NotificationPipeline."""

    stored: Mapping[str, Any]

    @property
    def namespace(self) -> str:
        """Where it is."""
        return str(self.stored["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self.stored["metadata"]["name"])

    @property
    def status(self) -> Json:
        """What the operator says; empty where none has looked at it."""
        return self.stored.get("status") or {}

    @property
    def conditions(self) -> list[Json]:
        """Its verdicts."""
        return self.status.get("conditions") or []

    @property
    def ready(self) -> Json:
        """The verdict that sums the others up; empty while there is none."""
        return next((one for one in self.conditions if one["type"] == "Ready"), {})

    @property
    def stale(self) -> bool:
        """The operator has not looked at the spec as it is now."""
        return bool(self.status.get("observedGeneration") != self.stored["metadata"]["generation"])

    @property
    def port(self) -> int:
        """Of its dispatchers' API."""
        return int(self.setting("api", "port") or DISPATCHER_PORT)

    @property
    def metrics_prefix(self) -> str:
        """Of its metrics' names."""
        prefix = self.setting("monitoring", "metricsPrefix")
        return DEFAULT_PREFIX if prefix is None else str(prefix)

    def setting(self, *path: str) -> Any:
        """A field of the spec; None where it isn't set."""
        found: Any = self.stored.get("spec") or {}
        for name in path:
            found = (found or {}).get(name)
        return found


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of a pipeline, and what kubectl would say of it."""

    stored: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self.stored["metadata"]["name"])

    @property
    def created(self) -> str:
        """When it was made."""
        return str(self.stored["metadata"]["creationTimestamp"])

    @property
    def node(self) -> str:
        """Where it is; empty while it is nowhere."""
        return str((self.stored.get("spec") or {}).get("nodeName", ""))

    @property
    def ready(self) -> bool:
        """It serves."""
        conditions = self._status.get("conditions") or ()
        return self.state == "Running" and any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    @property
    def started(self) -> bool:
        """There is, or was, a dispatcher whose log can be read: also while it waits to be started again."""
        return "waiting" not in (self._dispatcher.get("state") or {"waiting": {}}) or self.started_again

    @property
    def started_again(self) -> bool:
        """There was a dispatcher before, whose log can be read."""
        return "terminated" in (self._dispatcher.get("lastState") or {})

    @property
    def restarts(self) -> int:
        """Of all its containers."""
        return sum(int(one.get("restartCount", 0)) for one in self._containers)

    @property
    def state(self) -> str:
        """What keeps it, or else its phase."""
        if "deletionTimestamp" in self.stored["metadata"]:
            return "Terminating"
        for one in self._containers:
            for kind in ("waiting", "terminated"):
                if reason := ((one.get("state") or {}).get(kind) or {}).get("reason"):
                    return str(reason)
        return str(self._status.get("reason") or self._status.get("phase", "Unknown"))

    @property
    def _status(self) -> Json:
        return self.stored.get("status") or {}

    @property
    def _dispatcher(self) -> Json:
        return next((one for one in self._containers if one["name"] == DISPATCHER_CONTAINER), {})

    @property
    def _containers(self) -> list[Json]:
        return [*(self._status.get("initContainerStatuses") or ()), *(self._status.get("containerStatuses") or ())]


def find(kubectl: Kubectl, namespace: str, name: str) -> Pipeline:
    """The pipeline of this name. Raises PluginError, with the names that there are."""
    try:
        return Pipeline(kubectl.get(f"{_API}/namespaces/{namespace}/{PLURAL}/{name}"))
    except MissingError as error:
        raise _missing(kubectl, namespace, name, error) from None
    except DeniedError as error:
        raise _denied(error) from None


def listed(kubectl: Kubectl, namespace: str | None) -> list[Pipeline]:
    """All pipelines of a namespace, or (None) of all."""
    place = "" if namespace is None else f"/namespaces/{namespace}"
    try:
        items = kubectl.get(f"{_API}{place}/{PLURAL}")["items"]
    except MissingError as error:
        raise _no_api(error) from None
    except DeniedError as error:
        raise _denied(error) from None
    return sorted(map(Pipeline, items), key=lambda one: (one.namespace, one.name))


def pods_of(kubectl: Kubectl, pipeline: Pipeline) -> list[Pod]:
    """The pods of a pipeline, oldest first."""
    return _pods(kubectl, pipeline.namespace, f"{PIPELINE_LABEL}={pipeline.name}")


def pods_of_all(kubectl: Kubectl, namespace: str | None) -> dict[tuple[str, str], list[Pod]]:
    """The pods of all pipelines of a namespace, or (None) of all, by the pipeline's namespace and name."""
    found: dict[tuple[str, str], list[Pod]] = {}
    for pod in _pods(kubectl, namespace, PIPELINE_LABEL):
        metadata = pod.stored["metadata"]
        found.setdefault((metadata["namespace"], metadata["labels"][PIPELINE_LABEL]), []).append(pod)
    return found


def _pods(kubectl: Kubectl, namespace: str | None, selector: str) -> list[Pod]:
    place = "" if namespace is None else f"/namespaces/{namespace}"
    try:
        found = kubectl.get(f"/api/v1{place}/pods", labelSelector=selector)["items"]
    except DeniedError as error:
        raise DeniedError(f"your account may not list pods: {error.message}") from None
    return sorted(map(Pod, found), key=lambda one: (one.created, one.name))


def _missing(kubectl: Kubectl, namespace: str, name: str, error: MissingError) -> PluginError:
    if error.message == _NO_SUCH_API:
        return _no_api(error)
    said = f"there is no pipeline {name} in namespace {namespace}"
    try:
        names = [one.name for one in listed(kubectl, namespace)]
    except PluginError:
        # It is the same account; that the pipeline isn't there is what was asked.
        return MissingError(said)
    if close := get_close_matches(name, names, n=1):
        return MissingError(f"{said}: did you mean {close[0]}?")
    others = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return MissingError(f"{said}: " + (f"there is {others}" if names else "there is none; -n names another namespace"))


def _no_api(error: MissingError) -> PluginError:
    if error.message != _NO_SUCH_API:
        return error
    return MissingError(
        "this cluster does not know NotificationPipelines: the operator is not installed here, or --context means "
        "another cluster than you do"
    )


def _denied(error: DeniedError) -> PluginError:
    return DeniedError(f"your account may not look at pipelines: {error.message}")
