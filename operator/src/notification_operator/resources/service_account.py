"""The account that the dispatcher's pods run as: no rights, and no token mounted."""

from __future__ import annotations

from notification_operator.kinds import SERVICE_ACCOUNT
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child


def build(pipeline: Pipeline, _context: Context) -> Manifest:
    """The ServiceAccount `<name>`; also where the pipeline names another: older pods still run as this one."""
    return child(SERVICE_ACCOUNT, pipeline, pipeline.name) | {"automountServiceAccountToken": False}
