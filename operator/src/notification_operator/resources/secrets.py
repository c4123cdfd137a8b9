"""The Secrets that the dispatcher mounts: copies of just those keys that the pipeline refers to."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

from notification_operator import naming
from notification_operator.kinds import SECRET
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child


def build_slack_alerts(pipeline: Pipeline, context: Context) -> Manifest | None:
    """The Secret `<name>-slack-alerts`: where alerts are sent, under the variables' names."""
    return _build(pipeline, naming.slack_alerts(pipeline.name), context.slack_alerts)


def build_credentials(pipeline: Pipeline, context: Context) -> Manifest | None:
    """The Secret `<name>-credentials`: what the channels need, each under its file's name."""
    return _build(pipeline, naming.credentials(pipeline.name), context.credentials)


def _build(pipeline: Pipeline, name: str, values: Mapping[str, bytes]) -> Manifest | None:
    if not values:
        return None
    data = {key: b64encode(value).decode() for key, value in sorted(values.items())}
    return child(SECRET, pipeline, name) | {"type": "Opaque", "data": data}
