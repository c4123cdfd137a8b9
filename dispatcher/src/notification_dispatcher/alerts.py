"""The alerts: when Slack is told. `monitor` tells it the same events that the metrics count; `run` lets it tick.
Where several dispatchers share a queue, `fleet_alerts` stands between, and what is remembered here is theirs together.

Five conditions: Failure Spike (permanent failures in a sliding window), Backlog Growth (depth), High Wait and High
Duration (one job's), Capacity Drops. Each fires at once, is repeated at most once in a cooldown with the number of
occurrences in between, and is reported as resolved when it is over, at the end of a cooldown at the earliest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import structlog

from notification_dispatcher.clock import Clock
from notification_dispatcher.metric_names import Alert, DropReason, FailureReason
from notification_dispatcher.notices import Notice, Occurrence, Status
from notification_dispatcher.routes import InForce
from notification_dispatcher.window import SlidingWindow, WrittenWindow

logger = structlog.get_logger(__name__)

TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to do."""

    depth: int
    active: int


class Recorder(Protocol):
    """Where notices go, and where their fate is counted."""

    def send(self, notice: Notice) -> None:
        """Take a notice to be sent. Never waits."""

    def suppressed(self, alert: Alert, times: int) -> None:
        """Count those that the cooldown keeps back."""


class Watcher(Protocol):
    """What `monitor` tells events to."""

    async def run(self) -> None:
        """Look at what no event tells, for ever."""

    async def flush(self) -> None:
        """Hold nothing back any more: the process ends."""

    async def leave(self) -> None:
        """Leave to others what could not be sent."""

    def failed(self, job_type: str, job_id: str, reason: FailureReason) -> None:
        """A job failed for good."""

    def slow(self, alert: Alert, job_type: str, job_id: str, milliseconds: float) -> None:
        """A job was started after so long a wait, or an attempt took so long: the threshold at least."""

    def dropped(self, job_type: str, job_id: str, reason: DropReason) -> None:
        """A job was evicted or refused because the queue is full."""

    def arrived(self, job_type: str, job_id: str) -> None:
        """Jobs were queued, this one the last of them."""

    def claimed(self, job_type: str, job_id: str) -> None:
        """This one waited."""

    def look_at_backlog(self) -> None:
        """The depth may have changed."""


@dataclass(slots=True)
class _State:
    firing: bool = False
    since: float = 0.0
    told: float | None = None
    """When it was last sent as firing."""
    last: float = 0.0
    """When it last occurred."""
    suppressed: int = 0
    occurrence: Occurrence = field(default_factory=Occurrence)

    def not_after(self, now: float) -> None:
        """Take what was later for now: the clock was set back, and nothing is to be silent until it is there again."""
        self.since, self.last = min(self.since, now), min(self.last, now)
        self.told = None if self.told is None else min(self.told, now)


class _Memory(msgspec.Struct):
    """All that is remembered, in the form in which it is shared."""

    states: dict[str, _State] = {}
    failures: WrittenWindow = (0.0, [])
    drops: WrittenWindow = (0.0, [])
    last_failure: Occurrence = Occurrence()
    backlogged: bool = False


class Alerts:
    """The state of each alert."""

    def __init__(self, clock: Clock, in_force: InForce, load: Callable[[], Load], recorder: Recorder) -> None:
        self._clock = clock
        self._in_force = in_force
        self._load = load
        self._recorder = recorder
        self._states = {alert: _State() for alert in Alert}
        self._failures = SlidingWindow(clock)
        self._drops = SlidingWindow(clock)
        self._last_failure = Occurrence()
        self._example = ("", "")
        """Type and id of a job that waits, or did of late."""
        self._backlogged = False

    async def run(self) -> None:
        """Tick, for ever."""
        while True:
            await self._clock.sleep(TICK_SECONDS)
            self.tick()

    async def flush(self) -> None:
        """Nothing is ever held back."""

    async def leave(self) -> None:
        """There are no others."""

    def written(self) -> bytes:
        """All that is remembered, for another one to go on from."""
        states = {alert.value: state for alert, state in self._states.items()}
        failures, drops = self._failures.written(), self._drops.written()
        return msgspec.json.encode(_Memory(states, failures, drops, self._last_failure, self._backlogged))

    def go_on_from(self, written: bytes) -> None:
        """Remember this, and nothing else. Nothing at all, if it is of a program that remembers otherwise."""
        try:
            memory = msgspec.json.decode(written, type=_Memory)
        except msgspec.DecodeError:
            memory = _Memory()
        now = self._clock.monotonic()
        for state in memory.states.values():
            state.not_after(now)
        self._states = {alert: memory.states.get(alert.value, _State()) for alert in Alert}
        self._failures.go_on_from(memory.failures)
        self._drops.go_on_from(memory.drops)
        self._last_failure, self._backlogged = memory.last_failure, memory.backlogged

    def failed(self, job_type: str, job_id: str, reason: FailureReason) -> None:
        """A job failed for good."""
        self._failures.add(reason, self._in_force.live.failure_window_ms)
        self._last_failure = Occurrence(job_type=job_type, job_id=job_id)
        self._look_at_failures()

    def slow(self, alert: Alert, job_type: str, job_id: str, milliseconds: float, times: int = 1) -> None:
        """A job was started after so long a wait, or an attempt took so long: the threshold at least.

        So many times, this one the last of them.
        """
        self._occurred(alert, Occurrence(f"{milliseconds:,.0f} ms", job_type, job_id), times)

    def dropped(self, job_type: str, job_id: str, reason: DropReason) -> None:
        """A job was evicted or refused because the queue is full."""
        value = f"{self._drops.add(reason, self._in_force.live.failure_window_ms)} jobs dropped"
        self._occurred(Alert.CAPACITY_DROPS, Occurrence(value=value, job_type=job_type, job_id=job_id))

    def arrived(self, job_type: str, job_id: str) -> None:
        """Jobs were queued, this one the last of them."""
        self._example = (job_type, job_id)
        self.look_at_backlog()

    def claimed(self, job_type: str, job_id: str) -> None:
        """This one waited. After a restart, nothing may have arrived yet."""
        if self._example == ("", ""):
            self._example = (job_type, job_id)

    def look_at_backlog(self) -> None:
        """The depth may have changed."""
        depth = self._load().depth
        above = depth >= self._in_force.live.backlog_threshold
        if above and not self._backlogged:
            self._too_many(depth)
        self._backlogged = above

    def tick(self) -> None:
        """Look at what no event tells: time that passes, thresholds that change."""
        self.look_at_backlog()
        backlog = self._states[Alert.BACKLOG_GROWTH]
        if self._backlogged and not self._cooling(backlog):
            self._too_many(self._load().depth)
        if not self._states[Alert.FAILURE_SPIKE].firing:
            self._look_at_failures()
        for alert, state in self._states.items():
            if state.firing and not self._cooling(state) and self._over(alert, state):
                self._resolve(alert, state)

    def _too_many(self, depth: int) -> None:
        self._occurred(Alert.BACKLOG_GROWTH, Occurrence(f"{depth} jobs waiting", *self._example))

    def _look_at_failures(self) -> None:
        live = self._in_force.live
        total = self._failures.total(live.failure_window_ms)
        if total >= live.failure_threshold:
            last = self._last_failure
            value = f"{total} permanent failures"
            self._occurred(Alert.FAILURE_SPIKE, Occurrence(value=value, job_type=last.job_type, job_id=last.job_id))

    def _occurred(self, alert: Alert, occurrence: Occurrence, times: int = 1) -> None:
        state, now = self._states[alert], self._clock.monotonic()
        state.occurrence, state.last = occurrence, now
        if not state.firing:
            state.firing, state.since = True, now
        kept_back = times
        if not self._cooling(state):
            kept_back -= 1
            state.told = now
            self._tell(alert, state, Status.FIRING)
        if kept_back:
            state.suppressed += kept_back
            self._recorder.suppressed(alert, kept_back)

    def _resolve(self, alert: Alert, state: _State) -> None:
        state.firing = False
        self._tell(alert, state, Status.RESOLVED)

    def _tell(self, alert: Alert, state: _State, status: Status) -> None:
        live, load = self._in_force.live, self._load()
        window = self._drops if alert is Alert.CAPACITY_DROPS else self._failures
        notice = Notice(
            alert=alert,
            status=status,
            occurrence=state.occurrence,
            depth=load.depth,
            active=load.active,
            reasons=window.top(live.failure_window_ms),
            suppressed=state.suppressed,
            seconds=self._clock.monotonic() - state.since,
        )
        state.suppressed = 0
        log = logger.warning if status is Status.FIRING else logger.info
        log("alert", action=f"alert_{status}", alert=alert.value, value=state.occurrence.value, depth=load.depth)
        self._recorder.send(notice)

    def _cooling(self, state: _State) -> bool:
        cooldown = self._in_force.live.cooldown_ms / 1000
        return state.told is not None and self._clock.monotonic() - state.told < cooldown

    def _over(self, alert: Alert, state: _State) -> bool:
        live = self._in_force.live
        match alert:
            case Alert.FAILURE_SPIKE:
                return self._failures.total(live.failure_window_ms) < live.failure_threshold
            case Alert.BACKLOG_GROWTH:
                return not self._backlogged
            case _:
                return self._clock.monotonic() - state.last >= live.cooldown_ms / 1000
