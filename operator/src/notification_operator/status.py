"""What a pipeline's status says: conditions with closed sets of reasons, and their summary.

`reconcile` judges and calls `compose`; `crd` reads the types. Everything here is a pure function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import msgspec


class ConditionType(StrEnum):
    """The verdicts, in the order in which they are looked at for the summary."""

    READY = "Ready"
    RESOURCES_APPLIED = "ResourcesApplied"
    QUEUE_CONFIGURED = "QueueConfigured"
    DISPATCHER_AVAILABLE = "DispatcherAvailable"
    CHANNELS_CONFIGURED = "ChannelsConfigured"
    API_SECURED = "ApiSecured"
    ALERTING_CONFIGURED = "AlertingConfigured"
    MONITORING_SELECTED = "MonitoringSelected"


class Reason(StrEnum):
    """Why a condition is what it is. One set for all of them: the type says which make sense."""

    READY = "Ready"
    APPLIED = "Applied"
    APPLY_FAILED = "ApplyFailed"
    INVALID_SPEC = "InvalidSpec"
    PAUSED = "Paused"
    CONFLICT = "Conflict"
    AVAILABLE = "Available"
    ROLLING_OUT = "RollingOut"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CRASH_LOOPING = "CrashLooping"
    UNSCHEDULABLE = "Unschedulable"
    SCALED_TO_ZERO = "ScaledToZero"
    STATUS_UNKNOWN = "StatusUnknown"
    CONFIGURED = "Configured"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105  a reason, not a secret
    SECRET_KEY_MISSING = "SecretKeyMissing"  # noqa: S105
    SECRET_INVALID = "SecretInvalid"  # noqa: S105
    SECRET_FORBIDDEN = "SecretForbidden"  # noqa: S105
    DISABLED = "Disabled"
    SELECTED = "Selected"
    NO_PROMETHEUS_SELECTS = "NoPrometheusSelects"
    REJECTED = "Rejected"
    MONITORING_API_ABSENT = "MonitoringAPIAbsent"
    SELECTION_UNKNOWN = "SelectionUnknown"


Verdict = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One verdict, without the times that `compose` adds."""

    type: ConditionType
    status: Verdict
    reason: Reason
    message: str


class ChildState(StrEnum):
    """What became of one child."""

    APPLIED = "Applied"
    CONFLICT = "Conflict"
    FAILED = "Failed"
    UNAVAILABLE = "Unavailable"


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """One line of `status.children`."""

    kind: str
    name: str
    state: ChildState
    message: str = ""


_HOLDS_READY = (
    ConditionType.RESOURCES_APPLIED,
    ConditionType.QUEUE_CONFIGURED,
    ConditionType.DISPATCHER_AVAILABLE,
    ConditionType.CHANNELS_CONFIGURED,
    ConditionType.API_SECURED,
    ConditionType.ALERTING_CONFIGURED,
)


def summary(conditions: Sequence[Condition]) -> Condition:
    """The Ready condition: False (or Unknown) with the first thing that is wrong (or cannot be seen), else True.

    What was switched off on purpose holds nothing up. Neither does the scrape, nor a rollout beside dispatchers that
    serve: notifications flow without them, so they are mentioned only.
    """
    by_type = {condition.type: condition for condition in conditions}
    for condition_type in _HOLDS_READY:
        found = by_type.get(condition_type)
        if found is not None and found.status != "True" and found.reason is not Reason.DISABLED:
            return Condition(ConditionType.READY, found.status, found.reason, found.message)
    message = "Notifications are taken and delivered."
    dispatchers = by_type.get(ConditionType.DISPATCHER_AVAILABLE)
    if dispatchers is not None and dispatchers.reason is not Reason.AVAILABLE:
        message += f" {dispatchers.message}"
    monitoring = by_type.get(ConditionType.MONITORING_SELECTED)
    if monitoring is not None and monitoring.status == "False":
        message += f" But: {monitoring.message}"
    return Condition(ConditionType.READY, "True", Reason.READY, message)


def compose(
    previous: Mapping[str, Any], generation: int, conditions: Iterable[Condition], fields: Mapping[str, Any], now: str
) -> dict[str, Any]:
    """The new status. `now` (RFC 3339, UTC) is a condition's lastTransitionTime only where its status changed."""
    known = {condition["type"]: condition for condition in previous.get("conditions", [])}
    return {
        "observedGeneration": generation,
        **fields,
        "conditions": [_timed(condition, known.get(condition.type), generation, now) for condition in conditions],
    }


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two statuses say the same, whatever the order of their conditions."""
    return _by_type(one) == _by_type(other)


def digest(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> bytes:
    """Which pipeline in which generation has this status, in short."""
    reported = (metadata["uid"], metadata["generation"], _by_type(status))
    return hashlib.sha256(msgspec.json.encode(reported, order="deterministic")).digest()


def _by_type(status: Mapping[str, Any]) -> dict[str, Any]:
    return {**status, "conditions": {condition["type"]: condition for condition in status.get("conditions", [])}}


def _timed(condition: Condition, before: Mapping[str, Any] | None, generation: int, now: str) -> dict[str, Any]:
    unchanged = before is not None and before["status"] == condition.status
    return {
        "type": condition.type.value,
        "status": condition.status,
        "reason": condition.reason.value,
        "message": condition.message,
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and unchanged else now,
    }
