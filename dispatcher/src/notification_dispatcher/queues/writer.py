"""One thread that owns a database connection and commits in groups. `sqlite` gives it work.

Whatever is asked for while a commit is under way goes into the next one: one fsync for all of it. That is the whole
difference between 600 and tens of thousands of durable jobs a second.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

from notification_dispatcher.errors import QueueUnavailableError

T = TypeVar("T")

_LARGEST_GROUP = 512
_FAILURES = (sqlite3.Error, MemoryError)
"""What may pass. Out of memory is said by SQLite in the second way."""


class _Work(NamedTuple):
    run: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]
    writes: bool


class GroupCommitWriter:
    """Runs functions on one connection, in one thread, many to a transaction."""

    def __init__(
        self, connection: sqlite3.Connection, *, committed: Callable[[], None], rolled_back: Callable[[], None]
    ) -> None:
        """`committed` and `rolled_back` are called in the thread, before those who asked are told."""
        self._connection = connection
        self._committed = committed
        self._rolled_back = rolled_back
        self._loop = asyncio.get_running_loop()
        self._waiting: SimpleQueue[_Work | None] = SimpleQueue()
        self._closed = False
        self.available = True
        """Whether the last transaction that had something to write was committed, and none failed since."""
        self._thread = threading.Thread(target=self._run, name="queue-writer", daemon=True)
        self._thread.start()

    async def do(self, run: Callable[[sqlite3.Connection], T], *, writes: bool = False) -> T:
        """Run a function inside a transaction; its result is returned when that is on disk.

        `writes` says that it writes, though no row changes. Raises QueueUnavailableError when it could not be
        committed: then nothing of it is.
        """
        if self._closed:
            raise QueueUnavailableError("the queue is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.put(_Work(run, future, writes))
        # Whoever stops waiting must not undo what others in the group wait for.
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Commit what waits, then end the thread and close the connection."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while True:
            group, last = self._next_group()
            if group:
                self._commit(group)
            if last:
                self._connection.close()
                return

    def _next_group(self) -> tuple[list[_Work], bool]:
        work = self._waiting.get()
        group: list[_Work] = []
        while work is not None:
            group.append(work)
            if len(group) == _LARGEST_GROUP or self._waiting.empty():
                return group, False
            work = self._waiting.get()
        return group, True

    def _commit(self, group: Sequence[_Work]) -> None:
        ran, changes = 0, self._connection.total_changes
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = []
            for work in group:
                results.append(work.run(self._connection))
                ran += 1
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  whoever asked is told; the thread must live on
            self._roll_back()
            if ran < len(group) and len(group) > 1:
                # One of them failed, not the commit: each alone, so that it fails nobody else's.
                for work in group:
                    self._commit([work])
                return
            self.available = not isinstance(error, _FAILURES)
            self._tell([(work.future, None, _explained(error)) for work in group])
        else:
            self._committed()
            # A transaction without a change reaches no disk: it says nothing of one that is full or broken.
            if self._connection.total_changes != changes or any(work.writes for work in group):
                self.available = True
            self._tell([(work.future, result, None) for work, result in zip(group, results, strict=True)])

    def _roll_back(self) -> None:
        # SQLite may have rolled back by itself, after a full disk for one.
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                self.available = False
        self._rolled_back()

    def _tell(self, outcomes: list[tuple[asyncio.Future[Any], Any, Exception | None]]) -> None:
        def tell() -> None:
            for future, result, error in outcomes:
                if future.done():
                    continue
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)

        self._loop.call_soon_threadsafe(tell)


def _explained(error: Exception) -> Exception:
    if isinstance(error, _FAILURES):
        return QueueUnavailableError(f"the queue's database failed: {str(error) or type(error).__name__}")
    return error
