"""The command `top`: what waits, flows and fails in each pipeline, at this moment or again and again."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from notification_dispatcher import text_table
from notification_operator.plugin import pipelines, wording
from notification_operator.plugin.errors import PluginError
from notification_operator.plugin.kubectl import Kubectl
from notification_operator.plugin.pipelines import Pipeline, Pod
from notification_operator.plugin.session import ALL_NAMESPACES, OUTPUT, PIPELINES, Session, command, print_json

if TYPE_CHECKING:
    from notification_operator.plugin.live import Live

_NOT_ALL = 1
_TITLES = ("NAMESPACE", "NAME", "READY", "PODS", "WAITING", "OLDEST", "ACTIVE")
_RATES = {"IN/S": "queued", "OUT/S": "processed", "FAILED/S": "failed", "DROPPED/S": "dropped", "RETRIED/S": "retries"}
_CLEAR = "\x1b[H\x1b[2J"

_Fleets = list[tuple[Pipeline, list[Pod]]]


def _top(session: Session, names: tuple[str, ...], watch: bool, interval: float, output: str) -> None:
    """Show what waits, flows and fails in each pipeline, as their dispatchers report it.

    Rates are of the time between two looks. Each dispatcher that is looked at costs a `kubectl port-forward` meanwhile:
    name pipelines where there are dozens.

    \b
    For example:
      kubectl notifications top -A
      kubectl notifications top booking --watch
      kubectl notifications top -A -o json | jq '.[] | select(.live.dead > 0) | .name'

    Ends with 0 when each pipeline's ready dispatchers have answered, 1 when one has not, 2 when nothing could be
    asked, 130 when --watch is interrupted. With --watch, JSON is one document a line.
    """
    # It brings the parser of metrics: not for a completion.
    from notification_operator.plugin.live import Live  # noqa: PLC0415

    if names and session.all_namespaces:
        raise click.UsageError("-A is for all pipelines, and you name some: take -n.")
    fleets_now = partial(_fleets, session.kubectl, session.namespaces, names)
    with Live(session.kubectl) as live:
        live.look(fleets_now())
        time.sleep(interval)
        while watch:
            try:
                fleets = fleets_now()
                live.look(fleets)
                _print(live, fleets, output, watch=True)
            except PluginError as error:
                # Who watches wants to see the end of it, too.
                click.echo(f"warning: {error.message}", err=True)
            time.sleep(interval)
        fleets = fleets_now()
        live.look(fleets)
        _print(live, fleets, output, watch=False)
        sys.exit(_NOT_ALL if any(live.problems(pipeline) for pipeline, _ in fleets) else 0)


def _fleets(kubectl: Kubectl, namespace: str | None, names: tuple[str, ...]) -> _Fleets:
    """The pipelines, with their pods. Those that are named are all of one namespace."""
    if names and namespace is not None:
        found = [pipelines.find(kubectl, namespace, name) for name in names]
    else:
        found = pipelines.listed(kubectl, namespace)
    pods = pipelines.pods_of_all(kubectl, namespace)
    return [(one, pods.get((one.namespace, one.name), [])) for one in found]


def _print(live: Live, fleets: _Fleets, output: str, *, watch: bool) -> None:
    if output == "json":
        rows = [_as_json(live, *one) for one in fleets]
        if watch:
            click.echo(json.dumps(rows, ensure_ascii=False))
        else:
            print_json(rows)
        return
    if watch and sys.stdout.isatty():
        click.echo(_CLEAR, nl=False)
    if watch:
        click.echo(f"{wording.now():%Y-%m-%dT%H:%M:%SZ}")
    if not fleets:
        click.echo("There is no pipeline here: -A looks in all namespaces.", err=True)
        return
    for line in text_table.lines((*_TITLES, *_RATES, "DEAD", "NOTE"), [_row(live, *one) for one in fleets]):
        click.echo(line)
    if watch:
        click.echo()


def _row(live: Live, pipeline: Pipeline, pods: list[Pod]) -> list[str]:
    start = [pipeline.namespace, pipeline.name, pipeline.ready.get("status", "Unknown"), _ready(pods)]
    fleet = live.of(pipeline)
    notes = [f"circuit open: {channel}" for channel in fleet.open_circuits] if fleet else []
    notes += live.problems(pipeline)
    if not any(pod.ready for pod in pods):
        notes.append("no dispatcher is ready")
    if fleet is None:
        return [*start, *["-"] * (len(_TITLES) - len(start) + len(_RATES) + 1), "; ".join(notes)]
    if fleet.waiting >= fleet.backlog_alert:
        notes.insert(0, f"backlog alert at {fleet.backlog_alert}")
    oldest = wording.span(fleet.oldest_seconds) if fleet.oldest_seconds else "-"
    rates = [wording.rate(getattr(fleet.rates, name)) for name in _RATES.values()]
    return [*start, str(fleet.waiting), oldest, str(fleet.active), *rates, str(fleet.dead), "; ".join(notes)]


def _as_json(live: Live, pipeline: Pipeline, pods: list[Pod]) -> dict[str, Any]:
    fleet = live.of(pipeline)
    return {
        "namespace": pipeline.namespace,
        "name": pipeline.name,
        "ready": pipeline.ready.get("status") == "True",
        "pods": len(pods),
        "readyPods": sum(pod.ready for pod in pods),
        "live": None if fleet is None else fleet.as_json(),
        "problems": live.problems(pipeline),
    }


def _ready(pods: list[Pod]) -> str:
    return f"{sum(pod.ready for pod in pods)}/{len(pods)}"


top = command(
    "top",
    _top,
    [
        PIPELINES,
        ALL_NAMESPACES,
        click.Option(["-w", "--watch"], is_flag=True, help="Look again and again, until Ctrl-C."),
        click.Option(
            ["--interval"],
            type=click.FloatRange(min=0.2),
            default=2.0,
            show_default=True,
            metavar="SECONDS",
            help="The time between two looks.",
        ),
        OUTPUT,
    ],
    "Show what waits, flows and fails.",
)
