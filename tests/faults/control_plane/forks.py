"""Operators as processes that start in a twentieth of a second: each is forked from one that has imported everything.

They are the real thing in all that the sweep is about: a process of its own, its own memory, killed by SIGKILL.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from notification_operator.__main__ import main

_STOP_SECONDS = 20.0

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def run(arguments: Sequence[str], log: Path) -> None:
    """Be an operator: what the process does."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    path = os.environ.get("PATH", os.defpath)
    os.environ.clear()
    os.environ["PATH"] = path
    sys.argv = ["notification-operator", *arguments]
    main()


class ForkedOperator:
    """`notification-operator run` with these arguments; started, killed and started again."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self._arguments = ("run", *arguments)
        self.log = log
        self._process: multiprocessing.process.BaseProcess | None = None

    def start(self) -> None:
        """Start it, without waiting for anything."""
        self._process = _CONTEXT.Process(target=run, args=(self._arguments, self.log), daemon=True)
        self._process.start()

    async def crash(self) -> None:
        """SIGKILL, and start it again."""
        assert self._process is not None
        self._process.kill()
        await self._ended()
        self.start()

    async def stop(self) -> int:
        """SIGTERM; returns the exit code. One that does not end is killed: -9."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._ended()
        except TimeoutError:
            self._process.kill()
            await self._ended()
        return self._process.exitcode or 0

    async def _ended(self) -> None:
        """Wait for its end, in this thread: only one may ask for the exit code, and each start asks for all of them."""
        assert self._process is not None
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
