"""Leader election: of several operators one works, and another takes over when it is gone. `run` starts it.

As client-go's: the holder renews a Lease; a candidate takes it when it is free, or when its record has not changed for
the time it is granted, measured by the candidate's own monotonic clock since it last saw it change. The clocks of two
machines are never compared. The API server refuses a write of an outdated version: of two candidates one wins.

A leader that could not renew for `RENEW_DEADLINE` stops: the fence in front of every write closes by itself, three
seconds before anybody may take the lease, and no write that is on its way may last longer. It then drops its work and
campaigns again, rather than ending the process: nothing of the work outlives it, the watches stay warm, and an API
server that comes back meets operators that are there, not a crash loop's back-off.

Permissions, in the Lease's namespace, on `leases.coordination.k8s.io`: get and update of this name, and create.
"""

from __future__ import annotations

import asyncio
import random
import socket
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import replace
from enum import Enum
from typing import Any

import structlog

from notification_operator.clock import Clock
from notification_operator.errors import ApiError, ConflictError, ForbiddenError
from notification_operator.fence import Fence
from notification_operator.lease import Lease, Leases
from notification_operator.metrics import OperatorMetrics

LEASE_SECONDS = 10
RENEW_DEADLINE = 7.0  # seconds after the last renewal was sent; what is left of the lease is for writes on their way
RENEW_SECONDS = 2.0
OBSERVE_SECONDS = 1.0
"""Between two looks of a candidate: most of the time that a handover takes."""
_REQUEST_SECONDS = 3.0
_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 5.0

Work = Callable[[], Coroutine[Any, Any, None]]

logger = structlog.get_logger(__name__)


class Outcome(Enum):
    """What became of one try to get or to keep the lease."""

    OURS = "ours"
    TAKEN = "taken"
    UNKNOWN = "unknown"
    """The API server did not say, or somebody wrote at the same time: look again."""


def identity() -> str:
    """Who this process is, as people find it in the Lease; no two starts are the same."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"


class Elector:
    """One candidate for one Lease."""

    def __init__(self, leases: Leases, fence: Fence, clock: Clock, metrics: OperatorMetrics, name: str) -> None:
        self._leases = leases
        self._fence = fence
        self._clock = clock
        self._metrics = metrics
        self._name = name
        self._observed: Lease | None = None
        self._changed_at = 0.0
        self._current = False
        self._may_hold = False
        self._failures = 0
        self._failure: str | None = None
        self._log = logger.bind(identity=name)

    @property
    def able(self) -> bool:
        """The lease could be read or written at the last try: this operator leads, or could take over."""
        return self._observed is not None and self._failure is None

    async def run(self, work: Work) -> None:
        """Campaign, do the work while leading, and again, until cancelled. Raises what the work raises."""
        try:
            while True:
                await self._campaign()
                await self._lead(work)
        finally:
            await self._release()

    async def _campaign(self) -> None:
        self._current = False
        while (outcome := await self._try(_REQUEST_SECONDS)) is not Outcome.OURS:
            if outcome is Outcome.TAKEN:
                pause = min(OBSERVE_SECONDS, max(self._expires_in(), 0.0))
            else:
                pause = min(_FIRST_BACKOFF * 2.0 ** min(self._failures, 16), _LONGEST_BACKOFF)
            await self._clock.sleep(pause * random.uniform(1.0, 1.1))  # noqa: S311  spreads load, guards nothing

    async def _lead(self, work: Work) -> None:
        self._log.info("leader", action="leading")
        self._metrics.leader.set(1)
        working = asyncio.create_task(work(), name="leading")
        keeping = asyncio.create_task(self._keep(), name="lease")
        try:
            await asyncio.wait((working, keeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # First nothing new goes out, then what is out comes to its end; only then may another begin.
            self._fence.close()
            self._metrics.leader.set(0)
            keeping.cancel()
            await self._fence.idle()
            working.cancel()
            await asyncio.gather(working, keeping, return_exceptions=True)
        if not working.cancelled():
            working.result()
        self._log.warning("leader", action="leadership_lost", why=self._failure or "the lease is somebody else's")

    async def _keep(self) -> None:
        """Renew the lease; returns when it is lost, at the fence's own time at the latest."""
        pause = RENEW_SECONDS
        while True:
            await self._clock.sleep(min(pause, max(self._fence.left, 0.0)))
            left = self._fence.left
            if left <= 0:
                self._failure = self._failure or f"it was not renewed within {RENEW_DEADLINE:.0f} s"
                return
            outcome = await self._try(min(_REQUEST_SECONDS, left))
            if outcome is Outcome.TAKEN:
                return
            pause = RENEW_SECONDS if outcome is Outcome.OURS else _FIRST_BACKOFF

    async def _try(self, seconds: float) -> Outcome:
        """Look at the lease, and write it if it is ours or free."""
        try:
            outcome = await self._take(seconds)
        except ConflictError:
            self._current = False
            return Outcome.UNKNOWN
        except ApiError as error:
            self._current = False
            self._failed(error)
            return Outcome.UNKNOWN
        self._failures, self._failure = 0, None
        return outcome

    async def _take(self, seconds: float) -> Outcome:
        # What we wrote last is what is there, unless the server says otherwise: a renewal is one request.
        found = self._observed if self._current else await self._look(seconds)
        if found is not None and found.holder not in {"", self._name} and self._expires_in() > 0:
            return Outcome.TAKEN
        # Others count from when they see this write, which is later than now: we give up first.
        sent = self._clock.monotonic()
        self._may_hold = True
        self._observe(await self._leases.write(self._ours(found), seconds))
        self._current = True
        self._fence.open(sent + RENEW_DEADLINE)
        return Outcome.OURS

    async def _look(self, seconds: float) -> Lease | None:
        found = await self._leases.read(seconds)
        if found is not None:
            self._observe(found)
        return found

    def _observe(self, found: Lease) -> None:
        previous, self._observed = self._observed, found
        if previous != found:
            self._changed_at = self._clock.monotonic()
        if found.holder not in {"", self._name} and (previous is None or previous.holder != found.holder):
            self._log.info("leader", action="standby", holder=found.holder)

    def _expires_in(self) -> float:
        """Seconds until the lease that was seen may be taken."""
        if self._observed is None:
            return 0.0
        granted = self._observed.seconds or LEASE_SECONDS
        return self._changed_at + granted - self._clock.monotonic()

    def _ours(self, found: Lease | None) -> Lease:
        now = self._clock.now_micro()
        if found is None:
            return Lease(self._name, LEASE_SECONDS, now, now)
        if found.holder == self._name:
            return replace(found, seconds=LEASE_SECONDS, renewed=now)
        transitions = found.transitions + 1
        return replace(
            found, holder=self._name, seconds=LEASE_SECONDS, acquired=now, renewed=now, transitions=transitions
        )

    async def _release(self) -> None:
        """Give the lease up, so that the next one needn't wait. What fails here only costs that time."""
        if not self._may_hold:
            return
        try:
            # Read first: the answer to a renewal may have been lost, or not been waited for.
            found = await self._leases.read(_REQUEST_SECONDS)
            if found is None or found.holder != self._name:
                return
            # A second, since the API wants some time and nobody's lease needs none.
            free = replace(found, holder="", seconds=1, renewed=self._clock.now_micro())
            await self._leases.write(free, _REQUEST_SECONDS)
        except ApiError as error:
            self._log.warning("leader", action="release_failed", why=str(error))
            return
        self._log.info("leader", action="released")

    def _failed(self, error: ApiError) -> None:
        """Say what is wrong, once."""
        self._failures += 1
        known, self._failure = self._failure, str(error)
        if known == self._failure:
            return
        hint = ""
        if isinstance(error, ForbiddenError):
            hint = "; grant get, create and update of leases.coordination.k8s.io there, or run with --no-leader-elect"
        self._log.warning("leader", action="lease_failed", why=f"{error}{hint}")
