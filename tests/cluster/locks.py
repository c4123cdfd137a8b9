"""File locks between processes: one builds or starts at a time, and a session's leftovers are told from live ones.

`binaries` locks the cache, `state` its folder, and conftest takes a private folder per test session. The kernel drops
these locks when their process dies, so none is ever stale.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.progress import TICK_SECONDS, Progress

SESSION_LOCK = ".session"


@contextmanager
def locked(path: Path, progress: Progress, waiting_for: str) -> Iterator[None]:
    """Hold an exclusive lock on `path`; say what is waited for while another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with progress.step(f"waiting for {waiting_for}") as step:
            while not _try_lock(handle):
                step.tick()
                time.sleep(TICK_SECONDS)
        yield
    finally:
        os.close(handle)


@contextmanager
def private_dir(base: Path, clean: Callable[[Path], None], progress: Progress) -> Iterator[Path]:
    """Yield a folder below `base` that is this process' own; hand those of dead processes to `clean` first."""
    folder = base / str(os.getpid())
    with locked(base / ".lock", progress, "another session's start"):
        for lock in sorted(base.glob(f"*/{SESSION_LOCK}")):
            if _is_abandoned(lock):
                clean(lock.parent)
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / SESSION_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        os.close(handle)


def _is_abandoned(lock: Path) -> bool:
    handle = os.open(lock, os.O_RDWR)
    try:
        return _try_lock(handle)
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
