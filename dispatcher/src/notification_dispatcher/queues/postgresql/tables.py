"""A schema's tables, and how each version of them came about. `engine` calls `migrate` before it uses them.

A new schema goes through the same steps as an old one. During a rollout two versions of the program are at work on one
schema, so a step says from which version on a program can live with what it makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from notification_dispatcher.errors import QueueInUseError, QueueSchemaError
from notification_dispatcher.queue_names import TALLY
from notification_dispatcher.queues.base import SUSPICIOUS_CRASHES, State

if TYPE_CHECKING:
    from notification_dispatcher.queues.postgresql.links import Link

BASE = 0
"""The tally's share of those that are no more."""


class Tenancy(NamedTuple):
    """Which tables, and whose they are."""

    schema: str
    pipeline: str
    """Namespace and name."""


class Step(NamedTuple):
    """From one version to the next."""

    statements: str
    readable_by: int
    """The oldest version of the program that can work with the result."""


# Rows come and go by the hundred thousand, and each is written thrice: room for that within the page, and a vacuum as
# soon as there is something to clean, whatever the size of the table. A payload is not compressed: that is the
# sender's to decide, and costs more than all the rest.
_QUEUE = (
    "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0,"
    " autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,"
    " autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000"
)
_FIRST = f"""
CREATE TABLE job (
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    owner bigint NOT NULL DEFAULT 0,
    accepted_ms bigint NOT NULL,
    due_ms bigint NOT NULL,
    ready_ms bigint NOT NULL,
    dead_ms bigint NOT NULL DEFAULT 0,
    attempts int NOT NULL DEFAULT 0,
    crashes int NOT NULL DEFAULT 0,
    state smallint NOT NULL,
    rank smallint NOT NULL,
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    type text COLLATE "C" NOT NULL,
    dedup_key text COLLATE "C" NOT NULL,
    channels text,
    done text NOT NULL DEFAULT '{{}}',
    reason text NOT NULL DEFAULT '',
    detail text NOT NULL DEFAULT '',
    trace text NOT NULL DEFAULT '',
    payload bytea NOT NULL
) WITH (fillfactor = 60, {_QUEUE});
ALTER TABLE job ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE INDEX job_ready ON job (rank DESC, due_ms, seq) WHERE state = {State.READY};
CREATE INDEX job_scheduled ON job (rank DESC, ready_ms, seq) WHERE state = {State.SCHEDULED};
CREATE INDEX job_scheduled_due ON job (due_ms) WHERE state = {State.SCHEDULED};
CREATE INDEX job_running ON job (owner) WHERE state = {State.RUNNING};
CREATE INDEX job_dead ON job (dead_ms, seq) WHERE state = {State.DEAD};
CREATE INDEX job_suspect ON job (state, ready_ms, seq)
    WHERE crashes >= {SUSPICIOUS_CRASHES} AND state <> {State.DEAD};
CREATE TABLE dedup (
    key text COLLATE "C" NOT NULL PRIMARY KEY, job_id text COLLATE "C" NOT NULL, until_ms bigint NOT NULL
) WITH ({_QUEUE});
CREATE INDEX dedup_until ON dedup (until_ms);
CREATE TABLE request (
    key text COLLATE "C" NOT NULL PRIMARY KEY, fingerprint bytea NOT NULL, answer bytea NOT NULL,
    until_ms bigint NOT NULL
) WITH ({_QUEUE});
CREATE INDEX request_until ON request (until_ms);
CREATE TABLE member (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY, beats bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
CREATE TABLE {TALLY} (
    member bigint NOT NULL, lane smallint NOT NULL, ready bigint NOT NULL DEFAULT 0,
    scheduled bigint NOT NULL DEFAULT 0, running bigint NOT NULL DEFAULT 0, dead bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (member, lane)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
INSERT INTO {TALLY} (member, lane) VALUES ({BASE}, {BASE});
CREATE TABLE owner (pipeline text NOT NULL);
CREATE TABLE board (content bytea NOT NULL) WITH (fillfactor = 10);
INSERT INTO board VALUES ('');
"""  # noqa: S608

STEPS = (Step(_FIRST, readable_by=1),)
"""From nothing to version 1, from there to 2, and so on."""
VERSION = len(STEPS)


async def migrate(link: Link, tenancy: Tenancy, lock: int, steps: tuple[Step, ...] = STEPS) -> None:
    """Bring a schema to this program's version, all in one transaction that others wait for, and see whose it is.

    Raises QueueSchemaError when it cannot be got at, or is of a version that this program cannot work with, and
    QueueInUseError when it is another pipeline's: one would deliver the other's jobs.
    """
    schema = tenancy.schema
    async with link.transaction():
        await link.execute("SELECT pg_advisory_xact_lock($1)", lock)
        if await link.fetchval("SELECT to_regnamespace($1)", f'"{schema}"') is None:
            await link.execute(f'CREATE SCHEMA "{schema}"')
        if await link.fetchval("SELECT current_schema()") != schema:
            raise QueueSchemaError(
                f"the queue's connections do not get to its schema {schema}: the role needs USAGE and CREATE on it, and"
                " a pooler must keep a session for each client (PgBouncer: pool_mode = session)."
            )
        await link.execute("CREATE TABLE IF NOT EXISTS version (version int NOT NULL, readable_by int NOT NULL)")
        found = await link.fetchrow("SELECT version, readable_by FROM version")
        version, readable_by = (0, 0) if found is None else found
        if readable_by > len(steps):
            raise QueueSchemaError(
                f"the queue's schema {schema} has version {version}, and this program knows {len(steps)}: run the newer"
                " program, or set NOTIFICATION_QUEUE_SCHEMA to another."
            )
        for step in steps[version:]:
            await link.execute(step.statements)
        if version < len(steps):
            await link.execute("DELETE FROM version")
            await link.execute("INSERT INTO version VALUES ($1, $2)", len(steps), steps[-1].readable_by)
        await _take_possession(link, *tenancy)


async def _take_possession(link: Link, schema: str, pipeline: str) -> None:
    owner = await link.fetchval("SELECT pipeline FROM owner")
    if owner is None:
        await link.execute("INSERT INTO owner VALUES ($1)", pipeline)
    elif owner != pipeline:
        raise QueueInUseError(
            f"the queue's schema {schema} is the pipeline {owner}'s, and this is {pipeline}: give each a schema of its"
            " own in queue.postgresql.schema (NOTIFICATION_QUEUE_SCHEMA). If the other is gone for good, and its jobs"
            f" are to be delivered here, empty the table {schema}.owner."
        )
