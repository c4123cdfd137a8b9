"""The election's edges, on a clock that the test moves: of all candidates at most one may write, at any time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import structlog
from prometheus_client import CollectorRegistry

from notification_dispatcher.clock import VirtualClock, rfc3339
from notification_operator.errors import ApiError, ConflictError, ForbiddenError, NotLeadingError, TransientError
from notification_operator.fence import Fence
from notification_operator.leader import LEASE_SECONDS, OBSERVE_SECONDS, RENEW_DEADLINE, RENEW_SECONDS, Elector
from notification_operator.lease import Lease, MemoryLeases
from notification_operator.metrics import OperatorMetrics

STEP = 0.1
TURNS = 12  # of the event loop: more than any step of the elector takes


class Time(VirtualClock):
    """The operator's clock, moved by the test."""

    def now_rfc3339(self) -> str:
        return rfc3339(self.wall_ms())

    def now_micro(self) -> str:
        return rfc3339(self.wall_ms())


class Line:
    """One candidate's way to the lease, with what can go wrong on it."""

    def __init__(self, leases: MemoryLeases, clock: Time) -> None:
        self._leases = leases
        self._clock = clock
        self.error: ApiError | None = None
        """Raised in place of every answer; nothing arrives."""
        self.silent = False
        """Nothing arrives, and no answer comes until the time is over."""
        self.answers_lost = False
        """Writes arrive, and their answers do not."""
        self.slow = 0.0
        """Seconds that the answer to a write takes; the write itself arrives at once."""
        self.overtaken_by: Lease | None = None
        """Written by somebody else just before the next write arrives."""
        self.calls = 0

    async def read(self, seconds: float) -> Lease | None:
        await self._pass(seconds)
        return await self._leases.read(seconds)

    async def write(self, lease: Lease, seconds: float) -> Lease:
        await self._pass(seconds)
        if self.overtaken_by is not None:
            await self._leases.write(self.overtaken_by, seconds)
            self.overtaken_by = None
        stored = await self._leases.write(lease, seconds)
        if self.answers_lost:
            await self._clock.sleep(seconds)
            raise TransientError("no answer")
        await self._clock.sleep(self.slow)
        return stored

    async def _pass(self, seconds: float) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        if self.silent:
            await self._clock.sleep(seconds)
            raise TransientError("no answer")


class Candidate:
    """One operator: an elector, its own clocks, and work that only notes when it is done."""

    def __init__(self, leases: MemoryLeases, name: str, *, wall_ms: int = 1_750_000_000_000, up: float = 0.0) -> None:
        self.name = name
        self.clock = Time(wall_ms)
        self.clock.advance(up)
        self.line = Line(leases, self.clock)
        self.metrics = OperatorMetrics(CollectorRegistry())
        self.fence = Fence(self.clock.monotonic)
        self.elector = Elector(self.line, self.fence, self.clock, self.metrics, name)
        self.working = False
        self.defect: Exception | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def may_write(self) -> bool:
        return self.fence.left > 0

    def start(self) -> None:
        self.task = asyncio.create_task(self.elector.run(self._work))

    async def stop(self) -> None:
        """As SIGTERM does."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _work(self) -> None:
        self.working = True
        try:
            if self.defect is not None:
                raise self.defect
            await asyncio.Event().wait()
        finally:
            self.working = False


# Functions, since mypy believes that an attribute stays what an assertion said it was.
def works(candidate: Candidate) -> bool:
    return candidate.working


def able(candidate: Candidate) -> bool:
    return candidate.elector.able


async def settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def let_pass(seconds: float, *candidates: Candidate) -> None:
    """Let time pass for all of them, and see at every step that no two may write."""
    for _ in range(round(seconds / STEP)):
        for candidate in candidates:
            candidate.clock.advance(STEP)
        await settle()
        assert [candidate.name for candidate in candidates if candidate.may_write][1:] == []
        assert [candidate.name for candidate in candidates if candidate.working][1:] == []


async def until_leads(candidate: Candidate, others: Sequence[Candidate], at_most: float) -> float:
    """How many seconds it takes until this one works."""
    passed = 0.0
    while not candidate.working:
        assert passed < at_most, f"{candidate.name} does not lead after {passed:.1f} s"
        await let_pass(STEP, candidate, *others)
        passed += STEP
    return passed


@asynccontextmanager
async def election(*candidates: Candidate) -> AsyncIterator[None]:
    """All of them run, the first as the leader."""
    for candidate in candidates:
        candidate.start()
        await settle()
    assert [candidate.working for candidate in candidates] == [True] + [False] * (len(candidates) - 1)
    try:
        yield
    finally:
        for candidate in candidates:
            candidate.line.silent, candidate.line.slow = False, 0.0
            await candidate.stop()


async def test_of_two_that_start_at_once_one_leads_and_goes_on_leading() -> None:
    leases = MemoryLeases()
    both = Candidate(leases, "a"), Candidate(leases, "b")
    for candidate in both:
        candidate.start()
    await let_pass(60, *both)
    leader, standby = sorted(both, key=lambda candidate: not candidate.working)
    assert works(leader)
    assert not works(standby)
    assert able(leader)
    assert able(standby)
    assert [candidate.metrics.leader._value.get() for candidate in (leader, standby)] == [1, 0]
    lease = await leases.read(1)
    assert lease is not None
    assert (lease.holder, lease.seconds, lease.transitions) == (leader.name, LEASE_SECONDS, 0)
    # A renewal is one request.
    assert leader.line.calls < 60 / RENEW_SECONDS + 5
    for candidate in both:
        await candidate.stop()


@pytest.mark.parametrize("skew", [-86_400.0, 0.0, 86_400.0])
async def test_the_clocks_of_two_machines_are_never_compared(skew: float) -> None:
    leases = MemoryLeases()
    first = Candidate(leases, "a", wall_ms=round(1_750_000_000_000 + skew * 1000), up=5_000_000)
    second = Candidate(leases, "b")
    async with election(first, second):
        await let_pass(30, first, second)
        assert works(first)
        first.line.silent = True
        taken = await until_leads(second, [first], 13)
        assert taken > LEASE_SECONDS - RENEW_SECONDS
        lease = await leases.read(1)
        assert lease is not None
        assert lease.transitions == 1


async def test_a_leader_that_cannot_renew_stops_before_the_lease_can_be_taken() -> None:
    leases = MemoryLeases()
    first, second = Candidate(leases, "a"), Candidate(leases, "b")
    async with election(first, second):
        first.line.silent = True
        await let_pass(RENEW_DEADLINE - STEP, first, second)
        assert works(first)
        await let_pass(2 * STEP, first, second)
        assert not works(first)
        assert first.metrics.leader._value.get() == 0
        await let_pass(LEASE_SECONDS - RENEW_DEADLINE - 3 * STEP, first, second)
        assert not works(second)
        await until_leads(second, [first], OBSERVE_SECONDS + 3 * STEP)
        # It campaigns again, and is there when the other goes.
        first.line.silent = False
        await let_pass(6, first, second)
        assert able(first)
        await second.stop()
        assert await until_leads(first, [], 2) <= 1.5


async def test_a_renewal_counts_from_when_it_was_sent_not_from_its_answer() -> None:
    leases = MemoryLeases()
    first, second = Candidate(leases, "a"), Candidate(leases, "b")
    async with election(first, second):
        first.line.slow = 2.5
        await let_pass(RENEW_SECONDS + 2 * first.line.slow, first, second)
        lefts = []
        for _ in range(200):
            await let_pass(STEP, first, second)
            lefts.append(first.fence.left)
        assert works(first)
        assert 0 < max(lefts) <= RENEW_DEADLINE - first.line.slow + STEP


async def test_a_process_that_wakes_too_late_writes_nothing_before_any_of_its_tasks_has_run() -> None:
    leases = MemoryLeases()
    first, second = Candidate(leases, "a"), Candidate(leases, "b")
    async with election(first, second):
        with first.fence.write() as left:
            assert left <= RENEW_DEADLINE
        await let_pass(12, second)  # the first is stopped: nothing of it runs
        assert works(second)
        first.clock._monotonic += 12
        with pytest.raises(NotLeadingError), first.fence.write():
            pass
        calls = first.line.calls
        await let_pass(1, first, second)
        assert not works(first)
        assert works(second)
        assert first.line.calls > calls


async def test_an_answer_that_is_lost_costs_neither_the_lease_nor_a_second_leader() -> None:
    leases = MemoryLeases()
    first, second = Candidate(leases, "a"), Candidate(leases, "b")
    async with election(first, second):
        first.line.answers_lost = True
        await let_pass(4, first, second)
        first.line.answers_lost = False
        await let_pass(20, first, second)
        assert works(first)
        lease = await leases.read(1)
        assert lease is not None
        assert (lease.holder, lease.transitions) == ("a", 0)


async def test_the_answer_to_the_first_write_is_lost() -> None:
    leases = MemoryLeases()
    only = Candidate(leases, "a")
    only.line.answers_lost = True
    only.start()
    await let_pass(2, only)
    assert not works(only)
    only.line.answers_lost = False
    await until_leads(only, [], 5)
    await only.stop()


async def test_who_is_overtaken_between_look_and_write_does_not_lead() -> None:
    leases = MemoryLeases()
    first = Candidate(leases, "a")
    first.line.overtaken_by = Lease("b", LEASE_SECONDS, "", "")
    first.start()
    await let_pass(5, first)
    assert not works(first)
    assert able(first)
    await first.stop()
    lease = await leases.read(1)
    assert lease is not None
    assert lease.holder == "b", "what belongs to another is not released"


async def test_a_leader_that_finds_another_in_its_lease_stops_at_once() -> None:
    leases = MemoryLeases()
    only = Candidate(leases, "a")
    async with election(only):
        found = await leases.read(1)
        assert found is not None
        await leases.write(Lease("b", LEASE_SECONDS, "", "", stored=found.stored), 1)
        await let_pass(RENEW_SECONDS + 1, only)
        assert not works(only)


async def test_who_stops_gives_the_lease_up_and_the_next_begins_at_its_next_look() -> None:
    leases = MemoryLeases()
    first, second = Candidate(leases, "a"), Candidate(leases, "b")
    async with election(first, second):
        await let_pass(5, first, second)
        await first.stop()
        lease = await leases.read(1)
        assert lease is not None
        assert lease.holder == ""
        assert await until_leads(second, [], 3) <= OBSERVE_SECONDS * 1.1 + STEP
        lease = await leases.read(1)
        assert lease is not None
        assert (lease.holder, lease.transitions) == ("b", 1)


async def test_the_lease_is_not_given_up_before_the_last_write_is_over() -> None:
    leases = MemoryLeases()
    first, second = Candidate(leases, "a"), Candidate(leases, "b")
    async with election(first, second):
        with first.fence.write():
            stopping = asyncio.create_task(first.stop())
            await let_pass(3, first, second)
            assert not works(second)
            with pytest.raises(NotLeadingError), first.fence.write():
                pass
        await stopping
        await until_leads(second, [], 2)


async def test_a_missing_permission_is_said_once_and_waited_for() -> None:
    leases = MemoryLeases()
    only = Candidate(leases, "a")
    only.line.error = ForbiddenError("403 leases is forbidden", status=403)
    with structlog.testing.capture_logs() as lines:
        only.start()
        await let_pass(60, only)
    assert not works(only)
    assert not able(only)
    assert 10 < only.line.calls < 25
    (line,) = lines
    assert line["action"] == "lease_failed"
    assert "grant get, create and update of leases.coordination.k8s.io" in line["why"]
    only.line.error = None
    await until_leads(only, [], 6)
    assert able(only)
    await only.stop()


async def test_a_defect_of_the_work_ends_it_and_frees_the_lease() -> None:
    leases = MemoryLeases()
    only = Candidate(leases, "a")
    only.defect = RuntimeError("a defect")
    only.start()
    assert only.task is not None
    with pytest.raises(RuntimeError, match="a defect"):
        await only.task
    lease = await leases.read(1)
    assert lease is not None
    assert lease.holder == ""
    assert not only.may_write


async def test_what_others_wrote_into_the_lease_stays() -> None:
    leases = MemoryLeases()
    leases.stored = {
        "metadata": {"name": "lease", "resourceVersion": "7", "labels": {"team": "a"}},
        "spec": {"strategy": "OldestEmulationVersion"},
    }
    only = Candidate(leases, "a")
    async with election(only):
        assert leases.stored["metadata"]["labels"] == {"team": "a"}
        assert leases.stored["spec"]["strategy"] == "OldestEmulationVersion"
        assert leases.stored["spec"]["holderIdentity"] == "a"


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_fails_no_two_lead_and_one_does_in_the_end(seed: int) -> None:
    chance = random.Random(seed)
    leases = MemoryLeases()
    candidates = [
        Candidate(leases, name, wall_ms=chance.randrange(10**12), up=chance.uniform(0, 1e6)) for name in "abc"
    ]
    for candidate in candidates:
        candidate.start()
    led = set()
    for _ in range(120):
        hit = chance.choice(candidates)
        hit.line.silent = chance.random() < 0.4
        hit.line.answers_lost = chance.random() < 0.3
        hit.line.error = chance.choice([None, None, TransientError("503"), ConflictError("409")])
        await let_pass(chance.uniform(0, 8), *candidates)
        led |= {candidate.name for candidate in candidates if candidate.working}
    assert len(led) > 1
    for candidate in candidates:
        candidate.line.silent = candidate.line.answers_lost = False
        candidate.line.error = None
    await let_pass(20, *candidates)
    assert sum(candidate.working for candidate in candidates) == 1
    for candidate in candidates:
        await candidate.stop()
