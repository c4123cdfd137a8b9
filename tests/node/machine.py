"""A node out of this machine: containerd, kubelet, kube-proxy and CoreDNS in a sandbox, joined to a kwok cluster.

`cluster` brings it up. CoreDNS runs beside the kubelet rather than in a pod: one image and one Deployment less to wait
for, and the same names for pods.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster.binaries import Places, ensure
from tests.cluster.catalog import NODE
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.progress import Progress, tail
from tests.images.archive import Archive
from tests.images.base import base_image
from tests.node import configuration
from tests.node.sandbox import Sandbox

NAME = "node"
_SECONDS = 90.0
_POLL_SECONDS = 0.2


class Machine:
    """One node. It ends with its sandbox."""

    def __init__(self, folder: Path, sandbox: Sandbox, places: Places, progress: Progress) -> None:
        self._folder = folder
        self._sandbox = sandbox
        self._places = places
        self._progress = progress

    @property
    def host(self) -> str:
        """This machine's address, for its pods."""
        return self._sandbox.network.host

    def join(self, cluster: Cluster) -> None:
        """Start the node's programs, and wait until the cluster has a node that is Ready."""
        programs = ensure(NODE, self._places, self._progress)
        base = base_image(self._places, self._progress)
        with self._progress.step("starting a node") as step:
            containerd = self._file("containerd.toml", configuration.containerd(self._folder, base.name))
            self._sandbox.start("containerd", "containerd", "--config", containerd)
            self._until("containerd to answer", "containerd", lambda: bool(self.ctr("version")))
            step.tick()
            self.load(base)
            step.tick()
            self._start_programs(cluster, programs)
            try:
                cluster.run_kubectl("wait", "--for=create", f"node/{NAME}", f"--timeout={_SECONDS}s")
                cluster.run_kubectl("wait", "--for=condition=Ready", f"node/{NAME}", f"--timeout={_SECONDS}s")
            except ClusterError as error:
                said = tail(self._sandbox.log("kubelet"), 15)
                raise ClusterError(f"The node didn't become Ready: {error}\nkubelet: {said}") from error

    def load(self, image: Archive) -> None:
        """Give the node an image."""
        self.ctr("images", "import", "--digests=false", image.path.resolve())

    def run(self, *command: object) -> str:
        """Run a command on the node."""
        return self._sandbox.run(*command)

    def ctr(self, *arguments: object) -> str:
        """Ask the node's containerd."""
        return self.run("ctr", "-a", configuration.SOCKET, "-n", "k8s.io", *arguments)

    def _start_programs(self, cluster: Cluster, programs: dict[str, Path]) -> None:
        network, folder = self._sandbox.network, self._folder
        kubeconfig = self._file("kubeconfig", configuration.kubeconfig(cluster.kubeconfig.read_text(), network))
        self._file("cni/pods.conflist", configuration.pod_network(network))
        resolver = self._file("resolv.conf", f"nameserver {network.node}\n")
        kubelet = self._file("kubelet.yaml", configuration.kubelet(network, resolver, folder / "pods"))
        proxy = self._file("kube-proxy.yaml", configuration.kube_proxy(network, kubeconfig, NAME))
        corefile = self._file("Corefile", configuration.coredns(network, kubeconfig))
        own = ("--kubeconfig", kubeconfig, "--root-dir", folder / "kubelet", "--cert-dir", folder / "pki")
        named = ("--hostname-override", NAME, "--node-ip", network.node)
        self._sandbox.start("kubelet", programs["kubelet"], "--config", kubelet, *own, *named)
        self._sandbox.start("kube-proxy", programs["kube-proxy"], "--config", proxy)
        self._sandbox.start("coredns", programs["coredns"], "-conf", corefile)

    def _file(self, name: str, text: str) -> Path:
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def _until(self, what: str, program: str, look: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                if look():
                    return
            except ClusterError as error:
                if time.monotonic() > deadline:
                    said = tail(self._sandbox.log(program), 15)
                    raise ClusterError(f"Waited in vain for {what}: {error}\n{program}: {said}") from error
            time.sleep(_POLL_SECONDS)
