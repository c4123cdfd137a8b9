"""Says on standard error what takes long; `binaries` and the backends report every step through it.

A step under two seconds stays silent. On a terminal its line is rewritten; elsewhere a line comes every ten seconds,
so that a build log shows life.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from tests.cluster.errors import ClusterError

SILENT_SECONDS = 2.0
LINE_SECONDS = 10.0
TICK_SECONDS = 0.25
GRACE_SECONDS = 10.0
"""How long an interrupted command may take to end before it is killed."""


@dataclass
class Progress:
    """Where steps are reported. The stream is looked up late, because pytest swaps it."""

    stream: Callable[[], TextIO] = field(default=lambda: sys.stderr)
    clock: Callable[[], float] = time.monotonic

    def note(self, text: str) -> None:
        """Print one line at once."""
        print(text, file=self.stream(), flush=True)

    @contextmanager
    def step(self, text: str) -> Iterator["Step"]:
        """Report one step from its start to its end; call `tick` while it runs."""
        step = Step(self, text, self.clock())
        try:
            yield step
        except BaseException:
            step.end("failed after")
            raise
        step.end("done in")


@dataclass
class Step:
    """One step under way; made by `Progress.step`."""

    progress: Progress
    text: str
    started: float
    printed: float | None = None

    def tick(self) -> None:
        """Show the elapsed time when it is due."""
        now = self.progress.clock()
        elapsed = now - self.started
        if elapsed < SILENT_SECONDS:
            return
        stream = self.progress.stream()
        if stream.isatty():
            self.printed = now
            print(f"\r\x1b[K{self.text} ... {elapsed:.0f} s", end="", file=stream, flush=True)
        elif self.printed is None or now - self.printed >= LINE_SECONDS:
            self.printed = now
            print(f"{self.text} ... {elapsed:.0f} s", file=stream, flush=True)

    def end(self, how: str) -> None:
        """Close the step's line, if it ever got one."""
        if self.printed is None:
            return
        stream = self.progress.stream()
        lead = "\r\x1b[K" if stream.isatty() else ""
        print(f"{lead}{self.text}: {how} {self.progress.clock() - self.started:.0f} s", file=stream, flush=True)


def run(step: Step, command: Sequence[object], env: Mapping[str, str], cwd: Path | None = None) -> str:
    """Run a command while `step` ticks; return what it wrote, or raise with the end of it.

    The command gets a session of its own: Ctrl-C reaches us alone, and we end the whole group.
    """
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
        try:
            while (code := _poll(process)) is None:
                step.tick()
        except BaseException:
            end_group(process)
            raise
        output.seek(0)
        text = output.read()
    if code != 0:
        raise ClusterError(f"{Path(str(command[0])).name} ended with exit code {code}:\n{tail(text)}")
    return text


def _poll(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(TICK_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a command started in a session of its own, with every child it has.

    It is asked first, so that it can remove its temporary files; what a child makes of the question isn't waited for.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(text: str, lines: int = 25) -> str:
    """Return the last lines of a command's output, which is where the reason stands."""
    return "\n".join(text.strip().splitlines()[-lines:])
