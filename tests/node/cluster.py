"""The handle of a cluster with a real node, whatever makes it: what end-to-end tests load images and kill pods with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.cluster.backends import Mode
from tests.cluster.binaries import Places
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.progress import Progress
from tests.cluster.state import State
from tests.images.archive import Archive
from tests.node.kind import KindNode
from tests.node.machine import Machine
from tests.node.sandbox import forget, sandbox


class Node(Protocol):
    """The node's own side."""

    @property
    def host(self) -> str:
        """This machine's address, for pods."""

    def load(self, image: Archive) -> None:
        """Give the node an image."""

    def run(self, *command: object) -> str:
        """Run a command on the node."""

    def ctr(self, *arguments: object) -> str:
        """Ask the node's containerd."""


@dataclass(frozen=True)
class RealCluster:
    """A cluster whose node runs pods."""

    cluster: Cluster
    node: Node = field(repr=False)

    def kill(self, namespace: str, pod: str) -> None:
        """Kill a pod's containers on its node, without the API server's knowing."""
        status = self.cluster.get_json("pod", pod, "-n", namespace)["status"]
        for container in status["containerStatuses"]:
            identity = container["containerID"].removeprefix("containerd://")
            self.node.ctr("tasks", "kill", "--signal", "SIGKILL", identity)


@contextmanager
def real_cluster(folder: Path, mode: Mode, places: Places, progress: Progress) -> Iterator[RealCluster]:
    """A cluster that is this block's own, with one node; it ends with the block, or with this process."""
    if mode is Mode.KIND:
        with _started(State(folder, places, progress), mode) as cluster:
            yield RealCluster(cluster, KindNode(State(folder, places, progress).name, places, progress))
        return
    if mode is not Mode.KWOK:
        raise ClusterError(f"CLUSTER={mode} has no node that is ours to load images onto: use kwok or kind.")
    below = folder / "node"
    try:
        with sandbox(below) as space:
            machine = Machine(below, space, places, progress)
            with _started(State(folder, places, progress, machine.host), mode) as cluster:
                machine.join(cluster)
                yield RealCluster(cluster, machine)
    finally:
        clean(folder)


def clean(folder: Path) -> None:
    """Remove what is left of a node below `folder`, also one whose process was killed."""
    below = folder / "node"
    forget(below, below / "state" / "io.containerd.runtime.v2.task" / "k8s.io")


@contextmanager
def _started(state: State, mode: Mode) -> Iterator[Cluster]:
    cluster = state.up(mode)
    try:
        yield cluster
    finally:
        cluster.stop()
