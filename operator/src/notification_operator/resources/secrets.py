"""The Secrets that the dispatcher mounts: copies of just those keys that the pipeline refers to."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import msgspec

from notification_operator import naming
from notification_operator.kinds import SECRET
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child
from notification_operator.wanted_secrets import references


def build_slack_alerts(pipeline: Pipeline, context: Context) -> Manifest | None:
    """The Secret `<name>-slack-alerts`: where alerts are sent, under the variables' names."""
    return _build(pipeline, naming.slack_alerts(pipeline.name), context.slack_alerts)


def build_credentials(pipeline: Pipeline, context: Context) -> Manifest | None:
    """The Secret `<name>-credentials`: what the channels need, each under its file's name."""
    return _build(pipeline, naming.credentials(pipeline.name), context.credentials)


def sources(copy: Mapping[str, Any]) -> dict[str, str]:
    """Which Secret and key each value of a live copy is from, as `Wanted.source`. Empty where it doesn't say."""
    noted = copy.get("metadata", {}).get("annotations", {}).get(naming.SOURCES_ANNOTATION, "{}")
    try:
        return msgspec.json.decode(noted, type=dict[str, str])
    except msgspec.DecodeError:  # somebody else's words, which the next write replaces
        return {}


def _build(pipeline: Pipeline, name: str, values: Mapping[str, bytes]) -> Manifest | None:
    if not values:
        return None
    data = {key: b64encode(value).decode() for key, value in sorted(values.items())}
    noted = {item.target: item.source for part in references(pipeline) for item in part if item.target in values}
    annotations = {naming.SOURCES_ANNOTATION: msgspec.json.encode(noted, order="deterministic").decode()}
    return child(SECRET, pipeline, name, annotations=annotations) | {"type": "Opaque", "data": data}
