"""The PersistentVolumeClaim of the Embedded engine's queue: what waits on it survives the pod."""

from __future__ import annotations

from notification_operator import naming
from notification_operator.kinds import VOLUME_CLAIM
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child
from notification_operator.spec.quantity import Quantity


def build(pipeline: Pipeline, context: Context) -> Manifest | None:
    """The claim `<name>-queue`; None where the queue has no volume, or one that is there already."""
    wanted = pipeline.spec.queue.persistence
    if wanted is None or wanted.existing_claim is not None:
        return None
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": kept_size(pipeline, context) or wanted.claimed_size.canonical}},
    }
    # Left out, it is the cluster's default; an empty one means: no class at all.
    if wanted.storage_class_name is not None:
        spec["storageClassName"] = wanted.storage_class_name
    return child(VOLUME_CLAIM, pipeline, naming.queue(pipeline.name)) | {"spec": spec}


def kept_size(pipeline: Pipeline, context: Context) -> str | None:
    """The size of the live claim where the spec asks for less: a volume cannot be made smaller."""
    wanted = pipeline.spec.queue.persistence
    if wanted is None or wanted.existing_claim is not None or context.claimed is None:
        return None
    return context.claimed if Quantity(context.claimed).amount > wanted.claimed_size.amount else None


def claim_name(pipeline: Pipeline) -> str | None:
    """The claim that the pods mount; None: their queue goes with them."""
    wanted = pipeline.spec.queue.persistence
    if wanted is None:
        return None
    return wanted.existing_claim or naming.queue(pipeline.name)
