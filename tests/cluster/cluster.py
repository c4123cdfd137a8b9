"""The handle of a running cluster: what tests, the demo and the command line talk to it with.

`state.ensure_cluster` makes it. Everything blocks; asynchronous callers go through `asyncio.to_thread`.
"""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.backends import Backend, Mode
from tests.cluster.errors import ClusterError

COMMAND_SECONDS = 120.0
HEALTH_SECONDS = 5
NODE_SECONDS = 60


@dataclass(frozen=True)
class Cluster:
    """One running cluster."""

    mode: Mode
    state_dir: Path
    kubeconfig: Path
    kubectl: Path
    started_here: bool
    """Whether this process started it, and so should stop it."""
    backend: Backend = field(repr=False)
    on_stop: Callable[[], object] = field(repr=False)

    def run_kubectl(self, *args: str | Path, stdin: str | None = None, timeout: float = COMMAND_SECONDS) -> str:
        """Run kubectl against this cluster and return its standard output; raise ClusterError with its words if not."""
        # The cache is kept per cluster: the next one may listen on the same port and serve other types.
        own = ["--kubeconfig", str(self.kubeconfig), "--cache-dir", str(self.state_dir / "kubectl-cache")]
        command = [str(self.kubectl), *own, *(str(arg) for arg in args)]
        shown = f"kubectl {' '.join(str(arg) for arg in args)}"
        try:
            answer = subprocess.run(
                command, input=stdin or "", capture_output=True, text=True, timeout=timeout, check=False
            )
        except OSError as error:
            raise ClusterError(f"`{shown}` can't be run: {error}") from error
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"`{shown}` had no answer within {timeout:.0f} s.") from error
        if answer.returncode != 0:
            raise ClusterError(f"`{shown}` ended with exit code {answer.returncode}: {answer.stderr.strip()}")
        return answer.stdout

    def create_restricted_namespace(self, name: str) -> None:
        """Make a namespace that enforces the restricted Pod Security Standard, and wait until it takes pods."""
        modes = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]
        self.run_kubectl("create", "namespace", name)
        self.run_kubectl("label", "namespace", name, *modes)
        self.run_kubectl("-n", name, "wait", "--for=create", "serviceaccount/default")

    def get_json(self, *args: str) -> Any:
        """Return what `kubectl get … -o json` says, decoded."""
        return json.loads(self.run_kubectl("get", *args, "-o", "json"))

    def apply(self, manifest: str, namespace: str | None = None) -> str:
        """Apply YAML or JSON text on the server's side."""
        where = () if namespace is None else ("-n", namespace)
        return self.run_kubectl(*where, "apply", "--server-side", "-f", "-", stdin=manifest)

    def problem(self) -> str | None:
        """Say why the API server isn't ready; None if it is."""
        try:
            self.run_kubectl(
                "get", "--raw", "/readyz", f"--request-timeout={HEALTH_SECONDS}s", timeout=4 * HEALTH_SECONDS
            )
        except ClusterError as error:
            return str(error)
        return None

    def server_version(self) -> str:
        """Return the version the API server reports, like v1.36.3."""
        version: str = json.loads(self.run_kubectl("get", "--raw", "/version"))["gitVersion"]
        return version

    def scale_nodes(self, count: int) -> None:
        """Have this many fake nodes, and wait until they are Ready; on kwok clusters only."""
        self.backend.scale_nodes(count)
        if count:
            ready = ("wait", "--for=condition=Ready", "nodes", "-l", "type=kwok", f"--timeout={NODE_SECONDS}s")
            self.run_kubectl(*ready)

    def stop(self) -> None:
        """End the cluster and remove its leftovers; of CLUSTER=current only our copy of the kubeconfig goes."""
        self.on_stop()


def environment(cluster: Cluster) -> dict[str, str]:
    """Return this process' environment with KUBECONFIG and PATH set for a program that should use the cluster."""
    path = f"{cluster.kubectl.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "PATH": path}
