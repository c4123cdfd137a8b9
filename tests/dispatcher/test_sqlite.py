"""The embedded engine beyond the contract: what outlives the process, and what the file can suffer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from notification_dispatcher.clock import VirtualClock
from notification_dispatcher.errors import QueueError, QueueInUseError, QueueSchemaError, QueueUnavailableError
from notification_dispatcher.job import Job, Rank, Settlement, Settling
from notification_dispatcher.queues import migrations, sql
from notification_dispatcher.queues.base import Counts, DeadFilter, DeadLimits, Limits, Overflow, Verdict
from notification_dispatcher.queues.sqlite import SqliteQueue

LIMITS = Limits(1_000_000, Overflow.EVICT_OLDEST, 60_000)


def job(name: str, clock: VirtualClock, due_in_ms: int = 0, rank: Rank = Rank.NORMAL) -> Job:
    return Job(id=name, type="t", payload=b"{}", dedup_key=name, rank=rank, due_ms=clock.wall_ms() + due_in_ms)


@asynccontextmanager
async def opened(path: Path, clock: VirtualClock) -> AsyncIterator[SqliteQueue]:
    queue = SqliteQueue(path, clock)
    await queue.open()
    try:
        yield queue
    finally:
        await queue.close()


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "folder" / "queue.db"
    async with opened(path, clock) as queue:
        await queue.enqueue([job(name, clock) for name in "abcd"] + [job("e", clock, 1000)], LIMITS)
        a, b, c = await queue.claim(3)
        await queue.settle([Settlement(lease=a, settling=Settling.PROCESSED)])
        await queue.settle([Settlement(lease=b, settling=Settling.FAILED, reason="timeout")])
        # c runs when the process ends.
    async with opened(path, clock) as queue:
        assert queue.counts() == Counts(ready=2, scheduled=1, running=0, dead=1)
        leases = await queue.claim(10)
        assert [(lease.id, lease.attempt) for lease in leases] == [("c", 1), ("d", 1)]
        assert [lease.crashes for lease in leases] == [1, 0]
        again = await queue.enqueue([job(name, clock) for name in "abcde"], LIMITS)
        assert set(again.verdicts) == {Verdict.DEDUPLICATED}
        assert c.id == "c"


async def test_a_second_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    async with opened(path, VirtualClock()):
        with pytest.raises(QueueInUseError, match=r"another dispatcher has the queue's file .*NOTIFICATION_QUEUE_PATH"):
            await SqliteQueue(path, VirtualClock()).open()
    async with opened(path, VirtualClock()):
        pass


async def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    async with opened(path, VirtualClock()):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(QueueSchemaError, match="has version 99, and this program knows 3"):
        await SqliteQueue(path, VirtualClock()).open()


async def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "queue.db"
    now = clock.wall_ms()
    with sqlite3.connect(path) as connection:
        connection.executescript(f"{migrations.STEPS[0]}PRAGMA user_version = 1;")
        for name, state, due in (("ready", 0, now), ("later", 1, now + 5000), ("ran", 2, now), ("dead", 3, now)):
            connection.execute(
                "INSERT INTO job (id, type, state, rank, payload, dedup_key, attempts, accepted_ms, due_ms)"
                " VALUES (?, 't', ?, 1, '{}', ?, 1, ?, ?)",
                (name, state, name, now, due),
            )
        connection.execute("INSERT INTO dedup VALUES ('ready', 'ready', ?)", (now + 1000,))
    connection.close()
    async with opened(path, clock) as queue:
        assert queue.counts() == Counts(ready=2, scheduled=1, running=0, dead=1)
        assert {lease.id for lease in await queue.claim(10)} == {"ready", "ran"}
        assert [one.report.id for one in await queue.dead_letters(DeadFilter(), None, 10)] == ["dead"]
        assert (await queue.enqueue([job("ready", clock)], LIMITS)).verdicts == [Verdict.DEDUPLICATED]
        clock.advance(5)
        assert [lease.id for lease in await queue.claim(10)] == ["later"]


async def test_suspects_are_leased_one_at_a_time_and_the_others_beside_them(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "queue.db"
    async with opened(path, clock) as queue:
        await queue.enqueue([job(name, clock) for name in ("a", "poison", "b")], LIMITS)
    for _ in range(2):
        async with opened(path, clock) as queue:
            assert len(await queue.claim(10)) == 3
    async with opened(path, clock) as queue:
        await queue.enqueue([job("new", clock)], LIMITS)
        first = await queue.claim(10)
        assert [(lease.id, lease.crashes) for lease in first] == [("a", 2), ("new", 0)]
        assert await queue.claim(10) == []
        await queue.settle([Settlement(lease=first[0], settling=Settling.PROCESSED)])
        await asyncio.wait_for(queue.wait_for_work(), 1)
        assert [lease.id for lease in await queue.claim(10)] == ["poison"]
        # It ends the process, and no other suspect with it.
    async with opened(path, clock) as queue:
        (b, new) = await queue.claim(10)
        assert [(lease.id, lease.crashes) for lease in (b, new)] == [("b", 2), ("new", 1)]
        # One that is to be tried again, or is put off, lets the next go first.
        await queue.settle([Settlement(lease=b, settling=Settling.RETRY, again_at=clock.monotonic() + 5)])
        (poison,) = await queue.claim(10)
        assert (poison.id, poison.crashes, poison.attempt) == ("poison", 3, 1)
        await queue.settle([Settlement(lease=poison, settling=Settling.FAILED, reason="interrupted")])
        assert await queue.claim(10) == []
        clock.advance(5)
        assert [lease.id for lease in await queue.claim(10)] == ["b"]


async def test_many_large_jobs_are_leased_a_few_at_a_time(tmp_path: Path) -> None:
    clock = VirtualClock()
    large = b'{"notes": "%s"}' % (b'"\\u0000'.replace(b'"', b'\\"') * 1_200_000)
    async with opened(tmp_path / "queue.db", clock) as queue:
        await queue.enqueue([msgspec.structs.replace(job(name, clock), payload=large) for name in "abcd"], LIMITS)
        first = await queue.claim(10)
        assert [lease.id for lease in first] == ["a", "b"]
        assert first[0].payload == large
        # The rest is there at once: nobody waits for an arrival.
        await asyncio.wait_for(queue.wait_for_work(), 1)
        assert [lease.id for lease in await queue.claim(10)] == ["c", "d"]


async def test_out_of_memory_is_a_queue_that_cannot_store(tmp_path: Path) -> None:
    def grow(_: sqlite3.Connection) -> None:
        raise MemoryError

    async with opened(tmp_path / "queue.db", VirtualClock()) as queue:
        assert queue._writer is not None
        with pytest.raises(QueueUnavailableError, match="MemoryError"):
            await queue._writer.do(grow)
        assert not queue.available
        await queue.probe()
        assert queue.available


async def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "queue.db"
    async with opened(path, clock) as queue:
        await queue.enqueue([job(f"j{number}", clock) for number in range(500)], LIMITS)
    content = bytearray(path.read_bytes())
    # The cells' addresses of a page in the middle.
    content[4096 * 8 + 8 : 4096 * 8 + 24] = b"\xff" * 16
    path.write_bytes(content)
    with pytest.raises(QueueError, match=r"queue\.db is damaged: .* Move it away"):
        await SqliteQueue(path, clock).open()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    path.write_bytes(b"not a database " * 1000)
    with pytest.raises(QueueError, match=r"cannot be opened: file is not a database\. NOTIFICATION_QUEUE_PATH"):
        await SqliteQueue(path, VirtualClock()).open()


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(QueueError, match="cannot be opened: "):
        await SqliteQueue(tmp_path / "file" / "queue.db", VirtualClock()).open()


async def test_a_full_disk_takes_nothing_and_loses_nothing(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with opened(tmp_path / "queue.db", clock) as queue:
        await queue.enqueue([job("before", clock)], LIMITS)
        assert queue._writer is not None
        pages = await queue._writer.do(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
        await queue._writer.do(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone())
        large = [Job(id=f"l{number}", type="t", payload=b"x" * 5000, dedup_key=f"l{number}") for number in range(20)]
        with pytest.raises(QueueUnavailableError, match="full"):
            await queue.enqueue(large, LIMITS)
        # What only reads may well work: that makes room for nobody.
        await queue.oldest_due_ms()
        await queue.report("before")
        await queue.tidy(DeadLimits(0, 0))
        assert (await queue.enqueue([job("before", clock)], LIMITS)).verdicts == [Verdict.DEDUPLICATED]
        assert [queue.available, queue.counts()] == [False, Counts(ready=1, scheduled=0, running=0, dead=0)]
        await queue._writer.do(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchone())
        assert (await queue.enqueue(large, LIMITS)).verdicts == [Verdict.QUEUED] * 20
        assert [queue.available, queue.counts().depth] == [True, 21]


async def test_a_probe_writes_and_changes_nothing(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "queue.db"
    async with opened(path, clock) as queue:
        size = path.with_name("queue.db-wal").stat().st_size
        await queue.probe()
        assert path.with_name("queue.db-wal").stat().st_size > size
        assert queue._writer is not None
        queue._writer.available = False
        await queue.probe()
        assert queue.available
    async with opened(path, clock):
        pass


async def test_one_bad_piece_of_work_fails_nobody_elses(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with opened(tmp_path / "queue.db", clock) as queue:
        writer = queue._writer
        assert writer is not None

        def bug(_: sqlite3.Connection) -> None:
            raise ZeroDivisionError

        outcomes = await asyncio.gather(
            queue.enqueue([job("a", clock)], LIMITS),
            writer.do(bug),
            queue.enqueue([job("b", clock)], LIMITS),
            return_exceptions=True,
        )
        assert isinstance(outcomes[1], ZeroDivisionError)
        assert queue.counts().ready == 2
        assert queue.available


async def test_a_closed_queue_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path / "queue.db", VirtualClock()) as queue:
        pass
    with pytest.raises(QueueUnavailableError, match="closed"):
        await queue.claim(1)


async def test_who_stops_waiting_leaves_the_others_work_alone(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with opened(tmp_path / "queue.db", clock) as queue:
        impatient = asyncio.create_task(queue.enqueue([job("a", clock)], LIMITS))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.gather(impatient, return_exceptions=True)
        await queue.enqueue([job("b", clock)], LIMITS)
        assert queue.counts().ready == 2


@pytest.mark.parametrize(
    "statement",
    [
        sql.DUE,
        sql.START,
        sql.STARTED,
        sql.PROCESSED,
        sql.VICTIM,
        sql.PROMOTE,
        sql.NEXT_READY,
        sql.ANY_SUSPECT,
        sql.PROMOTE_SUSPECT,
        sql.NEXT_SUSPECT,
        sql.OLDEST_DUE,
        sql.FORGET_OLD,
        sql.FORGET_REQUESTS,
        sql.EXPIRED_DEAD,
        sql.DELIVERED,
    ],
)
async def test_what_runs_often_uses_an_index(tmp_path: Path, statement: str) -> None:
    async with opened(tmp_path / "queue.db", VirtualClock()) as queue:
        assert queue._writer is not None
        values = (
            {"count": 10, "newest": 5}
            if ":" in statement
            else (1,) * (2 if "?2" in statement else statement.count("?"))
        )
        plan = await queue._writer.do(
            lambda connection: connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
        )
        steps = [row[3] for row in plan if " job" in row[3] or " dedup" in row[3] or " request" in row[3]]
        assert all(
            "USING INDEX job_" in step or "dedup" in step or "request" in step or "rowid=?" in step for step in steps
        ), plan
        assert not [step for step in steps if step.startswith("SCAN") and "USING" not in step], plan


async def test_large_batches_leave_no_more_notes_than_those_of_the_window(tmp_path: Path) -> None:
    clock, size = VirtualClock(), 1000
    async with opened(tmp_path / "queue.db", clock) as queue:
        assert queue._writer is not None
        for batch in range(4):
            jobs = [job(f"j{batch}-{number}", clock) for number in range(size)]
            await queue.enqueue([msgspec.structs.replace(one, dedup_key=f"k-{one.id}") for one in jobs], LIMITS)
            clock.advance(LIMITS.dedup_window_ms / 1000)
        assert await queue._writer.do(lambda one: one.execute("SELECT count(*) FROM dedup").fetchone()) == (2 * size,)


async def test_a_full_queue_of_many_evicts_fast(tmp_path: Path) -> None:
    clock, capacity = VirtualClock(), 20_000
    async with opened(tmp_path / "queue.db", clock) as queue:
        await queue.enqueue([job(f"j{number}", clock, rank=Rank(number % 3)) for number in range(capacity)], LIMITS)
        assert queue._writer is not None
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        # SQLite calls it after each 1,000 instructions of its machine: work, whatever the clock says.
        await queue._writer.do(lambda connection: connection.set_progress_handler(count, 1000))
        admission = await queue.enqueue(
            [job(f"new{number}", clock) for number in range(100)], LIMITS._replace(capacity=capacity)
        )
        assert len(admission.evicted) == 100
        assert await queue.claim(100)
        assert steps < 100
