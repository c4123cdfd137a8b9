"""The SQLite file's tables, and how each version of them came about. `sqlite` calls `migrate` when it opens the file.

A new file goes through the same steps as an old one, so each step is tested by every test.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from notification_dispatcher.errors import QueueSchemaError
from notification_dispatcher.queues.base import SUSPICIOUS_CRASHES, State

_FIRST = f"""
CREATE TABLE job (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    state INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    payload BLOB NOT NULL,
    dedup_key TEXT NOT NULL,
    channels TEXT,
    done TEXT NOT NULL DEFAULT '{{}}',
    attempts INTEGER NOT NULL DEFAULT 0,
    accepted_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT ''
);
CREATE INDEX job_ready ON job (rank DESC, due_ms, seq) WHERE state = {State.READY};
CREATE INDEX job_scheduled ON job (rank DESC, due_ms, seq) WHERE state = {State.SCHEDULED};
CREATE INDEX job_running ON job (seq) WHERE state = {State.RUNNING};
CREATE TABLE dedup (key TEXT PRIMARY KEY, job_id TEXT NOT NULL, until_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX dedup_until ON dedup (until_ms);
"""

# When a job may be claimed is one thing, since when it waits another; dead letters have an order; requests are answered
# twice alike. Those that run are looked for at the start alone: an index would cost each job two changes.
_SECOND = f"""
ALTER TABLE job ADD COLUMN ready_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN dead_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN trace TEXT NOT NULL DEFAULT '';
UPDATE job SET ready_ms = due_ms;
UPDATE job SET dead_ms = due_ms WHERE state = {State.DEAD};
DROP INDEX job_running;
DROP INDEX job_scheduled;
CREATE INDEX job_scheduled ON job (rank DESC, ready_ms, seq) WHERE state = {State.SCHEDULED};
CREATE INDEX job_scheduled_due ON job (due_ms) WHERE state = {State.SCHEDULED};
CREATE INDEX job_dead ON job (dead_ms, seq) WHERE state = {State.DEAD};
CREATE TABLE request (
    key TEXT PRIMARY KEY, fingerprint BLOB NOT NULL, answer BLOB NOT NULL, until_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX request_until ON request (until_ms);
"""  # noqa: S608

# Jobs that may have ended the process are let out one at a time; there are none as a rule, so this costs nothing.
_THIRD = f"""
CREATE INDEX job_suspect ON job (state, ready_ms, seq)
WHERE crashes >= {SUSPICIOUS_CRASHES} AND state <> {State.DEAD};
"""

STEPS = (_FIRST, _SECOND, _THIRD)
"""From nothing to version 1, from there to 2, and so on."""
VERSION = len(STEPS)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file to this program's version, step by step, each in one transaction.

    Raises QueueSchemaError when a newer program wrote it.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise QueueSchemaError(
            f"the queue's file {path} has version {version}, and this program knows {VERSION}: "
            "run the newer program, or set NOTIFICATION_QUEUE_PATH to another file."
        )
    for number in range(version, VERSION):
        connection.executescript(f"BEGIN IMMEDIATE;{STEPS[number]}PRAGMA user_version = {number + 1};COMMIT;")
