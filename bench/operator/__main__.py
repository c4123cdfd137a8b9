"""The command `python -m bench.operator`, which `make bench-operator` runs."""

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

from bench.dispatcher.processes import ROOT, BenchError, python_module, run_json
from bench.operator import ours, report
from bench.operator.work import NAME, cluster_with
from tests.cluster import ClusterError

_FAILED = 1
_INTERRUPTED = 130


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--pipelines",
    multiple=True,
    type=click.IntRange(1, 5000),
    default=(100, 1000),
    show_default=True,
    help="How many pipelines the operator finds at its start; may be given more than once.",
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100), help="How often each is measured.")
@click.option(
    "--singles", default=50, show_default=True, type=click.IntRange(0, 1000), help="Single pipelines a round."
)
@click.option("--at-once", default=8, show_default=True, type=click.IntRange(1, 64), help="Pipelines, for the limit.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--json-file", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON there as well.")
@click.option("--keep", is_flag=True, help="Keep the logs, and say where they are.")
def main(**options: Any) -> None:
    """Measure the operator beside the limit: a bare client that writes the same objects to the same API server.

    \b
    Try it:
      python -m bench.operator                                # 100 and 1,000 pipelines, about 25 minutes
      python -m bench.operator --pipelines 100 --rounds 2     # about 5 minutes

    The limit and the operator take turns, each on a new control plane of its own, and the ratio is made within a
    round. API server, etcd and the controllers share the processors with whoever is measured, so figures of two
    machines, or of one machine at two times, say nothing; the ratio does. Progress is on standard error.

    \b
    Ends with 0 when all was measured, 1 when something failed, 2 for wrong usage, 130 after Ctrl-C.
    Whether an aim is met changes nothing about that: it is a measurement, not a test.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    base = ROOT / "build"
    base.mkdir(exist_ok=True)
    # In the working tree, not in /tmp: that may be memory, where etcd's fsync costs nothing.
    scratch = Path(tempfile.mkdtemp(prefix="bench-", dir=base))
    try:
        rounds = [_round(number, scratch, options) for number in range(options["rounds"])]
    except (BenchError, ClusterError, OSError) as error:
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
    found = report.summary(rounds, options["singles"])
    text = json.dumps(found, indent=2)
    if options["json_file"] is not None:
        options["json_file"].write_text(text + "\n")
    click.echo(text if options["output"] == "json" else report.table(found))


def _round(number: int, scratch: Path, options: dict[str, Any]) -> report.Round:
    """Every size once. Who goes first changes with the round."""
    measured: report.Round = {}
    for pipelines in options["pipelines"]:
        contestants = ("limit", "ours") if number % 2 == 0 else ("ours", "limit")
        for contestant in contestants:
            click.echo(f"round {number + 1} of {options['rounds']}: {pipelines} pipelines, {contestant} …", err=True)
            with cluster_with(pipelines, scratch / "cluster") as cluster:
                if contestant == "ours":
                    measured[pipelines, contestant] = ours.measure(cluster, scratch, pipelines, options["singles"])
                else:
                    command = python_module("bench.operator.limit", cluster.kubeconfig, NAME, options["at_once"])
                    sent = run_json(command)
                    measured[pipelines, contestant] = {
                        "per_s": sent["pipelines"] / sent["seconds"],
                        "cpu_ms": sent["cpu_seconds"] / sent["pipelines"] * 1000,
                    }
            click.echo(f"  {measured[pipelines, contestant]['per_s']:.1f} pipelines/s", err=True)
    return measured


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
