"""The command `logs`: what a pipeline's dispatchers log, of all pods together, in a form that people can read."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Self

import click

from notification_operator.group import DISPATCHER_CONTAINER
from notification_operator.plugin import log_lines, pipelines
from notification_operator.plugin.errors import DeniedError, PluginError
from notification_operator.plugin.kubectl import error_of
from notification_operator.plugin.log_lines import LEVELS, Line, Wanted
from notification_operator.plugin.pipelines import Pipeline, Pod
from notification_operator.plugin.session import OUTPUT, PIPELINE, Session, command

_LOOK_SECONDS = 3.0
"""So often a follower looks for new pods."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which part of the logs."""

    tail: int
    since: str | None
    previous: bool

    def flags(self) -> list[str]:
        """For kubectl."""
        found = [f"--tail={self.tail}"]
        if self.since:
            found.append(f"--since={self.since}")
        return found + ["--previous"] * self.previous


def _logs(session: Session, name: str, follow: bool, output: str, **options: Any) -> None:
    """Print what a pipeline's dispatchers log: all pods together, in order of time.

    With --follow, pods that come later are followed too. Times are UTC.

    \b
    For example:
      kubectl notifications logs booking
      kubectl notifications logs booking --level warning --since 1h
      kubectl notifications logs booking -f --action job_failed
      kubectl notifications logs booking --previous            # what the process said before it crashed

    Ends with 0, with 2 when no pod's log could be read, with 130 when --follow is interrupted.
    """
    wanted = Wanted(level=options.pop("level"), action=options.pop("action"))
    choice = _Choice(**options)
    if follow and choice.previous:
        raise click.UsageError("--previous is of a process that has ended: nothing follows.")
    pipeline = pipelines.find(session.kubectl, session.namespace, name)
    every = pipelines.pods_of(session.kubectl, pipeline)
    pods = [pod for pod in every if (pod.started_again if choice.previous else pod.started)]
    if not pods and not follow:
        lacking = "was started again: there is no log of a process before" if choice.previous else "has a log yet"
        raise PluginError(
            f"no pod of {name} {lacking}. Why: kubectl notifications status {name} -n {pipeline.namespace}"
        )
    with _Reader(session, pipeline, choice) as reader:
        lines = reader.follow(pods) if follow else reader.read(pods)
        for line in lines:
            if wanted.wants(line):
                click.echo(line.as_json() if output == "json" else line.as_text(several=follow or len(pods) > 1))


_Heard = SimpleQueue[Line | PluginError]


@dataclass(slots=True)
class _Reader:
    """Reads the logs of a pipeline's pods, each by a kubectl. Use as a context manager."""

    session: Session
    pipeline: Pipeline
    choice: _Choice
    _processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    _last: dict[str, str] = field(default_factory=dict)
    """The time of the last line of each pod."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def read(self, pods: Sequence[Pod]) -> list[Line]:
        """What is there, in order of time. Raises PluginError where that is nothing of any pod."""
        lines: list[Line] = []
        failed = 0
        for pod in pods:
            try:
                lines += log_lines.read(pod.name, self.session.kubectl.read(*self._command(pod)).splitlines())
            except DeniedError:
                raise
            except PluginError as error:
                # It may have gone since; the others' logs may well say what is wrong.
                click.echo(f"warning: {pod.name}: {error.message}", err=True)
                failed += 1
        if failed == len(pods):
            raise PluginError(f"no log of {self.pipeline.name} could be read")
        return sorted(lines, key=lambda line: line.time)

    def follow(self, pods: Iterable[Pod]) -> Iterator[Line]:
        """What is there and what comes, until interrupted. Raises PluginError."""
        heard: _Heard = SimpleQueue()
        while True:
            for pod in pods:
                known = self._processes.get(pod.name)
                # One that has ended was of a container that was started anew, or of a connection that is lost.
                if pod.started and (known is None or known.poll() is not None):
                    self._start(pod, heard)
            for found in _until(heard, time.monotonic() + _LOOK_SECONDS):
                if isinstance(found, DeniedError):
                    raise found
                if isinstance(found, PluginError):
                    click.echo(f"warning: {found.message}; it is tried again", err=True)
                elif found.time > self._last.get(found.pod, ""):
                    self._last[found.pod] = found.time
                    yield found
            try:
                pods = pipelines.pods_of(self.session.kubectl, self.pipeline)
            except PluginError as error:
                # The logs that are being followed may well go on.
                click.echo(f"warning: {error.message}", err=True)

    def _start(self, pod: Pod, heard: _Heard) -> None:
        last = self._last.get(pod.name)
        since = [f"--since-time={last}"] if last else self.choice.flags()
        process = self.session.kubectl.start(*self._command(pod, since), "--follow", stderr=subprocess.PIPE)
        self._processes[pod.name] = process
        Thread(target=_listen, args=(pod.name, process, heard), name=f"log of {pod.name}", daemon=True).start()

    def _command(self, pod: Pod, since: list[str] | None = None) -> list[str]:
        place = [f"--namespace={self.pipeline.namespace}", f"--container={DISPATCHER_CONTAINER}", "--timestamps"]
        return ["logs", pod.name, *place, *(self.choice.flags() if since is None else since)]


def _listen(pod: str, process: subprocess.Popen[str], heard: _Heard) -> None:
    """Pass on what a kubectl prints, until it ends."""
    with process:
        for line in log_lines.read(pod, process.stdout or ()):
            heard.put(line)
        complaint = process.stderr.read() if process.stderr else ""
    if process.returncode > 0:
        heard.put(error_of(complaint))


def _until(heard: _Heard, deadline: float) -> Iterator[Line | PluginError]:
    with suppress(Empty):
        while (left := deadline - time.monotonic()) > 0:
            yield heard.get(timeout=left)


logs = command(
    "logs",
    _logs,
    [
        PIPELINE,
        click.Option(["-f", "--follow"], is_flag=True, help="Go on with what is logged from now on."),
        click.Option(["--level"], type=click.Choice(LEVELS), help="This level and those above it."),
        click.Option(["--action"], metavar="NAME", help="Only lines of this action: job_failed, circuit_opened, …"),
        click.Option(
            ["--tail"], type=int, default=200, show_default=True, metavar="LINES", help="Of each pod; -1: all."
        ),
        click.Option(["--since"], metavar="DURATION", help="Not older than this: 90s, 15m, 2h."),
        click.Option(["-p", "--previous"], is_flag=True, help="Of the process before the last restart."),
        OUTPUT,
    ],
    "Print what its dispatchers log.",
)
