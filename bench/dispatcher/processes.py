"""Processes that the bench starts, each ended by its own id, and the named pipes that they report through."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
_GRACE_SECONDS = 10.0
_START_SECONDS = 30.0
_RUN_SECONDS = 300.0


class BenchError(Exception):
    """Something could not be measured; the message says what, and what to do."""


class MissingError(BenchError):
    """A program that the peers need isn't there."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Child:
    """A process, in a group of its own: so Ctrl-C reaches only the bench, and what the child starts ends with it."""

    def __init__(self, command: Sequence[str | Path], log: Path, variables: Mapping[str, str]) -> None:
        self._log = log
        self._name = Path(command[0]).name
        environment = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), "HOME": str(Path.home()), **variables}
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  the bench's own commands
                list(command), env=environment, stdout=output, stderr=output, cwd=log.parent, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    def until(self, ready: Callable[[], bool]) -> None:
        """Ask until it is ready; what it isn't yet may raise OSError. Raises BenchError when it ends, or never is."""
        until = time.monotonic() + _START_SECONDS
        while True:
            self.check()
            with contextlib.suppress(OSError):
                if ready():
                    return
            if time.monotonic() > until:
                raise BenchError(f"{self._name} was not ready within {_START_SECONDS:g} s")
            time.sleep(0.02)

    def check(self) -> None:
        """Raise BenchError when it has ended."""
        if self._process.poll() is not None:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise BenchError(f"{self._name} ended with {self._process.returncode}; the end of its log:\n{tail}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        with contextlib.suppress(ProcessLookupError):
            # What it started may still be there: the group has its id.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def cpu_seconds(self) -> float:
        """Processor time it has used."""
        return cpu_seconds(self.pid)


class Mailbox:
    """A named pipe, read here. Open both ways, so that it has no end while writers come and go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._pipe = os.open(path, os.O_RDWR)
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._pipe)
        self.path.unlink(missing_ok=True)

    def receive(self, sender: Child, seconds: float) -> dict[str, Any]:
        """The next message. Raises BenchError when there is none in time, or the sender has ended."""
        until = time.monotonic() + seconds
        while b"\n" not in self._read:
            ready, _, _ = select.select([self._pipe], [], [], 0.25)
            if ready:
                self._read += os.read(self._pipe, 65536)
                continue
            sender.check()
            if time.monotonic() > until:
                raise BenchError(f"no result within {seconds:g} s")
        line, _, self._read = self._read.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


def python_module(module: str, *arguments: object, python: Path | None = None) -> list[str]:
    """The command that runs one of the bench's modules."""
    return [str(python or sys.executable), "-m", module, *map(str, arguments)]


def run_json(command: Sequence[str], variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a command to its end, and return the JSON that it prints."""
    environment = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), **(variables or {})}
    process = subprocess.Popen(  # noqa: S603  the bench's own commands
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    try:
        output, errors = process.communicate(timeout=_RUN_SECONDS)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{command[2]} did not end within {_RUN_SECONDS:g} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise BenchError(f"{command[2]} ended with {process.returncode}:\n{errors[-2000:]}")
    answer: dict[str, Any] = json.loads(output)
    return answer
