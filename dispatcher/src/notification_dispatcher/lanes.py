"""Who may run now: a lane for each channel, and for each job type that has limits. `worker` asks.

A lane is a number of places, a rate limit and, for a channel, a circuit breaker. A job that finds no way through is
either held back in memory, close to its turn, or put back into the queue until its turn is expected. Those times are
spread out, so that a hundred thousand jobs that wait for one lane cost a bounded number of writes a second.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from notification_dispatcher.channels.base import Delivery
from notification_dispatcher.circuit import Circuit
from notification_dispatcher.job import Lease
from notification_dispatcher.limits import RateLimit
from notification_dispatcher.metric_names import PostponeReason
from notification_dispatcher.pipeline import RateLimit as RateLimitSetting
from notification_dispatcher.routes import InForce, Route

_LONGEST_SECONDS = 5.0
"""Until a job is to ask again, as far as `_RETURNS_PER_SECOND` allows: so long may a place stay free that it waits for,
when a lane gets faster than it was."""
_RETURNS_PER_SECOND = 500.0
"""No more come back from the queue each second to ask for a lane again, unless the lane is faster by itself."""
_SHARE = 0.1
"""Of the time that is left until then, at most, between two of them: those of a slow lane crowd towards its end."""

_MEAN_WEIGHT = 0.1

_SHARED_LINE_SECONDS = 2.0
"""So far ahead a rate limit gives turns where others share the queue: what comes after is for whoever has room first,
or all would wait for the one dispatcher that has happened to claim them."""

_TICK_SECONDS = 0.001
"""Turns are stored in milliseconds: a job that comes back a fraction too early is not sent away again."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a job may not pass, and what to do with it."""

    reason: PostponeReason
    until: float
    """Monotonic seconds: when it is to ask again."""
    lane: Lane
    parks: bool = False
    """The lane has room to hold it back, and gives it back when a place is free."""


class Lane:
    """One limit's state."""

    def __init__(self, circuit: Circuit | None = None, *, places: int = 0, line_seconds: float = math.inf) -> None:
        """It holds nobody back before it is resized."""
        self._line_seconds = line_seconds
        self.places = places
        self.parking = 0
        self.circuit = circuit
        self.rate: RateLimit | None = None
        self.parked: deque[Lease] = deque()
        self.running = 0
        self._mean = 0.1
        """Seconds that a delivery holds its place, as it was of late."""
        self._moved = 0.0
        """When one took a place that nobody else had, or gave one back."""
        self._tail = 0.0
        """When the last of those that were put back is to ask again."""

    def blocks(self, name: str, now: float) -> Blocked | None:
        """What keeps a job from passing; None: nothing."""
        if self.circuit is not None and (wait := self.circuit.wait(now)):
            return Blocked(PostponeReason.CIRCUIT, self._later(now + wait, self._mean / self.places), self)
        if self.running >= self.places:
            if len(self.parked) < self.parking:
                return Blocked(PostponeReason.CONCURRENCY, 0.0, self, parks=True)
            # As of late; but what nobody was given back for so long will not be faster now.
            each = max(self._mean / self.places, now - self._moved)
            ahead = (1 + len(self.parked)) * each
            return Blocked(PostponeReason.CONCURRENCY, self._later(now + min(ahead, 1.0), each), self)
        if self.rate is None:
            return None
        turn = self.rate.reserve(name, now)
        if turn is None:
            turn = self._later(self.rate.through(now), 1 / self.rate.per_second)
        return Blocked(PostponeReason.RATE_LIMIT, turn, self) if turn > now + _TICK_SECONDS else None

    def start(self, name: str, now: float) -> None:
        """A job passes, and takes a place."""
        if not self.running:
            self._moved = now
        self.running += 1
        if self.circuit is not None:
            self.circuit.start(now)
        if self.rate is not None:
            self.rate.start(name)

    def end(self, began: float, now: float) -> None:
        """It gives its place back."""
        self.running -= 1
        self._moved = now
        self._mean += _MEAN_WEIGHT * (now - began - self._mean)

    def resize(self, places: int, rate: RateLimitSetting | None) -> None:
        """Take up other settings, with room to hold back as many as may run. What runs goes on."""
        self.places = self.parking = places
        if rate is None:
            self.rate = None
            return
        burst = rate.burst or rate.per_second
        if self.rate is None or (self.rate.per_second, self.rate.burst) != (rate.per_second, burst):
            self.rate = RateLimit(rate.per_second, burst, self._line_seconds)

    def _later(self, earliest: float, each: float) -> float:
        """A time of its own to ask again, after those who were told one before; twice as many as get a place by then.

        `each`: seconds that it takes for one to get a place.
        """
        left = earliest + _LONGEST_SECONDS - self._tail
        gap = min(each / 2, max(left * _SHARE, 1 / _RETURNS_PER_SECOND))
        self._tail = max(self._tail + gap, earliest)
        return self._tail


class Way(NamedTuple):
    """What stands between a job and its deliveries."""

    route: Route
    guards: Sequence[Lane]
    """The lanes that it needs whatever its channels are."""
    channels: Sequence[tuple[str, Lane | None]]
    """Those that it is still to be delivered through; None where there is no such channel any more."""


class Lanes:
    """All lanes, as the settings in force say."""

    def __init__(
        self,
        in_force: InForce,
        ready: deque[Lease],
        told: Callable[[str, bool], None],
        dice: random.Random,
        *,
        shared: bool,
    ) -> None:
        """`ready` takes those that may ask again; `told` hears of each circuit that opens or closes.

        `shared`: other dispatchers take from the same queue.
        """
        self._line_seconds = _SHARED_LINE_SECONDS if shared else math.inf
        self._in_force = in_force
        self._ready = ready
        self._told = told
        self._dice = dice
        self._channels: dict[str, Lane] = {}
        self._types: dict[str, Lane] = {}
        self._ways: dict[str, Way] = {}
        self._take_up()

    def way(self, lease: Lease) -> Way:
        """The lanes that a job has to get through now."""
        if self._routes is not self._in_force.routes:
            self._take_up()
        way = self._ways.get(lease.type, self._usual)
        if lease.channels is None and not lease.done:
            return way
        left = (name for name in lease.channels or way.route.channels if name not in lease.done)
        return Way(way.route, way.guards, [(name, self._channels.get(name)) for name in left])

    def free(self, lane: Lane, began: float, now: float) -> None:
        """A job leaves a lane: those that are held back for its place may ask again."""
        lane.end(began, now)
        for _ in range(min(len(lane.parked), lane.places - lane.running)):
            self._ready.appendleft(lane.parked.popleft())

    def delivered(self, name: str, lane: Lane, delivery: Delivery | None, now: float) -> None:
        """A delivery through a channel came to this; None: it was broken off."""
        circuit = lane.circuit
        if circuit is None:
            return
        before = circuit.open
        if delivery is None:
            circuit.abandoned()
        else:
            circuit.ended(delivery, now)
        if circuit.open is not before:
            self._told(name, circuit.open)

    def unpark(self) -> None:
        """Let all that are held back ask again."""
        for lane in self._all():
            self._ready.extend(lane.parked)
            lane.parked.clear()

    @property
    def parked(self) -> int:
        """How many jobs are held back."""
        return sum(len(lane.parked) for lane in self._all())

    def _all(self) -> list[Lane]:
        return [*self._channels.values(), *self._types.values()]

    def _take_up(self) -> None:
        """Lanes for the settings in force; those of channels and types that are left keep their state."""
        self._routes = self._in_force.routes
        self.unpark()
        whole = self._in_force.live.concurrency
        settings = self._in_force.live.routing
        share = whole if len(settings.channels) <= 1 else (whole + 1) // 2
        before, self._channels = self._channels, {}
        for channel in settings.channels:
            lane = before.get(channel.name) or Lane(Circuit(self._dice), line_seconds=self._line_seconds)
            lane.resize(min(channel.concurrency or share, whole), channel.rate_limit)
            self._channels[channel.name] = lane
        before, self._types = self._types, {}
        for one in settings.job_types:
            if one.concurrency is not None or one.rate_limit is not None:
                lane = before.get(one.name) or Lane(line_seconds=self._line_seconds)
                lane.resize(min(one.concurrency or whole, whole), one.rate_limit)
                self._types[one.name] = lane
        self._ways = {one.name: self._way(self._routes.of(one.name), one.name) for one in settings.job_types}
        self._usual = self._way(self._routes.usual)

    def _way(self, route: Route, job_type: str = "") -> Way:
        guard = self._types.get(job_type)
        return Way(
            route, () if guard is None else (guard,), [(name, self._channels.get(name)) for name in route.channels]
        )
