"""`spec.queue` and `spec.workers`: where jobs wait, and how many are delivered at once."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from notification_dispatcher.queue_names import SCHEMA_PATTERN
from notification_dispatcher.schema import ApiModel, Duration, Enumeration, SecretKeyRef, rules
from notification_operator.spec.quantity import Quantity
from notification_operator.spec.values import ObjectName, OptionalObjectName

_ENGINE_FIXED = (
    "queue.engine cannot be changed: the jobs that wait would stay behind in the old queue. Make a second pipeline "
    "with the new engine, send new jobs there, and delete this one once its queue is empty"
)
_ONLY_POSTGRESQL = "queue.postgresql must be set when queue.engine is PostgreSQL, and only then"
_ONLY_EMBEDDED = "queue.persistence belongs to the Embedded engine: remove it, PostgreSQL keeps its own data"
_PERSISTENCE_STAYS = "queue.persistence cannot be removed: the jobs on its volume would stay behind"
_SCHEMA_FIXED = "queue.postgresql.schema cannot be changed: the jobs that wait would stay behind in the old one"
_ONE_VOLUME = "queue.persistence.existingClaim has a size and a class of its own: remove size and storageClassName"
_DEFAULT_SIZE = Quantity("1Gi")


def _unchanged(field: str) -> str:
    """CEL: an optional text is what it was."""
    return f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"


class Engine(Enumeration):
    """Where the queue lives."""

    EMBEDDED = "Embedded"
    POSTGRESQL = "PostgreSQL"


class Overflow(Enumeration):
    """What happens to a new job when the queue is full."""

    EVICT_OLDEST = "EvictOldest"
    REJECT = "Reject"


class DeadLetters(ApiModel):
    """Jobs that failed for good. They can be looked at, replayed and deleted over the dispatcher's API."""

    retention: Duration = Field(default=Duration("168h"), description="They are deleted after this time.")
    limit: int = Field(
        default=10_000, ge=0, le=10_000_000, description="So many are kept; the oldest go first. 0 keeps none."
    )


class Persistence(ApiModel):
    """The volume that the Embedded engine's file lies on: made for the pipeline, or one that is there."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("!has(self.existingClaim) || (!has(self.size) && !has(self.storageClassName))", _ONE_VOLUME),
            (
                _unchanged("existingClaim"),
                "queue.persistence.existingClaim cannot be changed: the jobs on the old volume would stay behind",
            ),
            (
                _unchanged("storageClassName"),
                "queue.persistence.storageClassName cannot be changed: a volume keeps the class that it was made with",
            ),
        )
    )

    size: Quantity | None = Field(
        default=None,
        description="Size of the volume that is made. It can grow, if its class allows it, by hand too. A volume that "
        "is larger keeps its size. Default: 1Gi.",
    )
    storage_class_name: OptionalObjectName | None = Field(
        default=None,
        description='Class of that volume; "" is no class: a volume that is there without one. Default: the cluster\'s '
        "own default class.",
    )
    existing_claim: ObjectName | None = Field(
        default=None,
        description="Name of a PersistentVolumeClaim that is there and is to be used. It outlives the pipeline. "
        "Default: one is made, and goes with the pipeline.",
    )

    @property
    def claimed_size(self) -> Quantity:
        """Size of the volume to make."""
        return self.size or _DEFAULT_SIZE

    @model_validator(mode="after")
    def _one_volume(self) -> Self:
        if self.existing_claim is not None and (self.size is not None or self.storage_class_name is not None):
            raise ValueError(_ONE_VOLUME)
        return self


class Tls(ApiModel):
    """How the database proves who it is."""

    ca_secret_ref: SecretKeyRef = Field(
        description="The CA that signed the database's certificate, as PEM, from a Secret. With it the connection is "
        "refused unless certificate and host name are right."
    )


class Postgresql(ApiModel):
    """A PostgreSQL database that all replicas share."""

    model_config = ConfigDict(json_schema_extra=rules((_unchanged("schema"), _SCHEMA_FIXED)))

    dsn_secret_ref: SecretKeyRef = Field(
        description="The database's connection URI, postgresql://user:password@host/database, from a Secret."
    )
    schema_name: str | None = Field(
        default=None,
        alias="schema",
        pattern=SCHEMA_PATTERN,
        min_length=1,
        max_length=63,
        description="Schema of the pipeline's tables; it is made if it is missing. No two pipelines may share one. "
        "Default: one of its own, named after namespace and pipeline.",
    )
    tls: Tls | None = Field(
        default=None, description="Checks the database's certificate. Default: what the URI's sslmode says."
    )
    pool_size: int = Field(default=4, ge=1, le=64, description="Connections to the database, for each replica.")


class Queue(ApiModel):
    """Where jobs wait."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("self.engine == oldSelf.engine", _ENGINE_FIXED),
            ("(self.engine == 'PostgreSQL') == has(self.postgresql)", _ONLY_POSTGRESQL),
            ("self.engine == 'Embedded' || !has(self.persistence)", _ONLY_EMBEDDED),
            ("!has(oldSelf.persistence) || has(self.persistence)", _PERSISTENCE_STAYS),
        )
    )

    engine: Engine = Field(
        default=Engine.EMBEDDED,
        description="Embedded: a SQLite file in the pod, one replica. PostgreSQL: a shared database, any number of "
        "replicas. It cannot be changed later: what waits would stay behind.",
    )
    capacity: int = Field(
        default=10_000, ge=1, le=10_000_000, description="Jobs that may wait at once, all priorities together."
    )
    overflow: Overflow = Field(
        default=Overflow.EVICT_OLDEST,
        description="When the queue is full: EvictOldest drops the job that has waited longest, Reject answers the "
        "caller 429 with Retry-After. Both are counted and alerted on.",
    )
    dedup_window: Duration = Field(
        default=Duration("10m"),
        description="A job whose dedupKey (or id) was seen within this time is not queued a second time.",
    )
    dead_letters: DeadLetters = Field(
        default_factory=DeadLetters, description="How long jobs are kept that failed for good, and how many."
    )
    persistence: Persistence | None = Field(
        default=None,
        description="Embedded only: keep the queue on a volume, so that what waits survives the pod. No "
        "change of the spec deletes it; one that was made for the pipeline goes with the pipeline. Without it the "
        "queue goes with the pod: with a node that fails, a new image, any change that replaces it.",
    )
    postgresql: Postgresql | None = Field(default=None, description="PostgreSQL only: how to reach the database.")

    @model_validator(mode="after")
    def _one_engine(self) -> Self:
        if (self.engine is Engine.POSTGRESQL) != (self.postgresql is not None):
            raise ValueError(_ONLY_POSTGRESQL)
        if self.engine is not Engine.EMBEDDED and self.persistence is not None:
            raise ValueError(_ONLY_EMBEDDED)
        return self


class Workers(ApiModel):
    """How many deliveries run at once, and for how long."""

    concurrency: int = Field(default=32, ge=1, le=1024, description="Deliveries at once, for each replica.")
    timeout: Duration = Field(default=Duration("30s"), description="Limit for one delivery attempt.")
    drain_timeout: Duration = Field(
        default=Duration("25s"),
        description="On termination, running deliveries get this long to finish; what is left goes back to the queue.",
    )
