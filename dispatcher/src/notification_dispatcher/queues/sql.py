"""The queue's state machine, said once for engines that keep their jobs in SQL.

`sqlite`, `admission` and `graveyard` run these statements, each inside a transaction; `migrations` has the tables. A
transition is one statement that names the state it leaves, so a settlement that comes too late changes nothing. Each
state has partial indexes of its own, which serve claims, evictions and the oldest job's age; a million dead letters
cost a claim nothing.
"""

from __future__ import annotations

from functools import cache

from notification_dispatcher.job import HEAD_START_MS, Rank
from notification_dispatcher.queues.base import SUSPICIOUS_CRASHES, State


# At the door: statements for so many rows at a time.
@cache
def insert(count: int) -> str:
    """Store jobs. Those whose id is there already are left out."""
    return f"""
INSERT INTO job (id, type, state, rank, payload, dedup_key, channels, trace, accepted_ms, due_ms, ready_ms)
VALUES {_rows(count, "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?")} ON CONFLICT (id) DO NOTHING
"""  # noqa: S608


@cache
def remember(count: int) -> str:
    """Note dedup keys, the time now comes last. Those that are remembered already change no row: it checks as well."""
    return f"""
INSERT INTO dedup (key, job_id, until_ms) VALUES {_rows(count, "?, ?, ?")} ON CONFLICT (key) DO UPDATE
SET job_id = excluded.job_id, until_ms = excluded.until_ms WHERE dedup.until_ms <= ?
"""  # noqa: S608


@cache
def note_ids(count: int) -> str:
    """For jobs with a dedup key of their own: so that their ids are known too, once they were delivered."""
    return f"""
INSERT INTO dedup (key, job_id, until_ms) VALUES {_rows(count, "char(0) || ?, ?, ?")} ON CONFLICT (key) DO UPDATE
SET until_ms = excluded.until_ms
"""  # noqa: S608


def _rows(count: int, columns: str) -> str:
    return ", ".join([f"({columns})"] * count)


UNBURY = f"DELETE FROM job WHERE id = ? AND state = {State.DEAD}"  # noqa: S608
REMEMBERED = "SELECT 1 FROM dedup WHERE key = ? AND until_ms > ?"
FORGET = "DELETE FROM dedup WHERE key IN (?1, char(0) || ?2) AND job_id = ?2"
FORGET_KEY = "DELETE FROM dedup WHERE key = ? AND job_id = ?"
FORGET_OLD = "DELETE FROM dedup WHERE key IN (SELECT key FROM dedup WHERE until_ms <= ? LIMIT ?)"
RECALL = "SELECT fingerprint, answer FROM request WHERE key = ? AND until_ms > ?"
RECORD = "INSERT OR REPLACE INTO request (key, fingerprint, answer, until_ms) VALUES (?, ?, ?, ?)"
FORGET_REQUESTS = "DELETE FROM request WHERE key IN (SELECT key FROM request WHERE until_ms <= ? LIMIT 1000)"


def _first_in(state: State, since: str) -> str:
    return (
        f"SELECT * FROM (SELECT seq, id, type, state, rank, {since} AS since, dedup_key FROM job"  # noqa: S608
        f" WHERE state = {state} AND +seq < :newest ORDER BY rank DESC, {since}, seq LIMIT 1)"
    )


VICTIM = (
    f"{_first_in(State.READY, 'due_ms')} UNION ALL {_first_in(State.SCHEDULED, 'ready_ms')}"
    " ORDER BY rank DESC, since, seq LIMIT 1"
)
"""Who gives way: never the newest itself. The plus keeps SQLite from walking all rows by `seq` and sorting them, which
took 65 ms with 200,000 waiting; by the index it is microseconds."""
DELETE = "DELETE FROM job WHERE seq = ?"


# In and out of running.
def _ready(rank: Rank) -> str:
    return (
        f"SELECT * FROM (SELECT seq, due_ms + {HEAD_START_MS * (rank - Rank.NORMAL)} AS position FROM job"  # noqa: S608
        f" WHERE state = {State.READY} AND rank = {rank:d} ORDER BY due_ms, seq LIMIT :count)"
    )


# One row of JSON for many jobs: each row of a result takes the interpreter's lock, which the event loop holds.
DUE = f"""
SELECT json_group_array(json_array(seq, length(payload)))
FROM (SELECT seq FROM ({" UNION ALL ".join(map(_ready, Rank))}) ORDER BY position, seq LIMIT :count)
JOIN job USING (seq)
"""  # noqa: S608
START = f"""
UPDATE job SET state = {State.RUNNING}, attempts = attempts + 1
WHERE seq IN (SELECT value FROM json_each(?)) AND state = {State.READY}
"""  # noqa: S608
# As bytes: in text, a single character beyond Latin makes four bytes of each.
STARTED = """
SELECT CAST(json_group_array(json_array(
    seq, id, type, CAST(payload AS TEXT), rank, json(channels), json(done), attempts,
    accepted_ms, due_ms, crashes, trace
)) AS BLOB) FROM job WHERE seq IN (SELECT value FROM json_each(?))
"""
PROMOTE = f"""
UPDATE job SET state = {State.READY}
WHERE state = {State.SCHEDULED} AND rank IN (0, 1, 2) AND ready_ms <= ? AND crashes < {SUSPICIOUS_CRASHES}
"""  # noqa: S608
PROCESSED = f"DELETE FROM job WHERE seq IN (SELECT value FROM json_each(?)) AND state = {State.RUNNING}"  # noqa: S608
# The values of `transitions.Change`, then what is done, and whose it is.
CHANGE = f"""
UPDATE job SET state = ?1, attempts = attempts - ?2, due_ms = ifnull(?3, due_ms), ready_ms = ifnull(?4, ready_ms),
    dead_ms = ifnull(?5, dead_ms), reason = ifnull(?6, reason), detail = ifnull(?7, detail), done = ?8
WHERE seq = ?9 AND state = {State.RUNNING}
"""  # noqa: S608

# Suspects: jobs that a worker had more than once when the process ended. All but the one that is out wait as scheduled.
RECOVER = f"""
UPDATE job SET attempts = attempts - 1, crashes = crashes + 1,
    state = iif(crashes + 1 < {SUSPICIOUS_CRASHES}, {State.READY}, {State.SCHEDULED})
WHERE state = {State.RUNNING}
"""  # noqa: S608
_SUSPECTED = f"crashes >= {SUSPICIOUS_CRASHES} AND state <> {State.DEAD}"
_NONE_IS_OUT = f"NOT EXISTS (SELECT 1 FROM job WHERE {_SUSPECTED} AND state IN ({State.READY}, {State.RUNNING}))"  # noqa: S608
_WAITING_SUSPECTS = f"FROM job WHERE {_SUSPECTED} AND state = {State.SCHEDULED}"
ANY_SUSPECT = f"SELECT EXISTS (SELECT 1 FROM job WHERE {_SUSPECTED})"  # noqa: S608
PROMOTE_SUSPECT = f"""
UPDATE job SET state = {State.READY}
WHERE seq = (SELECT seq {_WAITING_SUSPECTS} AND ready_ms <= ? ORDER BY crashes, ready_ms, seq LIMIT 1)
    AND {_NONE_IS_OUT}
"""  # noqa: S608
NEXT_SUSPECT = f"SELECT min(ready_ms) {_WAITING_SUSPECTS} AND {_NONE_IS_OUT}"

# When the wall clock was set, by ?1 to ?2. A job that waits for a time of day has neither run nor been postponed: it
# stays where it is, and if that time was jumped over, it is due now and has not waited since.
_FOR_A_TIME = f"state = {State.SCHEDULED} AND attempts = 0 AND crashes = 0 AND ready_ms = due_ms"
MOVE_JOBS = f"""
UPDATE job SET accepted_ms = accepted_ms + ?1, dead_ms = dead_ms + ?1,
    due_ms = iif({_FOR_A_TIME}, max(due_ms, min(due_ms + ?1, ?2)), due_ms + ?1),
    ready_ms = iif({_FOR_A_TIME}, max(due_ms, min(due_ms + ?1, ?2)), ready_ms + ?1)
"""  # noqa: S608
MOVE_DEDUP = "UPDATE dedup SET until_ms = until_ms + ?"
MOVE_REQUESTS = "UPDATE request SET until_ms = until_ms + ?"

# Dead letters.
_MATCHING = f"""
state = {State.DEAD} AND (:job_id IS NULL OR id = :job_id) AND (:job_type IS NULL OR type = :job_type)
AND (:reason IS NULL OR reason = :reason) AND (:channel IS NULL OR EXISTS (
    SELECT 1 FROM json_each(job.done) WHERE key = :channel AND value <> ''))
"""  # noqa: S608
_REPORTED = "id, type, state, attempts, accepted_ms, due_ms, dead_ms, done, reason, detail"
DEAD_LETTERS = f"""
SELECT dead_ms, seq, {_REPORTED} FROM job WHERE {_MATCHING} AND (dead_ms, seq) < (:dead_ms, :seq)
ORDER BY dead_ms DESC, seq DESC LIMIT :count
"""  # noqa: S608
OLDEST_DEAD = f"""
SELECT seq, id, type, dedup_key FROM job WHERE {_MATCHING} ORDER BY dead_ms, seq LIMIT :count
"""  # noqa: S608
EXPIRED_DEAD = f"""
SELECT seq, id, type, dedup_key FROM job WHERE state = {State.DEAD} AND dead_ms <= ? ORDER BY dead_ms, seq LIMIT ?
"""  # noqa: S608
REVIVE = f"""
UPDATE job SET state = {State.READY}, attempts = 0, crashes = 0, reason = '', detail = '', dead_ms = 0,
    due_ms = ?1, ready_ms = ?1,
    done = (SELECT json_group_object(key, value) FROM json_each(job.done) WHERE value = '')
WHERE seq = ?2
"""  # noqa: S608


# Looking.
def _earliest(column: str, which: str) -> str:
    """The smallest of each rank's smallest: each is one look into an index."""
    parts = [f"SELECT min({column}) AS found FROM job WHERE {which} AND rank = {one:d}" for one in Rank]  # noqa: S608
    return f"SELECT min(found) AS found FROM ({' UNION ALL '.join(parts)})"  # noqa: S608


NEXT_READY = _earliest("ready_ms", f"state = {State.SCHEDULED} AND crashes < {SUSPICIOUS_CRASHES}")
OLDEST_DUE = f"""
SELECT min(found) FROM (
    {_earliest("due_ms", f"state = {State.READY}")}
    UNION ALL SELECT min(due_ms) FROM job WHERE state = {State.SCHEDULED}
)
"""  # noqa: S608
COUNTS = "SELECT state, count(*) FROM job GROUP BY state"
REPORT = f"SELECT {_REPORTED} FROM job WHERE id = ?"  # noqa: S608
DELIVERED = "SELECT 1 FROM dedup WHERE key IN (?1, char(0) || ?1) AND job_id = ?1 AND until_ms > ?2"
