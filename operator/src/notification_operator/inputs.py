"""What a pipeline's children depend on beside its spec: the Secrets that it refers to.

`reconcile` gathers them here before it builds. A Secret that is missing, or holds what the dispatcher would refuse,
takes away only what needs it, and the condition names it: the rest of the pipeline works. One that may not be read
takes nothing away: the dispatchers keep what they have of it. What they have of another one, which the spec named
before, may be what was to be replaced: they lose it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from notification_dispatcher.secret_values import Shape, text_of
from notification_operator import naming
from notification_operator.errors import ForbiddenError
from notification_operator.pipeline import Pipeline
from notification_operator.resources import secrets as copied
from notification_operator.resources.base import Context
from notification_operator.resources.volume_claim import claim_name, kept_size
from notification_operator.source_secrets import SourceSecrets, values_of
from notification_operator.spec.alerts import AlertMode
from notification_operator.status import Condition, ConditionType, Reason, Verdict
from notification_operator.wanted_secrets import Wanted, references
from notification_operator.workqueue import Key


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a value could not be had."""

    reason: Reason
    message: str


@dataclass(slots=True)
class Resolved:
    """What could be had, by target, and why the rest couldn't."""

    values: dict[str, bytes] = field(default_factory=dict, repr=False)
    problems: list[Problem] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict, repr=False)
    """What the dispatchers have of what may not be read."""
    stale: list[str] = field(default_factory=list)
    """Of which values nobody can tell whether they changed since, in sentences."""

    @property
    def given(self) -> dict[str, bytes]:
        """What the dispatchers are given."""
        return self.values | self.kept

    def and_stale(self, message: str) -> str:
        """The message, and what else is to be said of values that could be had."""
        return " ".join([message, *self.stale])


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a pipeline's Secrets gave, by what it is for."""

    alerts: Resolved
    channels: Resolved
    queue: Resolved
    api: Resolved

    def context(self, dispatcher_image: str) -> Context:
        """What the builders need of it."""
        credentials = self.channels.given | self.queue.given | self.api.given
        return Context(dispatcher_image, slack_alerts=self.alerts.given, credentials=credentials)

    def conditions(self, pipeline: Pipeline, context: Context, *, rules_absent: bool) -> list[Condition]:
        """What is to be said of it. `rules_absent`: the cluster has no API for alerting rules."""
        return [
            queue_condition(pipeline, self.queue, kept_size(pipeline, context)),
            channels_condition(pipeline, self.channels),
            api_condition(pipeline, self.api),
            alerting_condition(pipeline, self.alerts, rules_absent=rules_absent),
        ]


Copies = Callable[[str], Awaitable[Mapping[str, Any]]]
"""The dispatchers' own Secrets as they are, by name; empty where the pipeline has none."""


async def gather(secrets: SourceSecrets, pipeline: Pipeline, copies: Copies) -> Inputs:
    """Read all that the pipeline refers to, and watch it from now on. Raises RetryLater."""
    parts = references(pipeline)
    names = {item.ref.name for part in parts for item in part}
    secrets.need(Key(pipeline.namespace, pipeline.name), names)
    own = [naming.slack_alerts(pipeline.name), *[naming.credentials(pipeline.name)] * 3]
    looked_at: dict[str, Mapping[str, Any]] = {}

    async def copy(name: str) -> Mapping[str, Any]:
        # Once, however many values are in it that may not be read: it may take a request.
        if name not in looked_at:
            looked_at[name] = await copies(name)
        return looked_at[name]

    return Inputs(
        *[
            await _resolve(secrets, pipeline.namespace, part, partial(copy, name))
            for part, name in zip(parts, own, strict=True)
        ]
    )


async def _resolve(
    secrets: SourceSecrets, namespace: str, wanted: Iterable[Wanted], copy: Callable[[], Awaitable[Mapping[str, Any]]]
) -> Resolved:
    resolved = Resolved()
    for item in wanted:
        try:
            reading = await secrets.read(namespace, item.ref.name)
        except ForbiddenError:
            _keep(resolved, item, await copy())
            continue
        found = _value(namespace, item, reading.values)
        if isinstance(found, Problem):
            resolved.problems.append(found)
            continue
        resolved.values[item.target] = found
        if reading.stale:
            resolved.stale.append(
                f"{item.field}: the operator may no longer read the Secret {item.ref.name}, and holds to what it was."
            )
    return resolved


def _keep(resolved: Resolved, wanted: Wanted, copy: Mapping[str, Any]) -> None:
    """Leave the dispatchers what they have of a Secret that may not be read: nothing says that it isn't right.

    Of that Secret and key alone: one that was replaced may have been revoked.
    """
    message = (
        f"{wanted.field}: the operator may not read the Secret {wanted.ref.name}; its Role needs watch on it, "
        "and list where the API server has no streaming lists."
    )
    kept = values_of(copy).get(wanted.target)
    if kept is not None and copied.sources(copy).get(wanted.target) == wanted.source:
        resolved.kept[wanted.target] = kept
        message += " The dispatchers keep what they have of it."
    resolved.problems.append(Problem(Reason.SECRET_FORBIDDEN, message))


def _value(namespace: str, wanted: Wanted, values: Mapping[str, bytes] | None) -> bytes | Problem:
    name, key = wanted.ref.name, wanted.ref.key
    if values is None:
        return Problem(Reason.SECRET_NOT_FOUND, f"{wanted.field}: there is no Secret {name} in {namespace}; create it.")
    if not values.get(key):
        return Problem(
            Reason.SECRET_KEY_MISSING, f"{wanted.field}: the Secret {name} has no key {key}, or it is empty; set it."
        )
    if not _fits(values[key], wanted.shape):
        return Problem(
            Reason.SECRET_INVALID,
            f"{wanted.field}: the key {key} of the Secret {name} must be {wanted.shape.expected}.",
        )
    return values[key]


def _fits(value: bytes, shape: Shape) -> bool:
    """Whether the dispatcher would take it."""
    try:
        return shape.fits(text_of(value))
    except UnicodeDecodeError:
        return False


def queue_condition(pipeline: Pipeline, resolved: Resolved, kept_size: str | None) -> Condition:
    """Can the queue be reached, and does it outlive the pods? `kept_size`: its volume's, where less is asked for."""
    if resolved.problems:
        return _failed(ConditionType.QUEUE_CONFIGURED, resolved)
    claim = claim_name(pipeline)
    if pipeline.spec.queue.postgresql is not None:
        message = "Jobs wait in PostgreSQL, which all dispatchers share."
    elif claim is not None:
        message = f"Jobs wait in a file on the volume {claim}."
        if kept_size is not None:
            message += f" It keeps its {kept_size}, more than queue.persistence.size: it cannot be made smaller."
    else:
        message = "Jobs wait in a file of the pod, and go with it; spec.queue.persistence keeps them on a volume."
    return Condition(ConditionType.QUEUE_CONFIGURED, "True", Reason.CONFIGURED, resolved.and_stale(message))


def api_condition(pipeline: Pipeline, resolved: Resolved) -> Condition:
    """Is the API closed to strangers?"""
    if pipeline.spec.api.auth_token_secret_ref is None:
        return Condition(
            ConditionType.API_SECURED,
            "False",
            Reason.DISABLED,
            "spec.api.authTokenSecretRef is not set: whoever reaches the Service may post notifications and read "
            "dead letters.",
        )
    if resolved.problems:
        return _failed(ConditionType.API_SECURED, resolved, "" if resolved.kept else " Until then nobody is let in.")
    message = resolved.and_stale("Callers need the bearer token.")
    return Condition(ConditionType.API_SECURED, "True", Reason.CONFIGURED, message)


def alerting_condition(pipeline: Pipeline, resolved: Resolved, *, rules_absent: bool) -> Condition:
    """Can those be told whom the mode names? Where it names two, both must be."""
    mode = pipeline.spec.alerts.mode
    halves = []
    if mode is not AlertMode.ALERTMANAGER:
        halves.append(_slack_condition(pipeline, resolved))
    if mode is not AlertMode.IN_PROCESS:
        halves.append(_alertmanager_condition(pipeline, rules_absent))
    verdict = next((half for half in halves if half.status == "False"), halves[0])
    return replace(verdict, message=" ".join(half.message for half in halves))


def _slack_condition(pipeline: Pipeline, resolved: Resolved) -> Condition:
    if pipeline.spec.alerts.slack is None:
        return _alerting("False", Reason.DISABLED, "spec.alerts.slack is not set: Slack is not told of anything wrong.")
    problems = [problem.message for problem in resolved.problems]
    # A fallback is there to be used: alerts flow, and the message says what is missing.
    if not resolved.values:
        return _alerting("False", resolved.problems[0].reason, " ".join(problems))
    said = resolved.and_stale("Slack has a webhook for alerts.")
    return _alerting("True", Reason.CONFIGURED, " ".join([said, *problems]))


def _alertmanager_condition(pipeline: Pipeline, rules_absent: bool) -> Condition:
    mode = pipeline.spec.alerts.mode
    if rules_absent:
        return _alerting(
            "False",
            Reason.MONITORING_API_ABSENT,
            f"alerts.mode is {mode}, but Alertmanager is not told: the cluster has no PrometheusRule API. Install "
            "prometheus-operator, or set alerts.mode to InProcess.",
        )
    said = f"Alertmanager is told by the PrometheusRule {pipeline.name}, where a Prometheus selects it."
    if pipeline.spec.alerts.slack is not None and mode is AlertMode.ALERTMANAGER:
        said += " spec.alerts.slack is not used in this mode."
    return _alerting("True", Reason.CONFIGURED, said)


def _alerting(verdict: Verdict, reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.ALERTING_CONFIGURED, verdict, reason, message)


def channels_condition(pipeline: Pipeline, resolved: Resolved) -> Condition:
    """Does each channel have what it needs?"""
    if resolved.problems:
        return _failed(ConditionType.CHANNELS_CONFIGURED, resolved)
    names = ", ".join(channel.name for channel in pipeline.spec.channels)
    message = resolved.and_stale(f"Configured: {names}.")
    return Condition(ConditionType.CHANNELS_CONFIGURED, "True", Reason.CONFIGURED, message)


def _failed(kind: ConditionType, resolved: Resolved, consequence: str = "") -> Condition:
    messages = " ".join(problem.message for problem in resolved.problems)
    return Condition(kind, "False", resolved.problems[0].reason, f"{messages}{consequence}")
