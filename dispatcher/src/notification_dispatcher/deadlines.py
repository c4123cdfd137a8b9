"""Limits how long deliveries may take, with one timer for many of them. `attempt` puts each delivery under one.

`asyncio.timeout` arms and disarms a timer of the event loop each time, which costs about a tenth of a whole webhook.
Nearly all deliveries are over long before their limit: here, entering one is an entry in a dictionary, and a timer
looks at the oldest now and then.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Literal, Self


class Deadlines:
    """All limits of one length. Belongs to one event loop."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.running: dict[Deadline, None] = {}
        """In the order in which they began: the first is the first to be over."""
        self._armed = False

    def limit(self) -> Deadline:
        """A context that is cut off when the time is over. It raises TimeoutError then, as `asyncio.timeout` does."""
        if not self._armed:
            self._arm(asyncio.get_running_loop().time() + self.seconds)
        return Deadline(self)

    def _arm(self, when: float) -> None:
        self._armed = True
        asyncio.get_running_loop().call_at(when, self._look)

    def _look(self) -> None:
        self._armed = False
        now = asyncio.get_running_loop().time()
        for one in list(self.running):
            if one.when > now:
                self._arm(one.when)
                return
            del self.running[one]
            one.cut_off()


class Deadline:
    """One delivery's limit."""

    __slots__ = ("_cancelling", "_cut_off", "_deadlines", "_task", "when")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._cut_off = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  only a task can be cut off
        self._task = task
        self._cancelling = task.cancelling()
        self.when = asyncio.get_running_loop().time() + self._deadlines.seconds
        self._deadlines.running[self] = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        if not self._cut_off:
            del self._deadlines.running[self]
        # Somebody else may have cancelled it too: then that goes on.
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
        return False

    def cut_off(self) -> None:
        """The time is over."""
        self._cut_off = True
        self._task.cancel()
