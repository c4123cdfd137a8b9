"""Finds and ends a cluster's processes; `kwok` trusts this rather than pid files.

kwokctl detaches its components and remembers them in pid files, which an interruption may leave unwritten and a
reboot makes point at strangers. But every component runs a binary from the cluster's own folder: that names ours.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.errors import ClusterError

PROC = Path("/proc")
STOP_SECONDS = 15.0
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Process:
    """One running component of a cluster."""

    pid: int
    name: str


def running_below(folder: Path) -> list[Process]:
    """Return the processes whose program was started by a path inside `folder`."""
    prefix = f"{folder}{os.sep}"
    commands = _from_proc() if PROC.joinpath("self").exists() else _from_ps()
    return [
        Process(pid, command.removeprefix(prefix).split(" --", 1)[0].rsplit(os.sep, 1)[-1])
        for pid, command in commands
        if command.startswith(prefix)
    ]


def end_below(folder: Path) -> list[Process]:
    """Kill every process of `running_below`, wait until none is left, and return them.

    Nothing of such a cluster outlives it, so there is nothing to flush and no reason to ask politely.
    """
    ended: dict[int, Process] = {}
    deadline = time.monotonic() + STOP_SECONDS
    while alive := running_below(folder):
        if time.monotonic() > deadline:
            names = ", ".join(f"{process.name} (pid {process.pid})" for process in alive)
            raise ClusterError(f"These processes of the test cluster don't end: {names}.")
        for process in alive:
            ended[process.pid] = process
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    return list(ended.values())


def _from_proc() -> Iterator[tuple[int, str]]:
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            # The process may end meanwhile; a zombie's command line is empty.
            with suppress(OSError):
                program = entry.joinpath("cmdline").read_bytes().split(b"\0", 1)[0]
                yield int(entry.name), os.fsdecode(program)


def _from_ps() -> Iterator[tuple[int, str]]:
    answer = subprocess.run(["ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    for line in answer.stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command.strip()
