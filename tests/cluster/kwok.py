"""The default cluster: a real control plane started by kwokctl's binary runtime, with fake nodes.

etcd, the API server, the controller manager and the scheduler are the real ones; the kwok controller plays the
kubelets, so that pods become Ready and nothing runs. `backends` hands this out for CLUSTER=kwok.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import binaries, processes
from tests.cluster.binaries import Places
from tests.cluster.catalog import CONTROL_PLANE, kubernetes_version
from tests.cluster.errors import ClusterError, GoUnavailableError
from tests.cluster.locks import locked
from tests.cluster.progress import Progress, run, tail

COMPONENTS = frozenset({"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"})
"""The processes a healthy cluster has, by the names kwokctl gives their binaries."""
PLAYER = "kwok-controller"
"""One more, where nodes are played."""

WAIT_SECONDS = 90

# kwokctl listens on every address unless told; etcd asks for no password.
CONFIG = """\
apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokctlConfiguration
options:
  bindAddress: 127.0.0.1
  kubeApiserverCertSANs: [{names}]
"""

SERVICES = "10.96.0.0/16"
"""The addresses of Services. The default has room for 254."""
API_SERVICE = "10.96.0.1"
"""Where pods find the API server: the first of them."""


@dataclass(frozen=True)
class KwokBackend:
    """Starts, checks and ends one kwok cluster in a folder of its own."""

    name: str
    state_dir: Path
    places: Places
    progress: Progress
    address: str = ""
    """An address of this machine, beside 127.0.0.1, on which real nodes and their pods reach the API server.

    With it, no node is played.
    """

    @property
    def components(self) -> frozenset[str]:
        """The processes that this cluster should have."""
        return COMPONENTS if self.address else COMPONENTS | {PLAYER}

    @property
    def workdir(self) -> Path:
        """Where kwokctl keeps this cluster: certificates, logs, etcd's data and links to the binaries."""
        return self.state_dir / "kwok" / "clusters" / self.name

    def start(self, kubeconfig: Path, kubectl: Path) -> None:
        """Create the cluster, write its kubeconfig and put kubectl at the path given."""
        tools = self._tools()
        kubectl.parent.mkdir(parents=True, exist_ok=True)
        self._link(kubectl, tools.get("kubectl"))
        self._link(self._kwokctl, tools["kwokctl"])
        config = self.state_dir / "kwok" / "kwok.yaml"
        config.parent.mkdir(parents=True, exist_ok=True)
        names = ["127.0.0.1", API_SERVICE, *([self.address] if self.address else [])]
        config.write_text(CONFIG.format(names=", ".join(names)))
        command = [tools["kwokctl"], "create", "cluster", "--name", self.name, "--config", config]
        command += ["--kubeconfig", kubeconfig, *_flags(tools, self.address)]
        # kwokctl picks ports that are free now: two starts at once would pick the same.
        lock = self.places.cache / ".start-lock"
        with locked(lock, self.progress, "another cluster's start"), self.progress.step("starting the cluster") as step:
            run(step, command, self._env())
        if "kubectl" not in tools:
            self._link(kubectl, self.places.which("kubectl") or self.workdir / "bin" / "kubectl")
        missing = self.components - {process.name for process in self.processes()}
        if missing:
            raise ClusterError(f"The cluster started without {', '.join(sorted(missing))}:\n{self._logs(missing)}")

    def problem(self) -> str | None:
        """Say what keeps the cluster from being usable, as far as its processes tell."""
        missing = self.components - {process.name for process in self.processes()}
        return f"not running: {', '.join(sorted(missing))}" if missing else None

    def processes(self) -> list[processes.Process]:
        """Return the cluster's processes."""
        return processes.running_below(self.workdir / "bin")

    def stop(self) -> None:
        """End every process of the cluster and remove what it kept; nothing to do is fine."""
        processes.end_below(self.workdir / "bin")
        shutil.rmtree(self.state_dir / "kwok", ignore_errors=True)
        self._kwokctl.unlink(missing_ok=True)

    def scale_nodes(self, count: int) -> None:
        """Have this many fake nodes."""
        command = [self._kwokctl, "scale", "node", "--name", self.name, "--replicas", str(count)]
        with self.progress.step(f"scaling to {count} fake nodes") as step:
            run(step, command, self._env())

    @property
    def _kwokctl(self) -> Path:
        return self.state_dir / "bin" / "kwokctl"

    def _env(self) -> dict[str, str]:
        """Return kwokctl's environment: its own folder, and our kubectl before any other."""
        path = f"{self.state_dir / 'bin'}:{self.places.env.get('PATH', '')}"
        own = {"KWOK_WORKDIR": str(self.state_dir / "kwok"), "KWOK_KUBE_VERSION": kubernetes_version(), "PATH": path}
        return {**self.places.env, **own}

    def _tools(self) -> Mapping[str, Path]:
        try:
            return binaries.ensure(CONTROL_PLANE, self.places, self.progress)
        except GoUnavailableError:
            kwokctl = self.places.which("kwokctl")
            if kwokctl is None:
                raise
            self.progress.note("Go is missing or too old: kwokctl downloads the cluster's binaries.")
            return {"kwokctl": kwokctl}

    def _logs(self, names: frozenset[str]) -> str:
        logs = (self.workdir / "logs" / f"{name}.log" for name in sorted(names))
        return "\n".join(f"{log.name}: {tail(log.read_text(), 5)}" for log in logs if log.exists())

    @staticmethod
    def _link(link: Path, target: Path | None) -> None:
        link.unlink(missing_ok=True)
        if target is not None:
            link.symlink_to(target)


def _flags(tools: Mapping[str, Path], address: str) -> list[str | Path]:
    flags: list[str | Path] = ["--runtime", "binary", "--wait", f"{WAIT_SECONDS}s", "--disable-qps-limits"]
    # `kubectl logs` and `exec` reach a node by its address: fake nodes have no name that resolves.
    flags += ["--extra-args", "kube-apiserver=kubelet-preferred-address-types=InternalIP"]
    flags += ["--extra-args", f"kube-apiserver=service-cluster-ip-range={SERVICES}"]
    if address:
        # Of all components, the one that asks who is there.
        flags += ["--extra-args", "kube-apiserver=bind-address=0.0.0.0"]
        flags += ["--extra-args", f"kube-apiserver=advertise-address={address}"]
        flags += ["--components", ",".join(sorted(COMPONENTS))]
    options = {"kwok-controller-binary": "kwok"} | {
        f"{name}-binary": name for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    }
    # By objects of these kinds a test says what `kubectl logs` and `port-forward` find in a pod in which nothing runs.
    flags += ["--enable-crds", "Logs,PortForward"]
    for option, name in options.items():
        if name in tools:
            flags += [f"--{option}", tools[name]]
    return flags
