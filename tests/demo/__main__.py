"""`python -m tests.demo`, which `make demo` runs: a pipeline is applied, and everything that it promises is shown.

At a terminal it stays up until Ctrl-C; without one it ends after the last check. Exit codes: 0 all was shown, 1 a check
failed (it is named), 2 something could not be started, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

import click

from tests.cluster.errors import ClusterError
from tests.demo.narrator import CheckFailedError, Narrator
from tests.demo.stage import ROOT, stage
from tests.demo.story import Story


async def demo(narrator: Narrator, folder: Path, *, stay: bool) -> None:
    """Show everything; then, at a terminal, stay up."""
    started = time.monotonic()
    narrator.step_title = "start the cluster and the operator"
    click.secho("Notification pipelines: from one kubectl apply to a dispatcher with metrics, a board and alerts.")
    click.secho(f"\n▸ {narrator.step_title}", bold=True)
    async with stage(folder) as set_up:
        narrator.checked(f"a real API server and the operator are up, {time.monotonic() - started:.1f} s")
        story = Story(set_up, narrator)
        await story.tell()
        click.secho(f"\nAll of it was checked, in {time.monotonic() - started:.0f} s.", fg="green", bold=True)
        if stay:
            story.invite()
            await _interrupted()
            click.echo("\nTaking everything down …")


async def _interrupted() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    await stop.wait()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "build" / "demo",
    show_default="build/demo of the repository",
    help="Folder of the demo's own cluster and logs. Two folders hold two demos.",
)
def main(state_dir: Path) -> None:
    """Apply a pipeline to a real Kubernetes API server, and show and check everything that it promises.

    At a terminal it stays up, with commands to try, until Ctrl-C. CLUSTER=kind or CLUSTER=current chooses another
    cluster than its own.
    """
    sys.exit(_run(state_dir.resolve()))


def _run(folder: Path) -> int:
    """Run the demo; returns the exit code."""
    # A `kill` takes everything down just as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    narrator = Narrator()
    try:
        asyncio.run(demo(narrator, folder, stay=sys.stdin.isatty() and sys.stdout.isatty()))
    except CheckFailedError as error:
        click.secho(f"\n✗ {narrator.step_title}: {error}", fg="red", err=True)
        return 1
    except ClusterError as error:
        click.secho(f"\n✗ {narrator.step_title}: {error}", fg="red", err=True)
        return 2
    except KeyboardInterrupt:
        click.echo("\nInterrupted; everything was taken down.", err=True)
        return 130
    return 0


if __name__ == "__main__":
    main()
