"""`python -m tests.cluster`: the developer's own test cluster; `make` calls it."""

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import click

from tests.cluster.backends import Mode
from tests.cluster.errors import ClusterError
from tests.cluster.state import State

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"

NOT_UP = 3
INTERRUPTED = 130

state_dir_option = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=BUILD,
    show_default="build/ of the repository",
    help="Folder of the cluster's kubeconfig, kubectl and data. Two folders hold two clusters.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Start, stop and look at the test cluster: a real Kubernetes control plane on this machine.

    \b
      python -m tests.cluster up
      export KUBECONFIG=build/kubeconfig
      build/bin/kubectl get nodes
      python -m tests.cluster down

    By default kwokctl runs etcd, the API server, the controller manager and the scheduler as plain processes, with
    one fake node: Deployments become Available and no container runs. It needs neither Docker nor root. Its binaries
    come from KUBEBUILDER_ASSETS or PATH if their version is the pinned one, else from the cache
    (${XDG_CACHE_HOME:-~/.cache}/plannivo-notifications), else they are built with Go, once: about six minutes on two
    cores.

    Set CLUSTER=kind for a cluster in Docker, or CLUSTER=current for the one your kubeconfig names, which is used and
    never deleted. Your own kubeconfig is never written to.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 (status) not up, 130 interrupted.
    """


@cli.command()
@state_dir_option
def up(state_dir: Path) -> None:
    """Start the cluster and leave it running; if it is up already, say so."""
    cluster = State(state_dir).up(Mode.from_environment())
    how = "is up" if cluster.started_here else "is already up"
    if cluster.mode is Mode.CURRENT:
        how = "is the current kubeconfig's"
    click.echo(f"The test cluster {how}: Kubernetes {cluster.server_version()} ({cluster.mode}).")
    click.echo(f"  export KUBECONFIG={_shown(cluster.kubeconfig)}")
    click.echo(f"  {_shown(cluster.kubectl)} get nodes")
    option = "" if state_dir == BUILD else f" --state-dir {state_dir}"
    click.echo(f"End it with: python -m tests.cluster down{option}")


@cli.command()
@state_dir_option
def down(state_dir: Path) -> None:
    """End the cluster, every process of it, and remove what it left; if there is none, say so."""
    existed = State(state_dir).down()
    click.echo("The test cluster is down." if existed else "There is no test cluster to end.")


@cli.command()
@state_dir_option
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def status(state_dir: Path, output: str) -> None:
    """Tell whether the cluster is up, and if not, why; exit with 3 then."""
    state = State(state_dir)
    problem = state.problem()
    mode = state.recorded_mode()
    cluster = state.cluster(mode or Mode.from_environment(), started_here=False)
    report = {
        "up": problem is None,
        "problem": problem,
        "mode": mode,
        "version": cluster.server_version() if problem is None else None,
        "kubeconfig": str(cluster.kubeconfig) if problem is None else None,
        "kubectl": str(cluster.kubectl) if problem is None else None,
        "processes": [{"name": process.name, "pid": process.pid} for process in state.processes()],
    }
    if output == "json":
        click.echo(json.dumps(report, indent=2))
    elif problem is None:
        click.echo(f"up: Kubernetes {report['version']} ({mode}), KUBECONFIG={_shown(cluster.kubeconfig)}")
    else:
        click.echo(f"not up: {problem}")
    if problem is not None:
        raise SystemExit(NOT_UP)


def _shown(path: Path) -> str:
    """Return a path as one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; an interrupted `up` has cleaned up before this returns."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        cli.main(prog_name="python -m tests.cluster", standalone_mode=False)
    except ClusterError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
