"""The node of a kind cluster: a container of Docker's, which images are loaded onto by kind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.binaries import Places
from tests.cluster.errors import ClusterError
from tests.cluster.progress import Progress, run
from tests.images.archive import Archive


@dataclass(frozen=True)
class KindNode:
    """One node, by the name of its cluster."""

    name: str
    places: Places
    progress: Progress

    @property
    def host(self) -> str:
        """This machine's address in the network that kind's nodes are on."""
        with self.progress.step("asking Docker for kind's network") as step:
            answer = run(step, [self._program("docker"), "network", "inspect", "kind"], self.places.env)
        for addresses in json.loads(answer)[0]["IPAM"]["Config"]:
            gateway: str = addresses.get("Gateway", "")
            if "." in gateway:
                return gateway
        raise ClusterError("Docker's network `kind` has no gateway with an IPv4 address.")

    def load(self, image: Archive) -> None:
        """Give the node an image."""
        with self.progress.step(f"loading {image.name}") as step:
            command = [self._program("kind"), "load", "image-archive", image.path, "--name", self.name]
            run(step, command, self.places.env)

    def run(self, *command: object) -> str:
        """Run a command on the node."""
        with self.progress.step(f"running {command[0]} on the node") as step:
            inside = [self._program("docker"), "exec", f"{self.name}-control-plane"]
            return run(step, [*inside, *command], self.places.env)

    def ctr(self, *arguments: object) -> str:
        """Ask the node's containerd."""
        return self.run("ctr", "-n", "k8s.io", *arguments)

    def _program(self, name: str) -> Path:
        found = self.places.which(name)
        if found is None:
            raise ClusterError(f"CLUSTER=kind needs `{name}` on PATH, and it isn't there.")
        return found
