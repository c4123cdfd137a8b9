"""What every builder starts from: the context beside the pipeline, and a child's frame.

A builder is a pure function `build(pipeline, context) -> manifest | None`; None means that the child must not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from notification_dispatcher.schema import ApiModel
from notification_operator import naming
from notification_operator.kinds import PIPELINE, Kind
from notification_operator.pipeline import Pipeline

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What a child depends on beside its pipeline."""

    dispatcher_image: str
    """Image of the dispatcher where the pipeline names none."""

    slack_alerts: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Variable of the dispatcher → its secret value."""

    keda: bool = False
    """The cluster has KEDA's API."""

    stopped: bool = False
    """The Deployment is there, and has no dispatchers."""

    claimed: str | None = None
    """The size that the live claim of the queue asks for, if there is one."""

    credentials: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """File in the dispatcher's folder of settings → the secret it holds."""

    def image(self, pipeline: Pipeline) -> str:
        """The image in force."""
        return pipeline.spec.image or self.dispatcher_image


def child(
    kind: Kind,
    pipeline: Pipeline,
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """A child's frame: identity, labels, and the owner by which garbage collection finds it."""
    metadata: Manifest = {
        "name": name,
        "namespace": pipeline.namespace,
        # Ours last: what a person adds must not break the operator's own watch.
        "labels": {**(labels or {}), **naming.labels(pipeline.name)},
        "ownerReferences": [
            {
                "apiVersion": PIPELINE.api_version,
                "kind": PIPELINE.name,
                "name": pipeline.name,
                "uid": pipeline.uid,
                "controller": True,
            }
        ],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}


def written(part: ApiModel) -> Manifest:
    """A part of the spec that has Kubernetes' own form, as the API server keeps it: without what says nothing."""
    dumped = part.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {key: value for key, value in dumped.items() if value not in ("", [])}
