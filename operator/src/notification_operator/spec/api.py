"""`spec.api`: the dispatcher's HTTP interface."""

from __future__ import annotations

from pydantic import Field

from notification_dispatcher.schema import ApiModel, SecretKeyRef
from notification_operator.group import DISPATCHER_PORT


class Api(ApiModel):
    """The dispatcher's HTTP interface."""

    port: int = Field(
        default=DISPATCHER_PORT, ge=1024, le=65535, description="Port of the API, the probes and the metrics."
    )
    auth_token_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="The bearer token that callers must send, from a Secret. Without it anyone in the cluster may "
        "post notifications and read dead letters, and a condition says so.",
    )
    max_batch: int = Field(default=1000, ge=1, le=10_000, description="Most notifications in one POST.")
    max_body_bytes: int = Field(
        default=5_242_880, ge=1024, le=104_857_600, description="Largest body of one POST, in bytes."
    )
