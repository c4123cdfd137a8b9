"""The command `python -m bench.dispatcher`, which `make bench-dispatcher` runs."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

import click

from bench.dispatcher import peer, profiling, report
from bench.dispatcher.processes import ROOT, BenchError, MissingError
from bench.dispatcher.rounds import Bench, Figures, Plan, bench, measurements

_FAILED = 1
_INCOMPLETE = 3
_INTERRUPTED = 130

_NAMES = tuple(measurements())


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--only", multiple=True, type=click.Choice(_NAMES), help="Measure this; may be given more than once.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100), help="How often each is measured.")
@click.option("--jobs", default=100_000, show_default=True, type=click.IntRange(1000), help="No-op jobs for ours.")
@click.option("--peer-jobs", default=5_000, show_default=True, type=click.IntRange(100), help="No-op jobs for a peer.")
@click.option("--webhooks", default=15_000, show_default=True, type=click.IntRange(500), help="Webhooks to deliver.")
@click.option("--churn-jobs", default=200_000, show_default=True, help="Jobs that go through one PostgreSQL schema.")
@click.option("--waiting-jobs", default=100_000, show_default=True, help="Jobs that wait in it after that.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--json-file", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON there as well.")
@click.option("--keep", is_flag=True, help="Keep the logs, and say where they are.")
@click.option("--profile", is_flag=True, help="Measure nothing; say which functions the dispatcher's time goes to.")
def main(**options: Any) -> None:
    """Measure the dispatcher beside its peers: durable, every feature on, one worker process each.

    \b
      ours         no-op jobs drained, HTTP ingestion, wait at half load, memory with a backlog
      postgresql   the same on PostgreSQL; postgresql-N: drained by N processes
      taskiq …     the same backlog on Redis (procrastinate: on PostgreSQL), each in its documented setting
      webhooks-N   delivered to a local receiver, beside the bare aiohttp client, N at once
      monitor      the same drain with and without metrics and alerts
      churn        rates and sizes of a PostgreSQL schema that much went through, and with a deep backlog

    \b
    Try it:
      python -m bench.dispatcher                              # all of it, about 10 minutes
      python -m bench.dispatcher --only ours --only taskiq --rounds 1
      python -m bench.dispatcher --profile --only ours        # where the time goes

    The rounds go through all measurements in turn, since a machine is never quiet for long; the report has the
    median and the range, and its ratios pair figures of one round. Progress is on standard error.

    \b
    Ends with 0 when all was measured, 1 when something of ours failed, 2 for wrong usage,
    3 when something could not be measured (redis-server is missing, say), 130 after Ctrl-C.
    Whether an aim is met changes nothing about that: it is a measurement, not a test.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    plan = Plan(*(options[name] for name in ("jobs", "peer_jobs", "webhooks", "churn_jobs", "waiting_jobs")))
    base = ROOT / "build"
    base.mkdir(exist_ok=True)
    # In the working tree, not in /tmp: that may be memory, where an fsync costs nothing.
    scratch = Path(tempfile.mkdtemp(prefix="bench-", dir=base))
    try:
        with bench(plan, scratch) as made:
            wanted = options["only"] or _NAMES
            if options["profile"]:
                click.echo(profiling.profile(made, wanted))
                return
            _report(_measure(made, wanted, options["rounds"]), plan, options)
    except (BenchError, OSError) as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(_FAILED)
    except KeyboardInterrupt:
        click.echo("bench: interrupted; everything it started has ended", err=True)
        sys.exit(_INTERRUPTED)
    finally:
        if options["keep"]:
            click.echo(f"kept: {scratch}", err=True)
        else:
            shutil.rmtree(scratch, ignore_errors=True)


def _measure(made: Bench, wanted: tuple[str, ...], rounds: int) -> tuple[list[dict[str, Figures]], dict[str, str]]:
    """All rounds, and why a peer is not in them."""
    known = measurements()
    not_measured: dict[str, str] = {}
    results: list[dict[str, Figures]] = []
    for number in range(rounds):
        results.append({})
        for name in wanted:
            if name in not_measured:
                continue
            click.echo(f"round {number + 1} of {rounds}: {name} …", err=True)
            try:
                results[-1][name] = known[name](made, number)
            except BenchError as error:
                # A peer that is broken must not hide our figures, nor a missing server that of another kind.
                if name not in peer.PEERS and not isinstance(error, MissingError):
                    raise
                not_measured[name] = str(error)
                click.echo(f"  NOT MEASURED: {error}", err=True)
    return results, not_measured


def _report(measured: tuple[list[dict[str, Figures]], dict[str, str]], plan: Plan, options: dict[str, Any]) -> None:
    results, not_measured = measured
    found = report.summary(results, plan, not_measured)
    text = json.dumps(found, indent=2)
    if options["json_file"] is not None:
        options["json_file"].write_text(text + "\n")
    click.echo(text if options["output"] == "json" else report.table(found))
    if not_measured:
        sys.exit(_INCOMPLETE)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
