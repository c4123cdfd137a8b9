"""What a pipeline's children depend on beside its spec: the Secrets that it refers to.

`reconcile` gathers them here before it builds. A Secret that is missing takes away only what needs it, and the
condition names it: the rest of the pipeline works.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from notification_dispatcher.schema import SecretKeyRef
from notification_dispatcher.variables import Variable, channel_secret_file
from notification_operator.errors import ForbiddenError
from notification_operator.pipeline import Pipeline
from notification_operator.source_secrets import SourceSecrets
from notification_operator.status import Condition, ConditionType, Reason


@dataclass(frozen=True, slots=True)
class Wanted:
    """One secret value: where it stands in the spec, where it comes from, and what the dispatcher calls it."""

    field: str
    ref: SecretKeyRef
    target: str


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


def alert_secrets(pipeline: Pipeline) -> list[Wanted]:
    """Where alerts go, and where they go when that is not there."""
    slack = pipeline.spec.alerts.slack
    if slack is None:
        return []
    wanted = [Wanted("alerts.slack.webhookSecretRef", slack.webhook_secret_ref, Variable.SLACK_ALERT_WEBHOOK_URL.value)]
    if slack.fallback_secret_ref is not None:
        wanted.append(
            Wanted("alerts.slack.fallbackSecretRef", slack.fallback_secret_ref, Variable.SLACK_WEBHOOK_URL.value)
        )
    return wanted


def channel_secrets(pipeline: Pipeline) -> list[Wanted]:
    """What the channels need."""
    return [
        Wanted(f"channels[{channel.name}].{name}", ref, channel_secret_file(channel.name, name))
        for channel in pipeline.spec.channels
        for name, ref in channel.secret_refs.items()
    ]


async def resolve(secrets: SourceSecrets, namespace: str, wanted: Iterable[Wanted]) -> Resolved:
    """Read each value. `secrets.need` must have been told of them. Raises RetryLater."""
    resolved = Resolved()
    for item in wanted:
        found = await _read(secrets, namespace, item)
        if isinstance(found, Problem):
            resolved.problems.append(found)
        else:
            resolved.values[item.target] = found
    return resolved


async def _read(secrets: SourceSecrets, namespace: str, wanted: Wanted) -> bytes | Problem:
    name, key = wanted.ref.name, wanted.ref.key
    try:
        values = await secrets.read(namespace, name)
    except ForbiddenError:
        return Problem(
            Reason.SECRET_FORBIDDEN,
            f"{wanted.field}: the operator may not read the Secret {name}; its Role needs get, list and watch on it.",
        )
    if values is None:
        return Problem(Reason.SECRET_NOT_FOUND, f"{wanted.field}: there is no Secret {name} in {namespace}; create it.")
    if not values.get(key):
        return Problem(
            Reason.SECRET_KEY_MISSING, f"{wanted.field}: the Secret {name} has no key {key}, or it is empty; set it."
        )
    return values[key]


def needed(pipeline: Pipeline) -> set[str]:
    """Names of all Secrets that the pipeline refers to."""
    return {item.ref.name for item in (*alert_secrets(pipeline), *channel_secrets(pipeline))}


def alerting_condition(pipeline: Pipeline, resolved: Resolved) -> Condition:
    """Can Slack be told?"""
    if pipeline.spec.alerts.slack is None:
        return Condition(
            ConditionType.ALERTING_CONFIGURED,
            "False",
            Reason.DISABLED,
            "spec.alerts.slack is not set: nobody is told when something is wrong.",
        )
    # A fallback is there to be used: alerts flow, and the message says what is missing.
    usable = bool(resolved.values)
    if resolved.problems and not usable:
        first = resolved.problems[0]
        return Condition(ConditionType.ALERTING_CONFIGURED, "False", first.reason, first.message)
    missing = "".join(f" {problem.message}" for problem in resolved.problems)
    return Condition(
        ConditionType.ALERTING_CONFIGURED, "True", Reason.CONFIGURED, f"Slack has a webhook for alerts.{missing}"
    )


def channels_condition(pipeline: Pipeline, resolved: Resolved) -> Condition:
    """Does each channel have what it needs?"""
    if resolved.problems:
        return Condition(
            ConditionType.CHANNELS_CONFIGURED,
            "False",
            resolved.problems[0].reason,
            " ".join(problem.message for problem in resolved.problems),
        )
    names = ", ".join(channel.name for channel in pipeline.spec.channels)
    return Condition(ConditionType.CHANNELS_CONFIGURED, "True", Reason.CONFIGURED, f"Configured: {names}.")
