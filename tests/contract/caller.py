"""What the engines' tests put in and settle."""

from __future__ import annotations

from notification_dispatcher.clock import Clock
from notification_dispatcher.job import Job, Lease, Rank, Settlement, Settling
from notification_dispatcher.queues.base import JobQueue, Limits, Overflow, Receipt, Verdict

WINDOW_MS = 60_000
ROOMY = Limits(1000, Overflow.EVICT_OLDEST, WINDOW_MS)


class Caller:
    """Makes jobs at the clock's time."""

    def __init__(self, queue: JobQueue, clock: Clock) -> None:
        self._queue = queue
        self._clock = clock

    def job(self, name: str, rank: Rank = Rank.NORMAL, *, due_in: float = 0, key: str = "") -> Job:
        return Job(
            id=name,
            type="booking-created",
            payload=b'{"n": 1}',
            dedup_key=key or name,
            rank=rank,
            due_ms=self._clock.wall_ms() + round(due_in * 1000) if due_in else 0,
        )

    async def put(self, *jobs: Job, limits: Limits = ROOMY) -> list[Verdict]:
        return (await self._queue.enqueue(jobs, limits)).verdicts

    async def claim(self, count: int = 100) -> list[str]:
        return [lease.id for lease in await self._queue.claim(count)]


def end(lease: Lease, settling: Settling = Settling.PROCESSED, **more: object) -> Settlement:
    values: dict[str, object] = {"done": lease.done, **more}
    return Settlement(lease=lease, settling=settling, **values)  # type: ignore[arg-type]


def receipt(key: str = "r", fingerprint: bytes = b"body") -> Receipt:
    return Receipt(key, fingerprint, lambda admission: ",".join(admission.verdicts).encode())
