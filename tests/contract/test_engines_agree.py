"""Two engines that are asked the same say the same, whatever they are asked."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from notification_dispatcher.job import Job, Lease, Rank, Settlement, Settling
from notification_dispatcher.queues.base import (
    Admission,
    DeadFilter,
    DeadLimits,
    JobQueue,
    Limits,
    Overflow,
    Place,
    Receipt,
)
from notification_dispatcher.queues.memory import MemoryQueue
from notification_dispatcher.queues.sqlite import SqliteQueue
from tests.contract.shared import SharedVirtualClock, opened, shared_queue


class Other(NamedTuple):
    """An engine to compare with."""

    make: Callable[[SharedVirtualClock], JobQueue]
    clock_may_be_set: bool
    """Whether it moves what it stored along with the clock."""


class Pair:
    """Both engines, on one clock."""

    def __init__(self, other: Callable[[SharedVirtualClock], JobQueue], dice: random.Random) -> None:
        self.clock = SharedVirtualClock()
        self.engines: list[JobQueue] = [MemoryQueue(self.clock), other(self.clock)]
        self._dice = dice
        self._leased: list[tuple[Lease, Lease]] = []

    async def enqueue(self) -> None:
        now = self.clock.wall_ms()
        jobs = []
        for _ in range(self._dice.randrange(1, 8)):
            name = f"j{self._dice.randrange(40)}"
            jobs.append(
                Job(
                    id=name,
                    type=self._dice.choice("tu"),
                    payload=b"{}",
                    dedup_key=self._dice.choice([name, f"k{self._dice.randrange(20)}"]),
                    rank=self._dice.choice(list(Rank)),
                    due_ms=self._dice.choice([0, now, now - 5000, now + 1000, now + 90_000]),
                )
            )
        limits = Limits(self._dice.choice([5, 12, 12, 1000]), self._dice.choice(list(Overflow)), 20_000)
        receipt = (
            Receipt(f"r{self._dice.randrange(6)}", jobs[0].id.encode(), _answer) if self._dice.random() < 0.3 else None
        )
        first, second = [await engine.enqueue(jobs, limits, receipt) for engine in self.engines]
        assert first == second

    async def claim(self) -> None:
        count = self._dice.randrange(1, 6)
        first, second = [await engine.claim(count) for engine in self.engines]
        assert [self._told(lease) for lease in first] == [self._told(lease) for lease in second]
        self._leased += zip(first, second, strict=True)

    async def settle(self) -> None:
        self._dice.shuffle(self._leased)
        count = self._dice.randrange(len(self._leased) + 1)
        batch, self._leased = self._leased[:count], self._leased[count:]
        sides: tuple[list[Settlement], list[Settlement]] = ([], [])
        for leases in batch:
            settling = self._dice.choice(list(Settling))
            again_at = self.clock.monotonic() + self._dice.choice([0.0, 0.5, 40.0])
            reason = self._dice.choice(["timeout", "tls"])
            done = {self._dice.choice(["crm", "team"]): self._dice.choice(["", "http_4xx"])}
            for side, lease in zip(sides, leases, strict=True):
                side.append(Settlement(lease=lease, settling=settling, done=done, again_at=again_at, reason=reason))
        for engine, side in zip(self.engines, sides, strict=True):
            await engine.settle(side)

    async def replay(self) -> None:
        limits, count = Limits(self._dice.choice([6, 1000]), Overflow.REJECT, 20_000), self._dice.randrange(4)
        which = self._which()
        first, second = [await engine.replay(which, limits, count) for engine in self.engines]
        assert first == second

    async def discard(self) -> None:
        which, count = self._which(), self._dice.randrange(3)
        first, second = [await engine.discard(which, count) for engine in self.engines]
        assert first == second

    async def tidy(self) -> None:
        limits = DeadLimits(self._dice.choice([5_000, 100_000]), self._dice.choice([0, 3, 1000]))
        first, second = [await engine.tidy(limits) for engine in self.engines]
        assert first == second

    async def jump(self) -> None:
        self.clock.jump(self._dice.choice([-3600, -2, 0.5, 3600, 86_400]))

    def _which(self) -> DeadFilter:
        return DeadFilter(
            job_id=self._dice.choice([None, None, None, f"j{self._dice.randrange(40)}"]),
            job_type=self._dice.choice([None, None, "t", "u"]),
            channel=self._dice.choice([None, None, "crm", "team"]),
            reason=self._dice.choice([None, None, "timeout", "tls"]),
        )

    async def compare(self) -> None:
        first, second = [engine.counts() for engine in self.engines]
        assert first == second
        oldest = [await engine.oldest_due_ms() for engine in self.engines]
        assert oldest[0] == oldest[1]
        name = f"j{self._dice.randrange(40)}"
        reports = [await engine.report(name) for engine in self.engines]
        assert reports[0] == reports[1]
        which = self._which()
        after = self._dice.choice([None, Place(self.clock.wall_ms() - 3_000, 0)])
        pages = [await engine.dead_letters(which, after, 5) for engine in self.engines]
        # Their numbers are each engine's own.
        assert [one.report for one in pages[0]] == [one.report for one in pages[1]]

    @staticmethod
    def _told(lease: Lease) -> tuple[object, ...]:
        return lease.id, lease.rank, lease.attempt, lease.due_ms, lease.eligible_at, lease.done, lease.accepted_ms


def _answer(admission: Admission) -> bytes:
    return " ".join(admission.verdicts).encode() if "queued" in admission.verdicts else b""


@pytest.fixture(params=["sqlite", "postgresql"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Other:
    if request.param == "sqlite":
        return Other(functools.partial(SqliteQueue, tmp_path / "queue.db"), clock_may_be_set=True)
    return Other(functools.partial(shared_queue, request.getfixturevalue("postgres")), clock_may_be_set=False)


@pytest.mark.parametrize("seed", range(12))
async def test_engines_agree(other: Other, seed: int) -> None:
    dice = random.Random(seed)
    pair = Pair(other.make, dice)
    rare = [pair.replay, pair.discard, pair.tidy, *([pair.jump] if other.clock_may_be_set else [])]
    async with opened(*pair.engines):
        for _ in range(200):
            await dice.choice(4 * [pair.enqueue, pair.enqueue, pair.claim, pair.settle] + rare)()
            await pair.compare()
            pair.clock.advance(dice.choice([0, 0.001, 0.7, 5, 30]))
