"""The command `status`: what is wrong with a pipeline, what to do about it, and how it goes at this moment."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import click

from notification_dispatcher import text_table
from notification_operator.plugin import pipelines, wording
from notification_operator.plugin.errors import PluginError
from notification_operator.plugin.pipelines import Pipeline, Pod
from notification_operator.plugin.session import ALL_NAMESPACES, OUTPUT, PIPELINES, Session, command, print_json

if TYPE_CHECKING:
    from notification_operator.plugin.readings import Fleet

_NOT_READY = 1
_SAMPLE_SECONDS = 1.0
_MARKS = {"True": ("ok", "green"), "False": ("WRONG", "red"), "Unknown": ("?", "yellow")}
_OFF = ("off", "bright_black")
_NO_OPERATOR = "No operator has looked at {what}. Who leads, and since when: kubectl get lease -A | grep notification"


def _status(session: Session, names: tuple[str, ...], output: str) -> None:
    """Say what is wrong with a pipeline, and what to do.

    Its conditions, its pods, and what its dispatchers report at this moment: what waits, what flows, what fails.
    Without a name: one line for each pipeline.

    \b
    For example:
      kubectl notifications status                    # is anything wrong?
      kubectl notifications status booking            # what, and what to do
      kubectl notifications status booking -o json | jq .live.rates

    Ends with 0 when all that was asked for are ready, 1 when one is not, 2 when it could not be told.
    """
    if names and session.all_namespaces:
        raise click.UsageError("-A is for all pipelines, and you name some: take -n.")
    if not names:
        found = pipelines.listed(session.kubectl, session.namespaces)
        _overview(session, found, output)
    else:
        namespace = session.namespace
        found = [pipelines.find(session.kubectl, namespace, name) for name in names]
        reports = [_Report.of(session, pipeline) for pipeline in found]
        if output == "json":
            made = [one.as_json() for one in reports]
            print_json(made[0] if len(made) == 1 else made)
        else:
            click.echo("\n\n".join("\n".join(one.lines()) for one in reports))
    sys.exit(0 if all(one.ready.get("status") == "True" for one in found) else _NOT_READY)


def _overview(session: Session, found: list[Pipeline], output: str) -> None:
    if output == "json":
        print_json([_summary(one) for one in found])
        return
    if not found:
        where = "in any namespace" if session.all_namespaces else f"in namespace {session.namespace}: -A looks in all"
        click.echo(f"There is no pipeline {where}.", err=True)
        return
    rows = [(one.namespace, one.name, *_verdict(one)) for one in found]
    for line in text_table.lines(("NAMESPACE", "NAME", "READY", "REASON", "MESSAGE"), rows):
        click.echo(line)


def _summary(pipeline: Pipeline) -> dict[str, Any]:
    status, reason, message = _verdict(pipeline)
    return {
        "namespace": pipeline.namespace,
        "name": pipeline.name,
        "ready": status == "True",
        "reason": reason,
        "message": message,
        "upToDate": not pipeline.stale,
    }


def _verdict(pipeline: Pipeline) -> tuple[str, str, str]:
    ready = pipeline.ready
    if not ready:
        return "Unknown", "", _NO_OPERATOR.format(what="it")
    return ready["status"], ready["reason"], ready["message"]


@dataclass(frozen=True, slots=True)
class _Report:
    """Everything about one pipeline."""

    pipeline: Pipeline
    pods: list[Pod]
    live: Fleet | None
    """What the dispatchers say; None where none answers."""
    problems: list[str]
    """What could not be seen, and why."""

    @classmethod
    def of(cls, session: Session, pipeline: Pipeline) -> _Report:
        # It brings the parser of metrics: not for a completion.
        from notification_operator.plugin.live import Live  # noqa: PLC0415

        try:
            pods = pipelines.pods_of(session.kubectl, pipeline)
        except PluginError as error:
            return cls(pipeline, [], None, [error.message])
        with Live(session.kubectl) as live:
            live.look([(pipeline, pods)])
            if live.of(pipeline) is not None:
                time.sleep(_SAMPLE_SECONDS)
                live.look([(pipeline, pods)])
            return cls(pipeline, pods, live.of(pipeline), live.problems(pipeline))

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return _summary(self.pipeline) | {
            "conditions": [
                {
                    "type": one["type"],
                    "status": one["status"],
                    "reason": one["reason"],
                    "message": one["message"],
                    "since": one["lastTransitionTime"],
                    "advice": self._advice(one),
                }
                for one in self._verdicts
            ],
            "pods": [
                {"name": pod.name, "ready": pod.ready, "state": pod.state, "restarts": pod.restarts, "node": pod.node}
                for pod in self.pods
            ],
            "live": None if self.live is None else self.live.as_json(),
            "problems": self.problems,
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        yield from self._heading()
        yield "\nCONDITIONS"
        for one in self._verdicts:
            yield from self._condition(one)
        yield "\nPODS"
        yield from self._pod_lines()
        yield "\nLIVE"
        yield from self._live_lines()

    @property
    def _verdicts(self) -> list[dict[str, Any]]:
        return [one for one in self.pipeline.conditions if one["type"] != "Ready"]

    def _heading(self) -> Iterator[str]:
        status, reason, message = _verdict(self.pipeline)
        word, colour = ("Ready", "green") if status == "True" else (f"NOT READY: {reason or 'Unknown'}", "red")
        yield (
            click.style(f"{self.pipeline.namespace}/{self.pipeline.name}", bold=True)
            + "  "
            + click.style(word, fg=colour, bold=True)
        )
        yield from _wrapped(message, "  ")
        if self.pipeline.ready and self.pipeline.stale:
            what = f"the spec as it is now (generation {self.pipeline.stored['metadata']['generation']})"
            yield from _wrapped(_NO_OPERATOR.format(what=what), "  ")

    def _condition(self, one: dict[str, Any]) -> Iterator[str]:
        mark, colour = _OFF if one["reason"] == "Disabled" else _MARKS.get(one["status"], _MARKS["Unknown"])
        since = wording.age(one["lastTransitionTime"], wording.now())
        yield f"  {click.style(mark.ljust(5), fg=colour)}  {one['type'].ljust(19)}  {one['reason']}, for {since}"
        if one["status"] != "True":
            if one["message"] != self.pipeline.ready.get("message"):  # which stands above
                yield from _wrapped(one["message"], "         ")
            if advice := self._advice(one):
                # In one line: it is often a command, to be copied.
                yield f"         To do: {advice}"

    def _advice(self, one: dict[str, Any]) -> str:
        # Their modules bring more than a completion has time for.
        from notification_operator.advice import advice  # noqa: PLC0415
        from notification_operator.status import ConditionType, Reason  # noqa: PLC0415

        try:
            condition, reason = ConditionType(one["type"]), Reason(one["reason"])
        except ValueError:
            # The operator is of another version. Its message says what is wrong.
            return ""
        return advice(condition, reason, self.pipeline.namespace, self.pipeline.name) if one["status"] != "True" else ""

    def _pod_lines(self) -> Iterator[str]:
        if not self.pods:
            yield "  There is none."
            return
        now = wording.now()
        rows = [
            (
                pod.name,
                "yes" if pod.ready else "no",
                pod.state,
                str(pod.restarts),
                wording.age(pod.created, now),
                pod.node,
            )
            for pod in self.pods
        ]
        for line in text_table.lines(("NAME", "READY", "STATE", "RESTARTS", "AGE", "NODE"), rows):
            yield f"  {line}"

    def _live_lines(self) -> Iterator[str]:
        if self.live is not None:
            yield from _numbers(self.pipeline, self.live)
        elif not self.problems:
            yield "  No dispatcher is ready: nothing is taken, and nothing delivered."
        for problem in self.problems:
            yield from _wrapped(problem, "  ")


def _numbers(pipeline: Pipeline, live: Fleet) -> Iterator[str]:
    rates = live.rates
    capacity = pipeline.setting("queue", "capacity")
    oldest = f", the oldest for {wording.span(live.oldest_seconds)}" if live.oldest_seconds else ""
    later = f", {live.scheduled} of them for later" if live.scheduled else ""
    yield f"  waiting   {live.waiting} of {capacity}{later}{oldest}; there is an alert at {live.backlog_alert}"
    yield f"  active    {live.active}, on {live.dispatchers} dispatcher{'s' * (live.dispatchers != 1)}"
    words = {"queued": "in", "processed": "delivered", "failed": "failed", "dropped": "dropped", "retries": "retried"}
    told = ", ".join(f"{wording.rate(getattr(rates, name))} {word}" for name, word in words.items())
    yield f"  rates     {told} a second, over {live.seconds:.1f} s"
    if live.dead:
        yield f"  dead      {live.dead}: kubectl notifications dead-letters {pipeline.name} -n {pipeline.namespace}"
    if live.failures:
        causes = ", ".join(f"{count} {reason}" for reason, count in live.failures.items())
        yield f"  causes    {causes}: of what failed for good since the start"
    for channel in live.open_circuits:
        yield f"  circuit   {channel} is left alone, since its destination keeps failing: its jobs wait"
    if live.refused_reloads:
        where = f"kubectl notifications logs {pipeline.name} -n {pipeline.namespace} --level warning"
        yield f"  settings  {live.refused_reloads} changes were refused, and older settings stay in force: {where}"


def _wrapped(text: str, indent: str) -> list[str]:
    width = max(60, min(get_terminal_size((120, 24)).columns, 120))
    # Words stay whole: a name that is broken cannot be copied.
    wrapper = textwrap.TextWrapper(width, indent, indent, break_long_words=False, break_on_hyphens=False)
    return wrapper.wrap(text_table.printable(" ".join(text.split())))


status = command("status", _status, [PIPELINES, ALL_NAMESPACES, OUTPUT], "Say what is wrong, and what to do.")
