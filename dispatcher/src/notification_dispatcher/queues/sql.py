"""The queue's state machine, said once for engines that keep their jobs in SQL.

`sqlite` and `admission` run these statements, each inside a transaction. A transition is one statement that names the
state it leaves, so a settlement that comes too late changes nothing. Each job that waits is in just one partial index,
by priority and due time, which serves claims, evictions and the oldest job's age; a million dead letters cost a claim
nothing.
"""

from __future__ import annotations

from notification_dispatcher.job import HEAD_START_MS, Rank
from notification_dispatcher.queues.base import State

SCHEMA_VERSION = 1

SCHEMA = f"""
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

TOUCH = f"PRAGMA user_version = {SCHEMA_VERSION}"

# At the door.
INSERT = """
INSERT INTO job (id, type, state, rank, payload, dedup_key, channels, accepted_ms, due_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""
UNBURY = f"DELETE FROM job WHERE id = ? AND state = {State.DEAD}"  # noqa: S608
REMEMBERED = "SELECT 1 FROM dedup WHERE key = ? AND until_ms > ?"
REMEMBER = """
INSERT INTO dedup (key, job_id, until_ms) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE
SET job_id = excluded.job_id, until_ms = excluded.until_ms WHERE dedup.until_ms <= ?
"""
"""Changes no row when the key is remembered already: the check and the note are one statement."""
FORGET = "DELETE FROM dedup WHERE key = ? AND job_id = ?"
FORGET_OLD = "DELETE FROM dedup WHERE key IN (SELECT key FROM dedup WHERE until_ms <= ? LIMIT 1000)"


def _first_in(state: State) -> str:
    return (
        "SELECT * FROM (SELECT seq, id, type, state, rank, due_ms, dedup_key FROM job"  # noqa: S608
        f" WHERE state = {state} AND +seq < :newest ORDER BY rank DESC, due_ms, seq LIMIT 1)"
    )


VICTIM = f"{_first_in(State.READY)} UNION ALL {_first_in(State.SCHEDULED)} ORDER BY rank DESC, due_ms, seq LIMIT 1"
"""Who gives way: never the newest itself. The plus keeps SQLite from walking all rows by `seq` and sorting them, which
took 65 ms with 200,000 waiting; by the index it is microseconds."""
DELETE = "DELETE FROM job WHERE seq = ?"


# In and out of running.
def _ready(rank: Rank) -> str:
    return (
        f"SELECT * FROM (SELECT seq, due_ms + {HEAD_START_MS * (rank - Rank.NORMAL)} AS position FROM job"  # noqa: S608
        f" WHERE state = {State.READY} AND rank = {rank:d} ORDER BY due_ms, seq LIMIT :count)"
    )


CLAIM = f"""
UPDATE job SET state = {State.RUNNING}, attempts = attempts + 1
WHERE seq IN (SELECT seq FROM ({" UNION ALL ".join(map(_ready, Rank))}) ORDER BY position, seq LIMIT :count)
RETURNING seq, id, type, payload, rank, channels, done, attempts, accepted_ms, due_ms
"""  # noqa: S608
PROMOTE = f"""
UPDATE job SET state = {State.READY} WHERE state = {State.SCHEDULED} AND rank IN (0, 1, 2) AND due_ms <= ?
"""  # noqa: S608
PROCESSED = f"DELETE FROM job WHERE seq = ? AND state = {State.RUNNING}"  # noqa: S608
RETRY = f"""
UPDATE job SET state = {State.SCHEDULED}, done = ?, due_ms = ?, reason = ?, detail = ?
WHERE seq = ? AND state = {State.RUNNING}
"""  # noqa: S608
RELEASE = f"""
UPDATE job SET state = {State.READY}, done = ?, attempts = attempts - 1 WHERE seq = ? AND state = {State.RUNNING}
"""  # noqa: S608
BURY = f"""
UPDATE job SET state = {State.DEAD}, done = ?, reason = ?, detail = ? WHERE seq = ? AND state = {State.RUNNING}
"""  # noqa: S608
RECOVER = f"UPDATE job SET state = {State.READY} WHERE state = {State.RUNNING}"  # noqa: S608


# Looking.
def _first_due(state: State, rank: Rank) -> str:
    return f"SELECT min(due_ms) AS due_ms FROM job WHERE state = {state} AND rank = {rank:d}"  # noqa: S608


def _earliest(*states: State) -> str:
    parts = [_first_due(state, rank) for state in states for rank in Rank]
    return f"SELECT min(due_ms) FROM ({' UNION ALL '.join(parts)})"  # noqa: S608


NEXT_DUE = _earliest(State.SCHEDULED)
OLDEST_DUE = _earliest(State.READY, State.SCHEDULED)
COUNTS = "SELECT state, count(*) FROM job GROUP BY state"
REPORT = "SELECT id, type, state, attempts, accepted_ms, due_ms, reason, detail FROM job WHERE id = ?"
