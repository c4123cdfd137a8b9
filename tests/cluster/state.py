"""One cluster per state folder: brings it up, tells whether it is, and takes it down.

The folder holds `kubeconfig`, `bin/kubectl` and `cluster.json`, which says what was started there. The command line
uses `build/`, the tests and the demo folders of their own, and all of them may be up at once. Start here:
`ensure_cluster` returns the `Cluster` to talk to.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.backends import Backend, Mode, make_backend
from tests.cluster.binaries import Places
from tests.cluster.catalog import kubernetes_version
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.locks import locked
from tests.cluster.processes import Process
from tests.cluster.progress import Progress

RECORD = "cluster.json"


@dataclass(frozen=True)
class State:
    """A state folder, and what is recorded in it."""

    folder: Path
    places: Places = field(default_factory=Places.from_environment)
    progress: Progress = field(default_factory=Progress)
    address: str = ""
    """Where a real node finds the API server; see `KwokBackend`."""

    @property
    def name(self) -> str:
        """The cluster's name: the same for the same folder, different for any two."""
        return f"plannivo-{hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:8]}"

    def recorded_mode(self) -> Mode | None:
        """Return the kind of cluster this folder holds; None if it holds none."""
        record = self._record()
        return None if record is None else Mode(record["mode"])

    def cluster(self, mode: Mode, *, started_here: bool) -> Cluster:
        """Return the handle of this folder's cluster."""
        folder = self.folder.resolve()
        return Cluster(
            mode=mode,
            state_dir=folder,
            kubeconfig=folder / "kubeconfig",
            kubectl=folder / "bin" / "kubectl",
            started_here=started_here,
            backend=self.backend(mode),
            on_stop=self.down,
        )

    def problem(self) -> str | None:
        """Say why the recorded cluster isn't usable; None if it is."""
        record = self._record()
        if record is None:
            return "not started"
        mode = Mode(record["mode"])
        if mode is Mode.KWOK and record["version"] != kubernetes_version():
            return f"it runs Kubernetes {record['version']}, and {kubernetes_version()} is pinned"
        return self.backend(mode).problem() or self.cluster(mode, started_here=False).problem()

    def processes(self) -> list[Process]:
        """Return the processes of the recorded cluster, or of what is left of one."""
        return self.backend(self.recorded_mode() or Mode.KWOK).processes()

    def up(self, mode: Mode) -> Cluster:
        """Return the folder's cluster, started unless it is up already; clean up if that fails or is interrupted."""
        with self._lock():
            recorded = self.recorded_mode()
            if recorded is not None and recorded is not mode:
                raise ClusterError(f"{self.folder} holds a {recorded} cluster, and {mode} is asked for: end it first.")
            problem = self.problem()
            if problem is None:
                return self.cluster(mode, started_here=False)
            if recorded is not None:
                self.progress.note(f"The cluster of {self.folder} isn't usable ({problem}): starting it anew.")
            self._clean(mode)
            cluster = self.cluster(mode, started_here=mode is not Mode.CURRENT)
            try:
                self._start(mode, cluster)
            except BaseException:
                self._clean(mode)
                raise
            return cluster

    def down(self) -> bool:
        """End the folder's cluster and remove its leftovers; tell whether there was one."""
        with self._lock():
            existed = self.recorded_mode() is not None or bool(self.processes())
            self._clean(self.recorded_mode() or Mode.KWOK)
            return existed

    def _start(self, mode: Mode, cluster: Cluster) -> None:
        record = {"mode": mode.value, "name": self.name, "version": kubernetes_version()}
        # Written first, so that `down` knows what a killed `up` has begun.
        (self.folder / RECORD).write_text(json.dumps(record))
        self.backend(mode).start(cluster.kubeconfig, cluster.kubectl)
        if problem := cluster.problem():
            raise ClusterError(f"The cluster started, and its API server isn't ready: {problem}")
        if mode is Mode.KWOK and not self.address:
            cluster.scale_nodes(1)

    def _clean(self, mode: Mode) -> None:
        if mode is not Mode.KIND or self.recorded_mode() is not None:
            self.backend(mode).stop()
        for path in ("kubeconfig", "bin/kubectl", RECORD):
            (self.folder / path).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "kubectl-cache", ignore_errors=True)

    def backend(self, mode: Mode) -> Backend:
        """Return what starts and ends this folder's cluster."""
        return make_backend(mode, self.name, self.folder.resolve(), self.places, self.progress, self.address)

    def _record(self) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads((self.folder / RECORD).read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ClusterError(f"{self.folder / RECORD} is damaged; remove it and start again.") from error
        return record

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / ".cluster-lock", self.progress, f"another command on {self.folder}"):
            yield


def ensure_cluster(state_dir: Path, mode: Mode | None = None) -> Cluster:
    """Return a running cluster kept in `state_dir`, started if need be; `started_here` tells.

    The kind of cluster is CLUSTER's unless given. Blocks for about five seconds, or minutes when binaries are built.
    """
    return State(state_dir).up(mode or Mode.from_environment())


@contextmanager
def running_cluster(state_dir: Path, mode: Mode | None = None) -> Iterator[Cluster]:
    """Like `ensure_cluster`, and stop the cluster afterwards if it was started here."""
    cluster = ensure_cluster(state_dir, mode)
    try:
        yield cluster
    finally:
        if cluster.started_here:
            cluster.stop()


def remove(state_dir: Path) -> None:
    """Stop what a state folder holds, and remove the folder."""
    State(state_dir).down()
    shutil.rmtree(state_dir, ignore_errors=True)
