"""What the demo runs on: a private cluster, the operator and the dispatcher as processes, and receivers.

`stage` brings everything up and takes everything down again, whatever happens in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import Cluster, ensure_cluster, install_crds, install_prometheus_crds
from tests.cluster.errors import ClusterError
from tests.operator_process import OperatorProcess
from tests.pod import Pod
from tests.receivers import Receivers

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "plannivo-demo"
PIPELINE = "booking"


@dataclass(slots=True)
class Stage:
    """Everything that the demo's steps need."""

    folder: Path
    cluster: Cluster
    receivers: Receivers
    operator_log: Path
    stack: AsyncExitStack = field(repr=False)
    pod: Pod | None = None

    async def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Run kubectl in the demo's namespace."""
        return await asyncio.to_thread(self.cluster.run_kubectl, "-n", NAMESPACE, *args, stdin=stdin)

    async def start_dispatcher(self) -> Pod:
        """Run the Deployment's container, until the stage is taken down."""
        pod = await asyncio.to_thread(Pod, self.cluster, NAMESPACE, PIPELINE, self.folder / "pod")
        self.stack.push_async_callback(pod.stop)
        await pod.start()
        self.pod = pod
        return pod


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """The demo's stage; what it needs lies in the folder."""
    shutil.rmtree(folder / "pod", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        cluster = await asyncio.to_thread(ensure_cluster, folder)
        stack.push_async_callback(_end, cluster)
        await asyncio.to_thread(install_crds, cluster, sorted((ROOT / "crds").glob("*.yaml")))
        await asyncio.to_thread(install_prometheus_crds, cluster)
        await asyncio.to_thread(_namespace, cluster)
        receivers = await stack.enter_async_context(Receivers())
        log = folder / "operator.log"
        log.unlink(missing_ok=True)
        operator = OperatorProcess(cluster, NAMESPACE, log, level="debug")
        stack.push_async_callback(asyncio.to_thread, operator.stop)
        await asyncio.to_thread(operator.start)
        yield Stage(folder, cluster, receivers, log, stack)


async def _end(cluster: Cluster) -> None:
    """A cluster of our own goes; in one of the user's own, only what the demo made goes."""
    if cluster.started_here:
        await asyncio.to_thread(cluster.stop)
    else:
        await asyncio.to_thread(cluster.run_kubectl, "delete", "namespace", NAMESPACE, "--wait=false")


def _namespace(cluster: Cluster) -> None:
    """A namespace without anything of an earlier run."""
    with contextlib.suppress(ClusterError):
        cluster.run_kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=60s")
    cluster.run_kubectl("create", "namespace", NAMESPACE)
