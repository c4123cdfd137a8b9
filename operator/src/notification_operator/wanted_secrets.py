"""Which values of Secrets a pipeline wants, by what its spec refers to.

`inputs` looks for them, the builder of the dispatchers' own Secrets notes where each is from, and `offline` asks for
them or puts the reference in their place.
"""

from __future__ import annotations

from dataclasses import dataclass

from notification_dispatcher.schema import SecretKeyRef
from notification_dispatcher.secret_values import OF_CHANNELS, OF_VARIABLES, Shape
from notification_dispatcher.variables import Variable, channel_secret_file
from notification_operator.pipeline import Pipeline
from notification_operator.spec.alerts import AlertMode


@dataclass(frozen=True, slots=True)
class Wanted:
    """One secret value: where it stands in the spec, where it comes from, what the dispatcher calls it and expects."""

    field: str
    ref: SecretKeyRef
    target: str
    shape: Shape

    @property
    def source(self) -> str:
        """Secret and key, as a copy of the value notes them."""
        return f"{self.ref.name}/{self.ref.key}"


def references(pipeline: Pipeline) -> tuple[list[Wanted], list[Wanted], list[Wanted], list[Wanted]]:
    """All that the pipeline refers to: for alerts, channels, the queue and the API, as `inputs` has them."""
    return alert_secrets(pipeline), channel_secrets(pipeline), queue_secrets(pipeline), api_secrets(pipeline)


def alert_secrets(pipeline: Pipeline) -> list[Wanted]:
    """Where alerts go, and where they go when that is not there."""
    slack = pipeline.spec.alerts.slack
    # Without a webhook the dispatcher tells nobody, which is what the mode asks for.
    if slack is None or pipeline.spec.alerts.mode is AlertMode.ALERTMANAGER:
        return []
    wanted = [_variable("alerts.slack.webhookSecretRef", slack.webhook_secret_ref, Variable.SLACK_ALERT_WEBHOOK_URL)]
    if slack.fallback_secret_ref is not None:
        wanted.append(
            _variable("alerts.slack.fallbackSecretRef", slack.fallback_secret_ref, Variable.SLACK_WEBHOOK_URL)
        )
    return wanted


def channel_secrets(pipeline: Pipeline) -> list[Wanted]:
    """What the channels need."""
    return [
        Wanted(
            f"channels[{channel.name}].{name}",
            ref,
            channel_secret_file(channel.name, name),
            OF_CHANNELS[channel.kind, name],
        )
        for channel in pipeline.spec.channels
        for name, ref in channel.secret_refs.items()
    ]


def queue_secrets(pipeline: Pipeline) -> list[Wanted]:
    """How the database is reached."""
    database = pipeline.spec.queue.postgresql
    if database is None:
        return []
    wanted = [_variable("queue.postgresql.dsnSecretRef", database.dsn_secret_ref, Variable.QUEUE_DSN)]
    if database.tls is not None:
        wanted.append(_variable("queue.postgresql.tls.caSecretRef", database.tls.ca_secret_ref, Variable.QUEUE_CA))
    return wanted


def api_secrets(pipeline: Pipeline) -> list[Wanted]:
    """What callers must know."""
    ref = pipeline.spec.api.auth_token_secret_ref
    return [] if ref is None else [_variable("api.authTokenSecretRef", ref, Variable.API_TOKEN)]


def _variable(field: str, ref: SecretKeyRef, variable: Variable) -> Wanted:
    return Wanted(field, ref, variable.value, OF_VARIABLES[variable])
