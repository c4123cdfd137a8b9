"""The queue's state machine in PostgreSQL's words: what `sql` is for SQLite, where the reasons are.

`door`, `claims`, `settling` and `graves` run these, each inside a transaction; `tables` has the tables. All numbers of
milliseconds are of the database's clock. What is due is taken with SKIP LOCKED, so that dispatchers don't wait for
each other; where none must be missed, rows are waited for.
"""

from __future__ import annotations

from notification_dispatcher.job import HEAD_START_MS, Rank
from notification_dispatcher.queue_names import TALLY
from notification_dispatcher.queues.base import SUSPICIOUS_CRASHES, State

ID_MARK = "\x01"
"""Before an id among the dedup keys: no key can start so."""


def text(anything: str) -> str:
    """As PostgreSQL takes it: no text of its has a NUL, which callers' and destinations' may have."""
    return anything.replace("\0", "\ufffd")


def rows_of(status: str) -> int:
    """How many rows a statement changed, from what it ended with: `UPDATE 3`."""
    return int(status.rpartition(" ")[2])


NOW_MS = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"

# At the door, behind the schema's lock: nobody else lets jobs in meanwhile. The sums keep the planner from walking all
# keys that are remembered, which it does before it has statistics: a key leads to one row.
_UNTIL = "until_ms + 0"
LOOK = f"""
SELECT (SELECT coalesce(sum(ready + scheduled), 0)::bigint FROM {TALLY}) AS waiting,
    (SELECT json_agg(json_build_array(key, job_id)) FROM dedup WHERE key = ANY($1::text[]) AND {_UNTIL} > $3) AS noted,
    (SELECT json_agg(json_build_array(id, state)) FROM job WHERE id = ANY($2::text[])) AS present
"""  # noqa: S608
RECALL = f"SELECT key, fingerprint, answer FROM request WHERE key = ANY($1::text[]) AND {_UNTIL} > $2"  # noqa: S608


def _first_in(state: State, since: str) -> str:
    return (
        f"SELECT * FROM (SELECT rank, {since} AS since, seq, id, type, state, dedup_key FROM job"  # noqa: S608
        f" WHERE state = {state} ORDER BY rank DESC, {since}, seq LIMIT $1 FOR UPDATE) AS found"
    )


VICTIMS = f"{_first_in(State.READY, 'due_ms')} UNION ALL {_first_in(State.SCHEDULED, 'ready_ms')}"
"""Those that give way first, of either state; a worker may be about to have some of them, and is waited for."""
WAITING = f"SELECT coalesce(sum(ready + scheduled), 0)::bigint FROM {TALLY}"  # noqa: S608
EVICT = f"DELETE FROM job WHERE id = ANY($1::text[]) AND state IN ({State.READY}, {State.SCHEDULED})"  # noqa: S608
UNBURY = f"DELETE FROM job WHERE id = ANY($1::text[]) AND state = {State.DEAD}"  # noqa: S608
FORGET = """
DELETE FROM dedup USING unnest($1::text[], $2::text[]) AS gone (key, id)
WHERE dedup.key = gone.key AND dedup.job_id = gone.id
"""
STORE = """
WITH jobs AS (
    INSERT INTO job (id, type, state, rank, payload, dedup_key, channels, trace, accepted_ms, due_ms, ready_ms)
    SELECT id, type, state, rank, payload, dedup_key, channels, trace, accepted_ms, due_ms, due_ms FROM unnest(
        $1::text[], $2::text[], $3::smallint[], $4::smallint[], $5::bytea[], $6::text[], $7::text[], $8::text[],
        $9::bigint[], $10::bigint[]
    ) AS new (id, type, state, rank, payload, dedup_key, channels, trace, accepted_ms, due_ms)
)
INSERT INTO dedup (key, job_id, until_ms)
SELECT key, job_id, until_ms FROM unnest($11::text[], $12::text[], $13::bigint[]) AS new (key, job_id, until_ms)
ON CONFLICT (key) DO UPDATE SET job_id = excluded.job_id, until_ms = excluded.until_ms
"""
RECORD = """
INSERT INTO request (key, fingerprint, answer, until_ms)
SELECT * FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::bigint[])
ON CONFLICT (key) DO UPDATE
SET fingerprint = excluded.fingerprint, answer = excluded.answer, until_ms = excluded.until_ms
"""
MOST_FORGOTTEN = 5000


def _forget_old(table: str) -> str:
    return (
        f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE until_ms <= $1"  # noqa: S608
        f" ORDER BY until_ms LIMIT {MOST_FORGOTTEN} FOR UPDATE SKIP LOCKED))"
    )


FORGET_OLD = _forget_old("dedup")
FORGET_REQUESTS = _forget_old("request")


# In and out of running.
def promote(now_ms: int) -> str:
    """Make ready what was scheduled until now. Written out, since it travels with the transaction's beginning."""
    return f"""
UPDATE job SET state = {State.READY} WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM job WHERE state = {State.SCHEDULED} AND rank IN (0, 1, 2) AND ready_ms <= {now_ms:d}
        AND crashes < {SUSPICIOUS_CRASHES} LIMIT 10000 FOR UPDATE SKIP LOCKED))
"""  # noqa: S608


def _ready(rank: Rank) -> str:
    return f"""
SELECT * FROM (
    SELECT ctid AS place, due_ms + {HEAD_START_MS * (rank - Rank.NORMAL)} AS position, seq,
        octet_length(payload) AS size
    FROM job WHERE state = {State.READY} AND rank = {rank:d} ORDER BY due_ms, seq LIMIT $1 FOR UPDATE SKIP LOCKED
) AS rank_{rank:d}
"""  # noqa: S608


CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT place, sum(size) OVER (ORDER BY position, seq) - size AS before
    FROM ({" UNION ALL ".join(map(_ready, Rank))}) AS first ORDER BY position, seq LIMIT $1
)
UPDATE job SET state = {State.RUNNING}, attempts = attempts + 1, owner = $2
FROM due WHERE job.ctid = due.place AND due.before < $3
RETURNING job.seq, job.id, job.type, job.payload, job.rank, job.channels, job.done, job.attempts,
    job.accepted_ms, job.due_ms, job.crashes, job.trace
"""  # noqa: S608

# The sums keep the planner from walking all that run: an id leads to one row.
_HELD = f"job.state + 0 = {State.RUNNING} AND job.owner + 0"
PROCESSED = f"DELETE FROM job WHERE id = ANY($1::text[]) AND {_HELD} = $2"  # noqa: S608
CHANGE = f"""
UPDATE job SET state = new.state, done = new.done, owner = 0, attempts = attempts - new.refund,
    due_ms = coalesce(new.due_ms, job.due_ms), ready_ms = coalesce(new.ready_ms, job.ready_ms),
    dead_ms = coalesce(new.dead_ms, job.dead_ms),
    reason = coalesce(new.reason, job.reason), detail = coalesce(new.detail, job.detail)
FROM unnest($1::text[], $3::text[], $4::smallint[], $5::int[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[],
    $10::text[]) AS new (id, done, state, refund, due_ms, ready_ms, dead_ms, reason, detail)
WHERE job.id = new.id AND {_HELD} = $2
RETURNING job.state
"""  # noqa: S608
UNKNOWN_OUTCOME = f"""
UPDATE job SET state = {State.READY}, attempts = attempts - 1, owner = 0
WHERE state = {State.RUNNING} AND owner = $1 AND NOT seq = ANY($2::bigint[])
"""  # noqa: S608
RECOVER = f"""
UPDATE job SET attempts = attempts - 1, crashes = crashes + 1, owner = 0,
    state = CASE WHEN crashes + 1 < {SUSPICIOUS_CRASHES} THEN {State.READY} ELSE {State.SCHEDULED} END
WHERE state = {State.RUNNING} AND owner = ANY($1::bigint[])
RETURNING state
"""  # noqa: S608

# Suspects, as in `sql`.
_SUSPECTED = f"crashes >= {SUSPICIOUS_CRASHES} AND state <> {State.DEAD}"
_NONE_IS_OUT = f"NOT EXISTS (SELECT FROM job WHERE {_SUSPECTED} AND state IN ({State.READY}, {State.RUNNING}))"
_WAITING_SUSPECTS = f"FROM job WHERE {_SUSPECTED} AND state = {State.SCHEDULED}"
ANY_SUSPECT = f"EXISTS (SELECT FROM job WHERE {_SUSPECTED})"
PROMOTE_SUSPECT = f"""
UPDATE job SET state = {State.READY}
WHERE ctid = ANY(ARRAY(SELECT ctid {_WAITING_SUSPECTS} AND ready_ms <= $1
    ORDER BY crashes, ready_ms, seq LIMIT 1 FOR UPDATE)) AND {_NONE_IS_OUT}
"""  # noqa: S608


# Looking.
def _earliest(column: str, which: str) -> str:
    """The smallest of each rank's smallest: each is one look into an index."""
    parts = [f"(SELECT min({column}) FROM job WHERE {which} AND rank = {one:d})" for one in Rank]  # noqa: S608
    return f"least({', '.join(parts)})"


PEEK = f"""
SELECT EXISTS (SELECT FROM job WHERE state = {State.READY}) AS ready,
    {_earliest("ready_ms", f"state = {State.SCHEDULED} AND crashes < {SUSPICIOUS_CRASHES}")} AS next_ms,
    (SELECT min(ready_ms) {_WAITING_SUSPECTS} AND {_NONE_IS_OUT}) AS suspect_ms
"""  # noqa: S608
OLDEST_DUE = f"""
SELECT least({_earliest("due_ms", f"state = {State.READY}")},
    (SELECT min(due_ms) FROM job WHERE state = {State.SCHEDULED}))
"""  # noqa: S608
_REPORTED = "id, type, state, attempts, accepted_ms, due_ms, dead_ms, done, reason, detail"
REPORT = f"SELECT {_REPORTED} FROM job WHERE id = $1"  # noqa: S608
DELIVERED = f"SELECT EXISTS (SELECT FROM dedup WHERE key IN ($1, $2) AND job_id = $1 AND {_UNTIL} > $3)"  # noqa: S608

# Dead letters. The filter's parameters come first: an id, a type, a reason, a channel, each of them or none.
_MATCHING = f"""
state = {State.DEAD} AND ($1::text IS NULL OR id = $1) AND ($2::text IS NULL OR type = $2)
AND ($3::text IS NULL OR reason = $3) AND ($4::text IS NULL OR (done::jsonb ->> $4) <> '')
"""
DEAD_LETTERS = f"""
SELECT dead_ms, seq, {_REPORTED} FROM job WHERE {_MATCHING} AND (dead_ms, seq) < ($5, $6)
ORDER BY dead_ms DESC, seq DESC LIMIT $7
"""  # noqa: S608
OLDEST_DEAD = f"SELECT id, type, dedup_key FROM job WHERE {_MATCHING} ORDER BY dead_ms, seq LIMIT $5"  # noqa: S608
EXPIRED_DEAD = f"""
SELECT id, type, dedup_key FROM job WHERE state = {State.DEAD} AND dead_ms <= $1 ORDER BY dead_ms, seq LIMIT $2
"""  # noqa: S608
DEAD_COUNT = f"SELECT coalesce(sum(dead), 0)::bigint FROM {TALLY}"  # noqa: S608
REVIVE = f"""
UPDATE job SET state = {State.READY}, attempts = 0, crashes = 0, reason = '', detail = '', dead_ms = 0,
    due_ms = $2, ready_ms = $2,
    done = (SELECT coalesce(json_object_agg(key, value), '{{}}')::text FROM json_each_text(done::json) WHERE value = '')
WHERE id = ANY($1::text[]) AND state = {State.DEAD}
"""  # noqa: S608
