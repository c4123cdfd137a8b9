"""Which cluster the tests and the demo run against: CLUSTER=kwok (the default), kind or current.

`state` asks `make_backend` for one and treats them alike. kind needs Docker and kind; `current` is whatever the
kubeconfig in use names, and is never created nor deleted.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from tests.cluster import binaries
from tests.cluster.binaries import Places
from tests.cluster.errors import ClusterError
from tests.cluster.kwok import KwokBackend
from tests.cluster.processes import Process
from tests.cluster.progress import Progress, run


class Mode(StrEnum):
    """The kinds of cluster; the value is what CLUSTER is set to."""

    KWOK = "kwok"
    KIND = "kind"
    CURRENT = "current"

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> "Mode":
        """Read CLUSTER."""
        value = env.get("CLUSTER") or cls.KWOK.value
        if value not in list(cls):
            raise ClusterError(f"CLUSTER={value} is unknown; use {', '.join(cls)}.")
        return cls(value)


class Backend(Protocol):
    """How one kind of cluster is started, looked at and ended."""

    def start(self, kubeconfig: Path, kubectl: Path) -> None:
        """Bring the cluster up, write its kubeconfig and put kubectl at the path given."""

    def problem(self) -> str | None:
        """Say what keeps the cluster from being usable, before its API server is asked; None if nothing does."""

    def processes(self) -> list[Process]:
        """Return the cluster's processes on this machine, where they are ours to know."""

    def stop(self) -> None:
        """End the cluster and remove its leftovers; nothing to do is fine."""

    def scale_nodes(self, count: int) -> None:
        """Have this many fake nodes, where there are such."""


def make_backend(
    mode: Mode, name: str, state_dir: Path, places: Places, progress: Progress, address: str = ""
) -> Backend:
    """Return the backend for `mode`; kwok's API server is reached on `address` too."""
    if mode is Mode.KWOK:
        return KwokBackend(name, state_dir, places, progress, address)
    if mode is Mode.KIND:
        return KindBackend(name, places, progress)
    return CurrentBackend(places, progress)


@dataclass(frozen=True)
class KindBackend:
    """A cluster in Docker, made by kind: a real node, images from a registry."""

    name: str
    places: Places
    progress: Progress

    def start(self, kubeconfig: Path, kubectl: Path) -> None:
        """Create the cluster."""
        link_kubectl(kubectl, self.places, self.progress)
        command = [self._kind(), "create", "cluster", "--name", self.name, "--kubeconfig", kubeconfig]
        with self.progress.step("starting a kind cluster") as step:
            run(step, [*command, "--wait", "180s"], self.places.env)

    def problem(self) -> str | None:
        """Leave the answer to the API server."""
        return None

    def processes(self) -> list[Process]:
        """Return none: they live in Docker."""
        return []

    def stop(self) -> None:
        """Delete the cluster; kind says nothing if there is none."""
        with self.progress.step("deleting the kind cluster") as step:
            run(
                step,
                [self._kind(), "delete", "cluster", "--name", self.name, "--kubeconfig", os.devnull],
                self.places.env,
            )

    def scale_nodes(self, count: int) -> None:
        """Refuse: kind's nodes are fixed."""
        raise ClusterError(f"{count} fake nodes need CLUSTER=kwok; a kind cluster's nodes are fixed.")

    def _kind(self) -> Path:
        kind = self.places.which("kind")
        if kind is None:
            raise ClusterError("CLUSTER=kind needs kind and Docker, and there is no `kind` on PATH. Install both.")
        return kind


@dataclass(frozen=True)
class CurrentBackend:
    """The cluster of the kubeconfig in use. Its current context is copied, so that switching it later moves nothing."""

    places: Places
    progress: Progress

    def start(self, kubeconfig: Path, kubectl: Path) -> None:
        """Copy the current context."""
        program = link_kubectl(kubectl, self.places, self.progress)
        with self.progress.step("reading the current kubeconfig") as step:
            command = [program, "config", "view", "--raw", "--minify", "--flatten"]
            try:
                text = run(step, command, self.places.env)
            except ClusterError as error:
                raise ClusterError(f"CLUSTER=current needs a kubeconfig with a current context: {error}") from error
        # It holds credentials.
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(text)

    def problem(self) -> str | None:
        """Leave the answer to the API server."""
        return None

    def processes(self) -> list[Process]:
        """Return none: they aren't ours."""
        return []

    def stop(self) -> None:
        """Leave the cluster alone."""

    def scale_nodes(self, count: int) -> None:
        """Refuse: the nodes aren't ours."""
        raise ClusterError(f"{count} fake nodes need CLUSTER=kwok; the current cluster's nodes aren't ours to change.")


def link_kubectl(link: Path, places: Places, progress: Progress) -> Path:
    """Put the user's kubectl, of whatever version, or else our own at `link`, and return it."""
    program = places.which("kubectl") or binaries.ensure(["kubectl"], places, progress)["kubectl"]
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(program)
    return program
