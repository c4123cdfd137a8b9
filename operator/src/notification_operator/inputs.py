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
from notification_operator.resources.base import Context
from notification_operator.resources.volume_claim import claim_name
from notification_operator.source_secrets import SourceSecrets
from notification_operator.spec.alerts import AlertMode
from notification_operator.status import Condition, ConditionType, Reason
from notification_operator.workqueue import Key


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


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a pipeline's Secrets gave, by what it is for."""

    alerts: Resolved
    channels: Resolved
    queue: Resolved
    api: Resolved

    def context(self, dispatcher_image: str, *, keda: bool = False) -> Context:
        """What the builders need of it, and of the cluster."""
        credentials = self.channels.values | self.queue.values | self.api.values
        return Context(dispatcher_image, slack_alerts=self.alerts.values, credentials=credentials, keda=keda)

    def conditions(self, pipeline: Pipeline, *, rules_absent: bool) -> list[Condition]:
        """What is to be said of it. `rules_absent`: the cluster has no API for alerting rules."""
        return [
            queue_condition(pipeline, self.queue),
            channels_condition(pipeline, self.channels),
            api_condition(pipeline, self.api),
            alerting_condition(pipeline, self.alerts, rules_absent=rules_absent),
        ]


async def gather(secrets: SourceSecrets, pipeline: Pipeline) -> Inputs:
    """Read all that the pipeline refers to, and watch it from now on. Raises RetryLater."""
    parts = references(pipeline)
    names = {item.ref.name for part in parts for item in part}
    secrets.need(Key(pipeline.namespace, pipeline.name), names)
    return Inputs(*[await _resolve(secrets, pipeline.namespace, part) for part in parts])


def references(pipeline: Pipeline) -> tuple[list[Wanted], list[Wanted], list[Wanted], list[Wanted]]:
    """All that the pipeline refers to: the parts of `Inputs`, in their order."""
    return alert_secrets(pipeline), channel_secrets(pipeline), queue_secrets(pipeline), api_secrets(pipeline)


def alert_secrets(pipeline: Pipeline) -> list[Wanted]:
    """Where alerts go, and where they go when that is not there."""
    slack = pipeline.spec.alerts.slack
    # Without a webhook the dispatcher tells nobody, which is what the mode asks for.
    if slack is None or pipeline.spec.alerts.mode is AlertMode.ALERTMANAGER:
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


def queue_secrets(pipeline: Pipeline) -> list[Wanted]:
    """How the database is reached."""
    database = pipeline.spec.queue.postgresql
    if database is None:
        return []
    wanted = [Wanted("queue.postgresql.dsnSecretRef", database.dsn_secret_ref, Variable.QUEUE_DSN.value)]
    if database.tls is not None:
        wanted.append(Wanted("queue.postgresql.tls.caSecretRef", database.tls.ca_secret_ref, Variable.QUEUE_CA.value))
    return wanted


def api_secrets(pipeline: Pipeline) -> list[Wanted]:
    """What callers must know."""
    ref = pipeline.spec.api.auth_token_secret_ref
    return [] if ref is None else [Wanted("api.authTokenSecretRef", ref, Variable.API_TOKEN.value)]


async def _resolve(secrets: SourceSecrets, namespace: str, wanted: Iterable[Wanted]) -> Resolved:
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


def queue_condition(pipeline: Pipeline, resolved: Resolved) -> Condition:
    """Can the queue be reached, and does it outlive the pods?"""
    if resolved.problems:
        return _failed(ConditionType.QUEUE_CONFIGURED, resolved)
    claim = claim_name(pipeline)
    if pipeline.spec.queue.postgresql is not None:
        message = "Jobs wait in PostgreSQL, which all dispatchers share."
    elif claim is not None:
        message = f"Jobs wait in a file on the volume {claim}."
    else:
        message = "Jobs wait in a file of the pod, and go with it; spec.queue.persistence keeps them on a volume."
    return Condition(ConditionType.QUEUE_CONFIGURED, "True", Reason.CONFIGURED, message)


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
        return _failed(ConditionType.API_SECURED, resolved, " Until then nobody is let in.")
    return Condition(ConditionType.API_SECURED, "True", Reason.CONFIGURED, "Callers need the bearer token.")


def alerting_condition(pipeline: Pipeline, resolved: Resolved, *, rules_absent: bool) -> Condition:
    """Can those be told whom the mode names?"""
    mode = pipeline.spec.alerts.mode
    if mode is AlertMode.ALERTMANAGER:
        return _alertmanager_condition(pipeline, rules_absent)
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
    said = ["Slack has a webhook for alerts.", *(problem.message for problem in resolved.problems)]
    if mode is AlertMode.BOTH:
        said.append(_alertmanager_condition(pipeline, rules_absent).message)
    return Condition(ConditionType.ALERTING_CONFIGURED, "True", Reason.CONFIGURED, " ".join(said))


def _alertmanager_condition(pipeline: Pipeline, rules_absent: bool) -> Condition:
    if rules_absent:
        return Condition(
            ConditionType.ALERTING_CONFIGURED,
            "False",
            Reason.MONITORING_API_ABSENT,
            f"alerts.mode is {pipeline.spec.alerts.mode}, but Alertmanager is not told: the cluster has no "
            "PrometheusRule API. Install prometheus-operator, or set alerts.mode to InProcess.",
        )
    said = f"Alertmanager is told by the PrometheusRule {pipeline.name}, where a Prometheus selects it."
    if pipeline.spec.alerts.slack is not None and pipeline.spec.alerts.mode is AlertMode.ALERTMANAGER:
        said += " spec.alerts.slack is not used in this mode."
    return Condition(ConditionType.ALERTING_CONFIGURED, "True", Reason.CONFIGURED, said)


def channels_condition(pipeline: Pipeline, resolved: Resolved) -> Condition:
    """Does each channel have what it needs?"""
    if resolved.problems:
        return _failed(ConditionType.CHANNELS_CONFIGURED, resolved)
    names = ", ".join(channel.name for channel in pipeline.spec.channels)
    return Condition(ConditionType.CHANNELS_CONFIGURED, "True", Reason.CONFIGURED, f"Configured: {names}.")


def _failed(kind: ConditionType, resolved: Resolved, consequence: str = "") -> Condition:
    messages = " ".join(problem.message for problem in resolved.problems)
    return Condition(kind, "False", resolved.problems[0].reason, f"{messages}{consequence}")
