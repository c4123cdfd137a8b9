"""`python -m tests.e2e.node.figures`: what the images weigh, and what operator and dispatcher take in a pod that idles.

docs/images.md holds a run of it. It brings up a cluster of its own, as the tests do, and takes about three minutes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import httpx

from tests.cluster import ClusterError, Mode, remove
from tests.cluster.binaries import Places
from tests.cluster.progress import Progress
from tests.controller.pipelines import manifest
from tests.deploy.helm import CHART, NAME, Helm
from tests.e2e.node.world import World, eventually
from tests.images import choose, product_images
from tests.images.base import base_image
from tests.node import clean, lacking, real_cluster

IDLE_SECONDS = 60.0
TICKS = os.sysconf("SC_CLK_TCK")
"""A second has so many of a process' clock ticks."""
ROOT = Path(__file__).parents[3]
STARTS = 3
TEAM = "figures"


@contextmanager
def running(folder: Path) -> Iterator[World]:
    """A cluster with the operator and one pipeline that has nothing to do."""
    places, progress = Places.from_environment(), Progress()
    images = product_images(folder / "images", choose(places, progress))
    base = base_image(places, progress).path.stat().st_size
    for image in images:
        size = image.path.stat().st_size
        click.echo(f"{image.name}: {size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} MB of it above its base")
    with real_cluster(folder / "cluster", Mode.KWOK, places, progress) as real:
        world = World(real)
        for image in images:
            real.node.load(image)
        for namespace in (NAME, TEAM):
            world.cluster.create_restricted_namespace(namespace)
        Helm(world.cluster).run("upgrade", "--install", NAME, CHART, "--namespace", NAME)
        world.rolled_out(NAME, "deployment", NAME)
        world.apply(TEAM, manifest("booking"))
        world.rolled_out(TEAM, "deployment", "booking")
        yield world


class Process:
    """The process of a pod's only container, as its node sees it."""

    def __init__(self, world: World, namespace: str, selector: str, port: int) -> None:
        self._world, self._port = world, port
        self._where = ("pods", "-n", namespace, "-l", selector)
        self._namespace = namespace

    def name(self) -> str:
        """The pod's name."""
        found: str = self._pod()["metadata"]["name"]
        return found

    def started(self) -> float:
        """When it started, in seconds of this machine's life."""
        return int(self._stat()[22 - 3]) / TICKS

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return (int(self._stat()[14 - 3]) + int(self._stat()[15 - 3])) / TICKS

    def memory(self) -> float:
        """Megabytes that are its own and in use."""
        status = self._world.real.node.run("cat", f"/proc/{self._pid()}/status")
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024

    def start(self) -> tuple[float, float]:
        """Kill it; seconds from the start of the next one's process until it is ready, and its processor time then."""
        before = self._pid()
        url = f"http://{self._pod()['status']['podIP']}:{self._port}/readyz"
        self._world.real.kill(self._namespace, self.name())
        with httpx.Client(trust_env=False, timeout=1) as client:
            while _answers(client, url):
                time.sleep(0.005)
            while not _answers(client, url):
                time.sleep(0.005)
            ready = time.clock_gettime(time.CLOCK_BOOTTIME)
        eventually(lambda: self._pid() != before, "the new container is known")
        return ready - self.started(), self.cpu()

    def _pod(self) -> dict[str, Any]:
        found: dict[str, Any] = self._world.cluster.get_json(*self._where)["items"][0]
        return found

    def _pid(self) -> str:
        (container,) = self._pod()["status"]["containerStatuses"]
        identity = str(container["containerID"]).removeprefix("containerd://")
        for line in self._world.real.node.ctr("tasks", "ls").splitlines():
            if line.startswith(identity):
                return line.split()[1]
        raise ClusterError(f"no process of {identity}")

    def _stat(self) -> list[str]:
        """The fields of /proc/PID/stat from the third on: the second may have blanks in it."""
        return self._world.real.node.run("cat", f"/proc/{self._pid()}/stat").rpartition(")")[2].split()


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).is_success
    except httpx.TransportError:
        return False


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Print the figures of docs/images.md."""
    if reason := lacking(Mode.KWOK, Places.from_environment()):
        raise click.ClickException(reason)
    folder = ROOT / "build" / "figures"
    try:
        with running(folder) as world:
            _measure(world)
    finally:
        clean(folder / "cluster")
        remove(folder / "cluster")


def _measure(world: World) -> None:
    # With one operator the figures are those of the one that works.
    world.cluster.run_kubectl("-n", NAME, "scale", f"deployment/{NAME}", "--replicas=1")
    eventually(lambda: len(world.cluster.get_json("pods", "-n", NAME)["items"]) == 1, "one operator")
    operator = Process(world, NAME, f"app.kubernetes.io/name={NAME}", 8080)
    dispatcher = Process(world, TEAM, "notifications.plannivo.io/pipeline=booking", 4000)
    for name, process in (("operator", operator), ("dispatcher", dispatcher)):
        before = process.cpu()
        time.sleep(IDLE_SECONDS)
        used = (process.cpu() - before) / IDLE_SECONDS * 1000
        click.echo(f"{name}: idle {used:.1f} mCPU, {process.memory():.0f} MiB")
        starts = sorted(process.start() for _ in range(STARTS))
        told = ", ".join(f"{seconds:.2f} s ({cpu:.2f} s of processor time)" for seconds, cpu in starts)
        click.echo(f"{name}: from its process' start to ready {told}")


if __name__ == "__main__":
    main()
