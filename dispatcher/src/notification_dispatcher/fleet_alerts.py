"""One alert for a pipeline, and not one for each of its dispatchers. `run` takes it where they share a queue.

What the alerts remember (windows, cooldowns, what fires) is written down beside the queue. Each dispatcher gathers its
events for a second; then it reads what all remember, tells `alerts` its events, and writes down what came of it, while
the others wait. Whoever finds that Slack is to be told tells it. One that dies takes no more along than its last
second.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

import structlog

from notification_dispatcher.alerts import TICK_SECONDS, Alerts, Load, Recorder
from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import QueueUnavailableError
from notification_dispatcher.metric_names import Alert, DropReason, FailureReason
from notification_dispatcher.notices import Notice
from notification_dispatcher.queues.base import Board
from notification_dispatcher.routes import InForce

logger = structlog.get_logger(__name__)

_MOST_EVENTS = 20_000
"""While the board cannot be reached; the latest are kept."""

_Event = Callable[[], None]


class _Slow(NamedTuple):
    """Slow jobs, which may be all that there are: how many, and the last of them."""

    job_type: str
    job_id: str
    milliseconds: float
    times: int


class _Events:
    """What happened since the last exchange. Of jobs, it keeps the names alone."""

    def __init__(self) -> None:
        self._each: deque[_Event] = deque(maxlen=_MOST_EVENTS)
        self._slow: dict[Alert, _Slow] = {}

    def add(self, event: _Event) -> None:
        """Take one that is told by itself."""
        self._each.append(event)

    def slow(self, alert: Alert, what: _Slow) -> None:
        """Take those of an alert that are told together."""
        before = self._slow.get(alert)
        self._slow[alert] = what if before is None else what._replace(times=before.times + what.times)

    def extend(self, later: _Events) -> None:
        """Take what came after them."""
        self._each.extend(later._each)
        for alert, what in later._slow.items():
            self.slow(alert, what)

    def tell(self, alerts: Alerts) -> None:
        """Tell them, however often."""
        for event in self._each:
            event()
        for alert, what in self._slow.items():
            alerts.slow(alert, *what)


class FleetAlerts:
    """Alerts whose memory is on a board."""

    def __init__(
        self, board: Board, clock: Clock, in_force: InForce, load: Callable[[], Load], recorder: Recorder
    ) -> None:
        self._board = board
        self._clock = clock
        self._recorder = recorder
        self._time = _BoardsTime(clock)
        self._gathered = _Gathered()
        self._alerts = Alerts(self._time, in_force, load, self._gathered)
        self._events = _Events()
        self._arrived: tuple[str, str] | None = None

    async def run(self) -> None:
        """Exchange what is known with the others, for ever."""
        while True:
            await self._clock.sleep(TICK_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Exchange it now, if that can be."""
        try:
            await self.exchange()
        except QueueUnavailableError as error:
            logger.warning("alerts wait for the queue", action="queue_unavailable", why=str(error))

    async def exchange(self) -> None:
        """Tell the events since the last time, and pass on what is to be said."""
        events, self._events = self._events, _Events()
        try:
            await self._board.change(lambda written, now_ms: self._go_on(written, now_ms, events))
        except BaseException:
            events.extend(self._events)
            self._events = events
            raise
        for notice in self._gathered.notices:
            self._recorder.send(notice)
        for alert, times in self._gathered.kept_back.items():
            self._recorder.suppressed(alert, times)

    def failed(self, job_type: str, job_id: str, reason: FailureReason) -> None:
        """A job failed for good."""
        self._events.add(lambda: self._alerts.failed(job_type, job_id, reason))

    def slow(self, alert: Alert, job_type: str, job_id: str, milliseconds: float) -> None:
        """A job was started after so long a wait, or an attempt took so long: the threshold at least."""
        self._events.slow(alert, _Slow(job_type, job_id, milliseconds, 1))

    def dropped(self, job_type: str, job_id: str, reason: DropReason) -> None:
        """A job was evicted or refused because the queue is full."""
        self._events.add(lambda: self._alerts.dropped(job_type, job_id, reason))

    def arrived(self, job_type: str, job_id: str) -> None:
        """Jobs were queued, this one the last of them."""
        self._arrived = (job_type, job_id)

    def claimed(self, job_type: str, job_id: str) -> None:
        """This one waited."""
        self._alerts.claimed(job_type, job_id)

    def look_at_backlog(self) -> None:
        """The depth may have changed: each exchange looks at it."""

    def _go_on(self, written: bytes, now_ms: int, events: _Events) -> bytes:
        """What all remember after these events. It may be asked for again, with what others wrote meanwhile."""
        self._time.seconds = now_ms / 1000
        self._gathered.clear()
        self._alerts.go_on_from(written)
        events.tell(self._alerts)
        if self._arrived is not None:
            self._alerts.arrived(*self._arrived)
        self._alerts.tick()
        return self._alerts.written()


class _Gathered:
    """Takes what is to be said, until it holds."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.kept_back: Counter[Alert] = Counter()

    def send(self, notice: Notice) -> None:
        """Take a notice."""
        self.notices.append(notice)

    def suppressed(self, alert: Alert, times: int) -> None:
        """Take those that the cooldown keeps back."""
        self.kept_back[alert] += times

    def clear(self) -> None:
        """Forget them."""
        self.notices.clear()
        self.kept_back.clear()


class _BoardsTime:
    """The board's time, which all that look at it share."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds = 0.0

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return round(self.seconds * 1000)

    def monotonic(self) -> float:
        """Seconds, as of the exchange that is under way."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Sleep by this machine's clock."""
        await self._clock.sleep(seconds)
