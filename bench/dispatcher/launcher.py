"""Runs the real dispatcher, as `notification-dispatcher run` does, with what cannot be measured otherwise changed.

`ours` starts it as a process of its own: `python -m bench.dispatcher.launcher MAILBOX CONTROL [without-monitor]`.
Every channel becomes one that does nothing but write down when a job started; it holds the first jobs until told to
let go, so that a backlog can be built up in front of real workers. `without-monitor` makes the metrics and alerts of
each event do nothing, which shows what they cost. The product itself has no switch for any of it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from bench.dispatcher.record import Record
from notification_dispatcher import run
from notification_dispatcher.__main__ import main
from notification_dispatcher.channels.base import DELIVERED, Delivery
from notification_dispatcher.job import Lease
from notification_dispatcher.monitor import Monitor
from notification_dispatcher.settings import Live


class NoOp:
    """A channel that does nothing. `{"hold": true}` on the control pipe shuts its gate, `{"expect": N}` opens it."""

    def __init__(self, mailbox: str, control: str) -> None:
        self._record = Record(mailbox)
        self._expected = sys.maxsize
        self._gate = asyncio.Event()
        self._open = False
        self._pipe = os.open(control, os.O_RDWR | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._pipe, self._told)

    async def deliver(self, job: Lease) -> Delivery:
        """Write it down."""
        if not self._open:
            await self._gate.wait()
        self._record.started(self._expected, job.due_ms / 1000)
        return DELIVERED

    def _told(self) -> None:
        for line in os.read(self._pipe, 4096).splitlines():
            order = json.loads(line)
            self._open = "expect" in order
            if self._open:
                self._expected = order["expect"]
                self._gate.set()
            else:
                self._gate.clear()


def change(mailbox: str, control: str, *, monitor: bool) -> None:
    """Put the channel, and if wanted the silent monitor, in place of the real ones. Fails loudly if they moved."""
    made = functools.cache(lambda: NoOp(mailbox, control))
    assert callable(run.ChannelMaker)  # type: ignore[attr-defined]  # noqa: S101

    def make_channels(live: Live) -> dict[str, NoOp]:
        return {channel.name: made() for channel in live.routing.channels}

    run.ChannelMaker = lambda *_: make_channels  # type: ignore[attr-defined]
    if not monitor:
        for name, method in vars(Monitor).items():
            if callable(method) and not name.startswith("_"):
                setattr(Monitor, name, _silent(method))


def _silent(method: Callable[..., Any]) -> Callable[..., None]:
    @functools.wraps(method)
    def nothing(*_: Any, **__: Any) -> None:
        """What is not done costs nothing."""

    return nothing


if __name__ == "__main__":
    change(sys.argv[1], sys.argv[2], monitor="without-monitor" not in sys.argv[3:])
    main(["run"])
