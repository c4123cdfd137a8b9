"""The SQLite engine's file: locked, opened, checked, brought up to date. `sqlite` calls it."""

from __future__ import annotations

import fcntl
import sqlite3
from pathlib import Path
from typing import IO

from notification_dispatcher.errors import QueueError, QueueInUseError
from notification_dispatcher.queues.migrations import migrate


def lock(path: Path) -> IO[str]:
    """Take the file for this process alone, until it ends, however it ends."""
    lock = path.with_name(f"{path.name}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise QueueInUseError(
            f"another dispatcher has the queue's file {path}: stop it, or set NOTIFICATION_QUEUE_PATH to another file."
        ) from None
    return lock


def connect(path: Path) -> sqlite3.Connection:
    """Open or create the file, whole and of this program's version."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -8192")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        _check(connection, path)
        migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is damaged, at once and not in the middle of the night."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise QueueError(
            f"the queue's file {path} is damaged: {' '.join(found.split())}. Move it away and start again with an "
            "empty queue; `sqlite3 FILE .recover` reads what can still be read."
        )
