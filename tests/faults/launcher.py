"""Starts the dispatcher with a point at which it kills itself, as SIGKILL would: `python -m tests.faults.launcher run`.

KILL_AT=point:n, for the nth time that it gets there. Only the test's process has this: the product knows nothing of it.
`SYNCHRONOUS=NORMAL` takes away the fsync of each commit, to show that the tests would see it.
"""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
from collections.abc import Callable
from typing import Any

from notification_dispatcher import __main__ as program
from notification_dispatcher.attempt import Attempts
from notification_dispatcher.channels.webhook import WebhookChannel
from notification_dispatcher.intake import Intake
from notification_dispatcher.job import Lease
from notification_dispatcher.queues.sqlite import SqliteQueue

POINTS = (
    "transaction.begin",
    "transaction.commit",
    "transaction.committed",
    "intake.stored",
    "claim.before",
    "claim.after",
    "delivery.before",
    "delivery.after",
    "judged",
    "settle.before",
    "settle.after",
)
"""Every place between a POST's arrival and the end of its job."""

POISON = "poison"
"""The job that, delivered at the point `poison`, takes the process down."""


class _Fuse:
    """Counts how often the process gets to its point."""

    def __init__(self, text: str) -> None:
        self.point, _, left = text.partition(":")
        self._left = int(left or 1)

    def reach(self, point: str) -> None:
        if point == self.point:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _around(fuse: _Fuse, owner: type, name: str, before: str, after: str) -> None:
    """Pass points before and after a coroutine method."""
    inner: Callable[..., Any] = getattr(owner, name)

    async def method(*arguments: Any, **named: Any) -> Any:
        fuse.reach(before)
        result = await inner(*arguments, **named)
        fuse.reach(after)
        return result

    setattr(owner, name, method)


def _poison(fuse: _Fuse) -> None:
    """Let one job reach the point."""
    deliver = WebhookChannel.deliver

    async def method(channel: WebhookChannel, job: Lease) -> Any:
        if job.id == POISON:
            fuse.reach(POISON)
        return await deliver(channel, job)

    setattr(WebhookChannel, "deliver", method)  # noqa: B010


def _connection_of(fuse: _Fuse, synchronous: str | None) -> type[sqlite3.Connection]:
    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
            if synchronous and statement.startswith("PRAGMA synchronous"):
                statement = f"PRAGMA synchronous = {synchronous}"
            if statement == "COMMIT":
                fuse.reach("transaction.commit")
            cursor = super().execute(statement, *arguments)
            if statement.startswith("BEGIN"):
                fuse.reach("transaction.begin")
            elif statement == "COMMIT":
                fuse.reach("transaction.committed")
            return cursor

    return Connection


def main() -> None:
    """Wire the points, then run as always."""
    fuse = _Fuse(os.environ.pop("KILL_AT", ""))
    connection = _connection_of(fuse, os.environ.pop("SYNCHRONOUS", None))
    # Whoever opens a database from now on opens it so.
    setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=connection))  # noqa: B010
    _around(fuse, Intake, "take", "intake.arrived", "intake.stored")
    _around(fuse, SqliteQueue, "claim", "claim.before", "claim.after")
    _around(fuse, SqliteQueue, "settle", "settle.before", "settle.after")
    _around(fuse, Attempts, "run", "started", "judged")
    _around(fuse, WebhookChannel, "deliver", "delivery.before", "delivery.after")
    if fuse.point == POISON:
        _poison(fuse)
    program.main()


if __name__ == "__main__":
    main()
