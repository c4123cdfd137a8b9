"""The shared engine beyond what all promise: who is alive, whose the schema is, and that nothing stays open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog

from notification_dispatcher.clock import SystemClock
from notification_dispatcher.errors import QueueError, QueueInUseError, QueueSchemaError, QueueUnavailableError
from notification_dispatcher.job import Lease, Settling
from notification_dispatcher.queues.base import Counts, Limits, Overflow, Verdict
from notification_dispatcher.queues.postgresql.database_clock import DatabaseClock
from notification_dispatcher.queues.postgresql.engine import PostgresqlQueue
from notification_dispatcher.queues.postgresql.links import Access
from notification_dispatcher.queues.postgresql.track import Work
from tests.contract.caller import ROOMY, WINDOW_MS, Caller, end
from tests.contract.shared import SharedVirtualClock, new_schema, opened, shared_queue
from tests.postgres import PASSWORD, PostgresServer, postgres_server

_OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'notification-dispatcher'"


class Host:
    """A dispatcher's engine on a clock of its own."""

    def __init__(self, server: PostgresServer, schema: str, **more: Any) -> None:
        self.clock = SharedVirtualClock()
        self.queue = shared_queue(server, self.clock, schema, **more)
        self.caller = Caller(self.queue, self.clock)

    async def beat(self, seconds: float = 1.0) -> None:
        """Let time pass here, and the heart beat."""
        self.clock.advance(seconds)
        await self.queue.probe()


@pytest.fixture
def pair(postgres: PostgresServer) -> tuple[Host, Host]:
    schema = new_schema()
    return Host(postgres, schema), Host(postgres, schema)


async def one_lease(host: Host) -> Lease:
    (lease,) = await host.queue.claim(1)
    return lease


async def first_lease(host: Host) -> Lease:
    """The first that there is, once the heart, which beats by itself too, has found out what there is."""
    async with asyncio.timeout(30):
        while not (leases := await host.queue.claim(1)):
            await host.queue.probe()
    return leases[0]


# Who is alive.


async def test_what_a_silent_dispatcher_had_goes_to_another(pair: tuple[Host, Host]) -> None:
    first, second = pair
    async with opened(first.queue, second.queue):
        await first.caller.put(first.caller.job("a"))
        late = await one_lease(first)
        for _ in range(9):
            await second.beat()
        assert await second.queue.claim(1) == []
        await second.beat()
        again = await first_lease(second)
        assert (again.id, again.attempt, again.crashes) == ("a", 1, 1)
        # It was alive after all: what it says of the job now says nothing, and it is told so.
        assert await first.queue.settle([end(late)]) == [late]
        assert await first.queue.settle([end(late, Settling.FAILED, reason="timeout")]) == []
        await first.beat()
        await second.beat()
        assert first.queue.counts() == second.queue.counts() == Counts(0, 0, 1, 0)
        await second.queue.settle([end(again)])
        await first.beat()
        assert first.queue.counts() == Counts(0, 0, 0, 0)
        # It goes on as another member.
        await first.caller.put(first.caller.job("b"))
        assert await first.caller.claim() == ["b"]


async def test_a_dispatcher_that_was_suspended_takes_nobodys_jobs(pair: tuple[Host, Host]) -> None:
    first, second = pair
    async with opened(first.queue, second.queue):
        await first.caller.put(first.caller.job("a"))
        lease = await one_lease(first)
        await second.beat()
        # The others could not be heard either, for all it knows: each gets a whole lease from now on.
        await second.beat(3600)
        for _ in range(30):
            await second.beat()
            await second.beat()
            await first.beat()
        assert await second.queue.claim(1) == []
        await first.queue.settle([end(lease)])
        assert first.queue.counts() == Counts(0, 0, 0, 0)


async def test_one_that_says_goodbye_leaves_its_jobs_at_once(pair: tuple[Host, Host]) -> None:
    first, second = pair
    async with opened(second.queue):
        async with opened(first.queue):
            await first.caller.put(first.caller.job("a"), first.caller.job("b"))
            await first.queue.claim(1)
        await second.beat()
        assert second.queue.counts() == Counts(2, 0, 0, 0)
        assert await second.caller.claim() == ["a", "b"]


async def test_the_heart_beats_though_nothing_else_can_connect(postgres: PostgresServer) -> None:
    schema = new_schema()
    async with postgres.administrator() as link:
        await link.execute(
            f"CREATE ROLE {schema} LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 2; CREATE SCHEMA {schema}"
        )
        await link.execute(f"GRANT ALL ON SCHEMA {schema} TO {schema}")
    access = Access(postgres.dsn.replace("dispatcher:", f"{schema}:"), None)
    host = Host(postgres, schema, access=lambda: access)
    with structlog.testing.capture_logs() as logs:
        async with opened(host.queue):
            beats = f"SELECT beats > {{}} FROM {schema}.member"  # noqa: S608
            # One connection beats, one works, and none is left to listen with.
            await host.caller.put(host.caller.job("a"))
            for number in range(5):
                host.clock.advance(1)
                await postgres.until(beats.format(number), value=True)
            assert await host.caller.claim() == ["a"]
            assert host.queue.available
    told = [line["chore"] for line in logs if line["action"] == "queue_chore_failed"]
    assert told == ["bell"]


async def test_without_a_heartbeat_nothing_is_claimed(pair: tuple[Host, Host]) -> None:
    host, _ = pair
    async with opened(host.queue):
        await host.caller.put(host.caller.job("a"))
        host.queue._heart.available = False
        assert not host.queue.available
        with pytest.raises(QueueUnavailableError, match="heart"):
            await host.queue.claim(1)


async def test_a_settlement_that_was_stored_unheard_does_not_end_the_next_attempt(pair: tuple[Host, Host]) -> None:
    host, _ = pair
    async with opened(host.queue):
        await host.caller.put(host.caller.job("a"))
        first = await one_lease(host)
        released = end(first, Settling.RELEASED)
        await host.queue.settle([released])
        second = await one_lease(host)
        # As a worker does that was not told that it is stored.
        host.queue._claims._held.setdefault((first.holder, first.seq), first)
        assert await host.queue.settle([released]) == []
        assert host.queue.counts() == Counts(0, 0, 1, 0)
        await host.queue.settle([end(second)])
        assert host.queue.counts() == Counts(0, 0, 0, 0)


async def lost_and_free_again(pair: tuple[Host, Host]) -> Lease:
    """A lease that the first one still believes in, of a job that waits again; it is another member already."""
    first, second = pair
    await first.caller.put(first.caller.job("a"))
    lost = await one_lease(first)
    for _ in range(11):
        await second.beat()
    await first.beat()
    assert first.queue.counts() == Counts(1, 0, 0, 0)
    return lost


async def test_the_end_of_a_lost_lease_is_not_that_of_the_next(
    pair: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    async with opened(first.queue, second.queue):
        lost = await lost_and_free_again(pair)
        again: list[Lease] = []
        run = first.queue._claims._settling.run

        async def run_while_claiming(do: Callable[[Work], Awaitable[object]]) -> object:
            async def settle_and_claim(work: Work) -> object:
                settled = await do(work)
                again.append(await first_lease(first))
                return settled

            return await run(settle_and_claim)

        with monkeypatch.context() as patch:
            patch.setattr(first.queue._claims._settling, "run", run_while_claiming)
            assert await first.queue.settle([end(lost)]) == [lost]
        assert await first.queue.settle([end(one) for one in again]) == []
        assert first.queue.counts() == Counts(0, 0, 0, 0)


async def test_a_lost_lease_does_not_hide_what_an_unheard_claim_leased(
    pair: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    async with opened(first.queue, second.queue):
        lost = await lost_and_free_again(pair)
        run = first.queue._claims._claiming.run

        async def run_unheard(do: Callable[[Work], Awaitable[object]], after: str) -> None:
            await run(do, after=after)
            raise QueueUnavailableError("the answer is lost")

        with monkeypatch.context() as patch:
            patch.setattr(first.queue._claims._claiming, "run", run_unheard)
            with pytest.raises(QueueUnavailableError):
                await first_lease(first)
        first.queue._busy = True
        again = await one_lease(first)
        # Whichever of the two ends first.
        assert await first.queue.settle([end(lost)]) == [lost]
        assert await first.queue.settle([end(again)]) == []
        assert first.queue.counts() == Counts(0, 0, 0, 0)


# Several at once.


async def test_dedup_and_capacity_are_exact_across_dispatchers(postgres: PostgresServer) -> None:
    schema, limits = new_schema(), Limits(40, Overflow.EVICT_OLDEST, WINDOW_MS)
    hosts = [Host(postgres, schema) for _ in range(4)]
    async with opened(*(host.queue for host in hosts)):
        batches = [[f"j{number}" for number in range(start, start + 10)] for start in range(0, 100, 10)]

        async def put(host: Host, names: list[str]) -> tuple[list[Verdict], int]:
            admission = await host.queue.enqueue([host.caller.job(name) for name in names], limits)
            return admission.verdicts, len(admission.evicted)

        # Each batch comes to each of them, at the same time.
        answers = await asyncio.gather(*(put(host, names) for names in batches for host in hosts))
        verdicts = [verdict for told, _ in answers for verdict in told]
        evicted = sum(count for _, count in answers)
        await hosts[0].beat()
        assert hosts[0].queue.counts().depth == 40
        assert verdicts.count(Verdict.QUEUED) == 40 + evicted
        claimed = await asyncio.gather(*(host.queue.claim(30) for host in hosts))
        names = [lease.id for leases in claimed for lease in leases]
        assert len(names) == len(set(names)) == 40


async def test_while_a_transaction_is_under_way_what_was_known_counts(
    pair: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _ = pair
    async with opened(host.queue):
        await host.caller.put(host.caller.job("a"), host.caller.job("b"))
        await one_lease(host)
        seen: list[Counts] = []
        run = host.queue._door._track.run

        async def run_and_look(do: Callable[[Work], Awaitable[object]], before: str) -> object:
            async def look_and_do(work: Work) -> object:
                seen.append(host.queue.counts())
                return await do(work)

            return await run(look_and_do, before=before)

        monkeypatch.setattr(host.queue._door._track, "run", run_and_look)
        await host.caller.put(host.caller.job("c"))
        assert seen == [Counts(1, 0, 1, 0)]
        assert host.queue.counts() == Counts(2, 0, 1, 0)


async def test_each_hears_of_what_another_let_in(postgres: PostgresServer) -> None:
    schema = new_schema()
    queues = [shared_queue(postgres, DatabaseClock(SystemClock()), schema) for _ in range(2)]
    async with opened(*queues), asyncio.timeout(30):
        # The first has to know that it is not alone.
        await queues[0]._beat()
        assert await queues[1].claim(1) == []
        job = Caller(queues[0], SharedVirtualClock()).job("a")
        await queues[0].enqueue([job], ROOMY)
        while not (leases := await queues[1].claim(1)):
            await queues[1].wait_for_work()
        await queues[1].settle([end(lease) for lease in leases])


async def test_what_another_gives_back_is_heard_of_at_once(pair: tuple[Host, Host]) -> None:
    first, second = pair
    async with opened(first.queue), asyncio.timeout(60):
        async with opened(second.queue):
            await first.caller.put(first.caller.job("a"), first.caller.job("b"))
            released, _ = await second.queue.claim(2)
            await nothing_to_claim(first)
            await second.queue.settle([end(released, Settling.RELEASED)])
            assert await woken_for(first) == ["a"]
            await nothing_to_claim(first)
        # The other left, and had one still.
        assert await woken_for(first) == ["b"]


async def test_a_heartbeat_finds_what_another_left_to_be_tried_again(pair: tuple[Host, Host]) -> None:
    first, second = pair
    async with opened(first.queue, second.queue), asyncio.timeout(60):
        await first.caller.put(first.caller.job("a"))
        lease = await one_lease(second)
        await nothing_to_claim(first)
        # Of its share nothing is left that waits: what was let in elsewhere went out of it, and came back.
        await second.queue.settle([end(lease, Settling.RETRY, again_at=3.0)])
        await first.queue._beat()
        await first.queue.wait_for_work()
        assert await first.caller.claim() == []
        first.clock.advance(3)
        await first.queue.wait_for_work()
        assert await first.caller.claim() == ["a"]


async def woken_for(host: Host) -> list[str]:
    """What it claims when it is woken, as long as it takes."""
    while not (claimed := await host.caller.claim()):
        await host.queue.wait_for_work()
    return claimed


async def nothing_to_claim(host: Host) -> None:
    """It looks until nothing tells it to look again."""
    while True:
        assert await host.queue.claim(1) == []
        if not host.queue._waking._event.is_set():
            return


async def test_the_board_is_changed_by_one_at_a_time(postgres: PostgresServer) -> None:
    schema = new_schema()
    hosts = [Host(postgres, schema) for _ in range(3)]
    async with opened(*(host.queue for host in hosts)):

        def one_more(written: bytes, now_ms: int) -> bytes:
            assert now_ms > 1_750_000_000_000
            return str(int(written or b"0") + 1).encode()

        await asyncio.gather(*(host.queue.board.change(one_more) for host in hosts for _ in range(10)))
        async with postgres.administrator() as link:
            assert await link.fetchval(f"SELECT content FROM {schema}.board") == b"30"  # noqa: S608


async def test_what_may_be_forgotten_is_forgotten_as_fast_as_it_came(
    pair: tuple[Host, Host], postgres: PostgresServer
) -> None:
    host, _ = pair
    schema = host.queue._tenancy.schema
    async with opened(host.queue), postgres.administrator() as link:
        await link.execute(f"SET search_path = {schema}")
        await link.execute("INSERT INTO dedup SELECT 'old' || n, 'j', n FROM generate_series(1, 22000) AS n")
        await link.execute("INSERT INTO request SELECT 'old' || n, '', '', n FROM generate_series(1, 12000) AS n")
        await host.caller.put(host.caller.job("a"))
        await host.queue._forget_old()
        # What the engine began by itself may end a little later.
        await postgres.until(f"SELECT count(*) FROM {schema}.request", value=0)  # noqa: S608
        await postgres.until(f"SELECT count(*) FROM {schema}.dedup", value=1)  # noqa: S608


# Whose it is.


async def test_a_second_pipeline_is_refused(pair: tuple[Host, Host], postgres: PostgresServer) -> None:
    host, _ = pair
    async with opened(host.queue):
        await host.caller.put(host.caller.job("a"))
        schema = host.queue._tenancy.schema
        other = Host(postgres, schema, pipeline="plannivo/rental")
        with pytest.raises(QueueInUseError, match=r"plannivo/booking's.*plannivo/rental.*queue\.postgresql\.schema"):
            await other.queue.open()
        assert not other.queue.available
        with pytest.raises(QueueInUseError):
            await other.queue.claim(1)


async def test_a_schema_of_a_newer_program_is_refused(pair: tuple[Host, Host], postgres: PostgresServer) -> None:
    first, second = pair
    async with opened(first.queue):
        pass
    schema = first.queue._tenancy.schema
    async with postgres.administrator() as link:
        await link.execute(f"SET search_path = {schema}")
        await link.execute("UPDATE version SET version = 99")
        async with opened(second.queue):
            await second.caller.put(second.caller.job("a"))
        await link.execute("UPDATE version SET readable_by = 99")
    with pytest.raises(QueueSchemaError, match="run the newer"):
        await Host(postgres, schema).queue.open()


async def test_a_schema_that_the_role_may_not_use_is_refused(postgres: PostgresServer) -> None:
    schema = new_schema()
    async with postgres.administrator() as link:
        await link.execute(f"CREATE ROLE {schema} LOGIN PASSWORD '{PASSWORD}'; CREATE SCHEMA {schema}")
    access = Access(postgres.dsn.replace("dispatcher:", f"{schema}:"), None)
    with pytest.raises(QueueSchemaError, match=f"do not get to its schema {schema}: the role needs USAGE"):
        await Host(postgres, schema, access=lambda: access).queue.open()


# Nothing stays open.


@pytest.fixture
async def clean(postgres: PostgresServer) -> PostgresServer:
    """The server, while nobody else uses it."""
    await postgres.until(_OURS, value=0)
    return postgres


@pytest.mark.parametrize("turns", range(0, 60, 4))
async def test_nothing_stays_open_when_opening_is_cut_off(clean: PostgresServer, turns: int) -> None:
    queue = shared_queue(clean, SharedVirtualClock())
    opening = asyncio.create_task(queue.open())
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await queue.close()
    await clean.until(_OURS, value=0)


async def test_nothing_stays_open_when_what_is_under_way_is_cut_off(clean: PostgresServer) -> None:
    host = Host(clean, new_schema())
    async with opened(host.queue):
        for turns in range(0, 40, 4):
            calls = [
                asyncio.create_task(host.queue.claim(1)),
                asyncio.create_task(host.caller.put(host.caller.job(f"j{turns}"))),
                asyncio.create_task(host.queue.oldest_due_ms()),
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
    await clean.until(_OURS, value=0)


async def test_what_is_under_way_finishes_while_it_closes(clean: PostgresServer) -> None:
    host = Host(clean, new_schema())
    await host.queue.open()
    putting = asyncio.create_task(host.caller.put(*(host.caller.job(f"j{number}") for number in range(200))))
    await asyncio.sleep(0)
    await host.queue.close()
    assert await putting == [Verdict.QUEUED] * 200
    await clean.until(_OURS, value=0)
    with pytest.raises(QueueUnavailableError):
        await host.caller.put(host.caller.job("late"))


async def test_a_refused_dispatcher_says_why_without_the_secret(clean: PostgresServer) -> None:
    access = Access(clean.dsn.replace(PASSWORD, "wr0ng-canary"), None)
    queue = shared_queue(clean, SharedVirtualClock(), access=lambda: access)
    with pytest.raises(QueueError, match=r"InvalidPasswordError.*NOTIFICATION_QUEUE_DSN") as raised:
        await queue.open()
    assert "canary" not in f"{raised.value!r} {raised.value.__cause__!r} {access!r}"
    await clean.until(_OURS, value=0)


async def test_a_server_that_dies_is_missed_and_found_again() -> None:
    with postgres_server() as server:
        queue: PostgresqlQueue = shared_queue(server, DatabaseClock(SystemClock()))
        caller = Caller(queue, SharedVirtualClock())
        async with opened(queue), asyncio.timeout(60):
            await caller.put(caller.job("a"))
            (lease,) = await queue.claim(1)
            server.kill()
            with pytest.raises(QueueUnavailableError):
                await queue.settle([end(lease)])
            assert not queue.available
            with pytest.raises(QueueUnavailableError):
                await caller.put(caller.job("b"))
            server.start()
            await available(queue)
            await queue.settle([end(lease)])
            assert queue.counts() == Counts(0, 0, 0, 0)
            # It is closed without a server to say goodbye to.
            server.kill()


async def available(queue: PostgresqlQueue) -> None:
    while not queue.available:  # noqa: ASYNC110  it finds out by itself
        await asyncio.sleep(0.05)
