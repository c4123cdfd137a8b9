"""The account that the dispatcher's pods run as: no rights, and no token mounted."""

from __future__ import annotations

from notification_operator.kinds import SERVICE_ACCOUNT
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child


def build(pipeline: Pipeline, _context: Context) -> Manifest | None:
    """The ServiceAccount, unless the pipeline names one that is there."""
    if pipeline.spec.service_account_name:
        return None
    return child(SERVICE_ACCOUNT, pipeline, pipeline.name) | {"automountServiceAccountToken": False}
