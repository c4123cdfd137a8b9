"""A pipeline on the test cluster, with a dispatcher that really runs, for `kubectl notifications` to look at.

kubectl, the API server, its permissions and the forwarded port are the real ones. In a kwok cluster no node runs the
pod, so its dispatcher is a process of this machine, to which the pod's port leads, and its log is a file.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner, Result

from notification_operator.plugin.__main__ import cli
from tests.cluster import Cluster, Mode, environment
from tests.controller.pipelines import SECONDS, apply, get, manifest, ready
from tests.operator_process import OperatorProcess
from tests.pod import Pod
from tests.receivers import Receivers

TOKEN = "T0KEN-CANARY-of-the-api"
_BEARER = {"Authorization": f"Bearer {TOKEN}"}
_PRIVATE = {"allowPrivateAddresses": True}


@dataclass(frozen=True)
class Stage:
    """What there is, and ways to ask about it."""

    cluster: Cluster
    namespace: str
    pod: str
    receivers: Receivers
    url: str
    """Where the dispatcher is without a forwarded port."""
    log: Path
    """What stands in the pod's log, as the container runtime writes it."""

    async def run(self, *arguments: str, kubeconfig: Path | None = None, **variables: str) -> Result:
        """`kubectl notifications` with these arguments, in the pipeline's namespace."""
        return await asyncio.to_thread(self.ask, *arguments, kubeconfig=kubeconfig, **variables)

    def ask(self, *arguments: str, kubeconfig: Path | None = None, **variables: str) -> Result:
        """The same, for who can wait."""
        own = environment(self.cluster)
        own |= {"KUBECONFIG": str(kubeconfig)} if kubeconfig else {}
        found = CliRunner().invoke(cli, ["-n", self.namespace, *arguments], env={**own, **variables})
        assert TOKEN not in found.output
        assert Receivers.SLACK_TOKEN not in found.output
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return found

    async def json(self, *arguments: str) -> Any:
        """What it says to programs."""
        return json.loads((await self.run(*arguments, "-o", "json")).stdout)

    async def post(self, job_type: str, job_id: str) -> None:
        """Send a notification past the plugin."""
        item = {"type": job_type, "id": job_id, "payload": {}}
        async with httpx.AsyncClient(trust_env=False, headers=_BEARER) as client:
            (await client.post(f"{self.url}/api/notifications", json={"notifications": [item]})).raise_for_status()

    async def until_dead(self, count: int) -> None:
        """Wait until there are so many dead letters."""
        async with asyncio.timeout(SECONDS), httpx.AsyncClient(trust_env=False, headers=_BEARER) as client:
            while len((await client.get(f"{self.url}/api/notifications")).json()["notifications"]) != count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # the state is another process's


@asynccontextmanager
async def stage(cluster: Cluster, namespace: str, folder: Path) -> AsyncIterator[Stage]:
    """Build it, and take it down after the block."""
    async with Receivers() as receivers:
        with OperatorProcess(cluster, namespace, folder / "operator.log"):
            for name, value in {"api": TOKEN, "slack": receivers.slack_url("alerts")}.items():
                secret = ("create", "secret", "generic", name, f"--from-literal=value={value}")
                cluster.run_kubectl("-n", namespace, *secret)
            apply(cluster, namespace, _pipeline(receivers))
            await asyncio.to_thread(ready, cluster, namespace)
            pod = Pod(cluster, namespace, "booking", folder / "pod")
            await pod.start()
            try:
                name = get(cluster, namespace, "pods")["items"][0]["metadata"]["name"]
                log = folder / "container.log"
                log.touch()
                if cluster.mode is Mode.KWOK:
                    _lead(cluster, namespace, name, pod.port, log)
                yield Stage(cluster, namespace, name, receivers, pod.url, log)
            finally:
                await pod.stop()


def _pipeline(receivers: Receivers) -> dict[str, Any]:
    channels = [{"name": name, "webhook": {"url": receivers.url(name), **_PRIVATE}} for name in ("crm", "ratings")]
    return manifest(
        channels=channels,
        jobTypes=[
            {"name": "booking-created", "channels": ["crm"]},
            {"name": "instructor-rated", "channels": ["ratings"]},
        ],
        retry={"maxAttempts": 1},
        api={"authTokenSecretRef": {"name": "api", "key": "value"}},
        alerts={"slack": {"webhookSecretRef": {"name": "slack", "key": "value"}, **_PRIVATE}},
    )


def _lead(cluster: Cluster, namespace: str, pod: str, port: int, log: Path) -> None:
    """Let what a kubelet would be asked about the pod lead to this machine's process and file."""
    for node in get(cluster, namespace, "nodes")["items"]:
        # Where the kwok controller listens, which answers in the place of every kubelet.
        here = {"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}}
        change = ("--subresource=status", "--type=merge", "-p", json.dumps(here))
        cluster.run_kubectl("patch", "node", node["metadata"]["name"], *change)
    kwok = {"apiVersion": "kwok.x-k8s.io/v1alpha1", "metadata": {"name": pod, "namespace": namespace}}
    forward = {"forwards": [{"target": {"address": "127.0.0.1", "port": port}}]}
    logs = {"logs": [{"logsFile": os.fspath(log), "follow": True}]}
    for kind, spec in {"PortForward": forward, "Logs": logs}.items():
        cluster.apply(json.dumps({**kwok, "kind": kind, "spec": spec}))
