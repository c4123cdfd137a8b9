"""What the end-to-end tests do on a cluster with a real node: pods of Python, HTTP through the API server, waiting."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.cluster import Cluster, ClusterError
from tests.images.builders import version
from tests.metrics import Scrape
from tests.node import RealCluster

PODS = Path(__file__).with_name("pods")
PYTHON = "/opt/notification/bin/python"
METRICS = "api/metrics/prometheus"
SECONDS = 120.0

Found = TypeVar("Found")


@dataclass(frozen=True)
class World:
    """The cluster, and what stands in it for everybody around the product."""

    real: RealCluster

    @property
    def cluster(self) -> Cluster:
        """The cluster's handle."""
        return self.real.cluster

    def apply(self, namespace: str, *objects: dict[str, Any]) -> None:
        """kubectl apply."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.cluster.run_kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(listed))

    def rolled_out(self, namespace: str, kind: str, name: str) -> None:
        """Wait until all pods of a workload are there, and say why if they aren't."""
        try:
            self.cluster.run_kubectl("-n", namespace, "wait", "--for=create", f"{kind}/{name}", "--timeout=60s")
            rollout = ("rollout", "status", f"{kind}/{name}", f"--timeout={SECONDS:.0f}s")
            self.cluster.run_kubectl("-n", namespace, *rollout, timeout=SECONDS + 10)
        except ClusterError as error:
            raise AssertionError(f"{error}\n{self.cluster.run_kubectl('-n', namespace, 'describe', 'pods')}") from error

    def get(self, path: str) -> Any:
        """HTTP to a pod or a Service, through the API server: `NAMESPACE/services/NAME:PORT/PATH`; decoded JSON."""
        return json.loads(self.text(path))

    def text(self, path: str) -> str:
        """The same, as text."""
        namespace, kind, target, *rest = path.split("/")
        proxied = f"/api/v1/namespaces/{namespace}/{kind}/{target}/proxy/{'/'.join(rest)}"
        return self.cluster.run_kubectl("get", "--raw", proxied)

    def scrape(self, namespace: str, pod: str) -> Scrape:
        """A dispatcher's metrics."""
        return Scrape(self.text(f"{namespace}/pods/{pod}:4000/{METRICS}"))

    def pods(self, namespace: str, pipeline: str) -> list[dict[str, Any]]:
        """A pipeline's pods that aren't about to go."""
        return [pod for pod in self.all_pods(namespace, pipeline) if "deletionTimestamp" not in pod["metadata"]]

    def all_pods(self, namespace: str, pipeline: str) -> list[dict[str, Any]]:
        """A pipeline's pods, those that are about to go among them."""
        selector = f"notifications.plannivo.io/pipeline={pipeline}"
        found: list[dict[str, Any]] = self.cluster.get_json("pods", "-n", namespace, "-l", selector)["items"]
        return found

    def pod(self, namespace: str, pipeline: str) -> str:
        """The name of a pipeline's only pod."""
        (pod,) = self.pods(namespace, pipeline)
        name: str = pod["metadata"]["name"]
        return name

    def calling(self, url: str, prefix: str, batches: int, pause: float = 0.0) -> subprocess.Popen[str]:
        """Start sending from the caller's pod: so many batches, or with 0 until the `result` is asked for."""
        command = [str(self.cluster.kubectl), "--kubeconfig", str(self.cluster.kubeconfig), "-n", "clients"]
        command += ["exec", "-i", "deployment/caller", "--", PYTHON, "/pods/caller.py", url, prefix]
        return subprocess.Popen(
            [*command, str(batches), str(pause)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def delivered(self, prefix: str) -> dict[str, int]:
        """Ids with this prefix that the receiver took, and how often."""
        found: dict[str, int] = self.get("clients/services/receiver:80/")["delivered"]
        return {one: times for one, times in found.items() if one.startswith(f"{prefix}-")}


def result(calling: subprocess.Popen[str]) -> dict[str, Any]:
    """What a caller says at its end."""
    output, complaint = calling.communicate(timeout=SECONDS + 60)
    assert calling.returncode == 0, complaint
    found: dict[str, Any] = json.loads(output)
    return found


def eventually(look: Callable[[], Found], expectation: str, seconds: float = SECONDS) -> Found:
    """Look until there is something; the state is other processes'."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except (ClusterError, KeyError, ValueError) as error:
            last = error
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds:g} s: {expectation} ({last})")


def python(name: str, script: str, *, ready: bool) -> list[dict[str, Any]]:
    """A Deployment of one of the scripts, on the dispatcher's image: it has a Python, and is on the node already."""
    container: dict[str, Any] = {
        "name": name,
        "image": f"plannivo/notification-dispatcher:{version()}",
        "command": [PYTHON, *(["/pods/" + script] if ready else ["-c", "import signal; signal.pause()"])],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "pods", "mountPath": "/pods"}],
    }
    if ready:
        container["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    labels = {"app": name}
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "pods", "configMap": {"name": name}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    ports = [{"port": 80, "targetPort": 8080}]
    return [
        _named("v1", "ConfigMap", name) | {"data": {script: (PODS / script).read_text()}},
        _named("v1", "Service", name) | {"spec": {"selector": labels, "ports": ports}},
        _named("apps/v1", "Deployment", name) | {"spec": {"selector": {"matchLabels": labels}, "template": template}},
    ]


def _named(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}
