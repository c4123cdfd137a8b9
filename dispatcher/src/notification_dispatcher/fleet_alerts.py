"""One alert for a pipeline, and not one for each of its dispatchers. `run` takes it where they share a queue.

What the alerts remember (windows, cooldowns, what fires) is written down beside the queue. Each dispatcher gathers its
events for a second; then it reads what all remember, tells `alerts` its events, and writes down what came of it, while
the others wait. Whoever finds that Slack is to be told tells it; what it could not tell is there for the others
(`fleet_notices`). One that dies takes no more along than its last second.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import structlog

from notification_dispatcher.alerts import TICK_SECONDS, Alerts, Load
from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import QueueUnavailableError
from notification_dispatcher.fleet_notices import FleetNotices, KeptNotice, Sender
from notification_dispatcher.job import new_id
from notification_dispatcher.metric_names import Alert, DropReason, FailureReason
from notification_dispatcher.notices import Notice
from notification_dispatcher.queues.base import Board
from notification_dispatcher.routes import InForce

logger = structlog.get_logger(__name__)

_MOST_EVENTS = 20_000
"""While the board cannot be reached; the latest are kept."""

_HEARD_SECONDS = 600.0
"""Somebody who has not written for so long does not wait for an answer any more."""

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

    def __bool__(self) -> bool:
        """Whether anything happened."""
        return bool(self._each or self._slow)

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


class _Written(msgspec.Struct):
    """What is on the board beside the alerts' memory."""

    notices: dict[Alert, KeptNotice] = {}
    heard: dict[str, tuple[int, float]] = {}
    """Dispatcher → its last exchange that had events, and when that was."""


class _Told(NamedTuple):
    """An exchange that may hold, though no answer came."""

    events: _Events
    kept_back: Counter[Alert]


class FleetAlerts:
    """Alerts whose memory is on a board."""

    def __init__(self, board: Board, clock: Clock, in_force: InForce, load: Callable[[], Load], sender: Sender) -> None:
        self._board = board
        self._clock = clock
        self._sender = sender
        self._me = new_id()
        self._notices = FleetNotices(self._me, sender)
        self._time = _BoardsTime(clock)
        self._gathered = _Gathered()
        self._alerts = Alerts(self._time, in_force, load, self._gathered)
        self._events = _Events()
        self._number = 0
        """Of the last exchange."""
        self._told: _Told | None = None
        """In the exchange that is under way, or in the last one if nobody knows whether it holds."""
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

    async def leave(self) -> None:
        """Say what was sent, and leave the rest to the others."""
        self._notices.leaving = True
        await self.flush()

    async def exchange(self) -> None:
        """Tell the events since the last time, and pass on what is to be said."""
        events, self._events = self._events, _Events()
        doubtful, told = self._told, None

        def go_on(written: bytes, now_ms: int) -> bytes:
            nonlocal told
            self._gathered.clear()
            told = _Told(_Events(), self._gathered.kept_back)
            return self._go_on(written, now_ms / 1000, events, doubtful, told)

        try:
            await self._board.change(go_on)
        except BaseException:
            if told is None:
                events.extend(self._events)
                self._events = events
            else:
                self._number, self._told = self._number + 1, told._replace(kept_back=told.kept_back.copy())
            raise
        self._number, self._told = self._number + 1, None
        self._notices.pass_on(self._time.seconds)
        for alert, times in self._gathered.kept_back.items():
            self._sender.suppressed(alert, times)

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

    def _go_on(self, written: bytes, now: float, events: _Events, doubtful: _Told | None, told: _Told) -> bytes:
        """What all remember after these events. It may be asked for again, with what others wrote meanwhile."""
        self._time.seconds = now
        self._alerts.go_on_from(written)
        try:
            board = msgspec.json.decode(written, type=_Written)
        except msgspec.DecodeError:
            board = _Written()
        self._notices.go_on_from(board.notices, now)
        heard = board.heard.get(self._me)
        if doubtful is not None and heard is not None and heard[0] == self._number:
            told.kept_back.update(doubtful.kept_back)
        elif doubtful is not None:
            told.events.extend(doubtful.events)
        told.events.extend(events)
        told.events.tell(self._alerts)
        if self._arrived is not None:
            self._alerts.arrived(*self._arrived)
        self._alerts.tick()
        for notice in self._gathered.notices:
            self._notices.add(notice, now)
        if told.events or told.kept_back:
            board.heard = {one: last for one, last in board.heard.items() if now - last[1] < _HEARD_SECONDS}
            board.heard[self._me] = (self._number + 1, now)
        return self._written(_Written(self._notices.kept, board.heard))

    def _written(self, more: _Written) -> bytes:
        """Side by side, so that a program that knows the alerts' memory alone reads that."""
        fields = msgspec.json.decode(self._alerts.written(), type=dict[str, msgspec.Raw])
        return msgspec.json.encode(
            fields | {name: msgspec.Raw(msgspec.json.encode(getattr(more, name))) for name in more.__struct_fields__}
        )


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
