"""A pipeline on PostgreSQL is scaled out and in under load, by `kubectl scale`: nothing is lost, nothing comes twice.

Operator, API server, scheduler, controllers, database and dispatchers are the real ones. Nodes are simulated, so the
test is their kubelet: it runs the container of each pod that the API server has, and ends it when the pod is to go.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.cluster import Cluster
from tests.controller.pipelines import POSTGRESQL, apply, manifest
from tests.faults.ledger import SEED, Ledger, Receiver, Sender
from tests.metrics import Scrape
from tests.operator_process import OperatorProcess
from tests.pod import Pod
from tests.postgres import PostgresServer

SECONDS = 120.0
PODS = ("pods", "-l", "notifications.plannivo.io/pipeline=booking", "-o", "json")


class Kubelet:
    """Runs the containers of a pipeline's pods, and is the Service's way to those that are ready."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self._cluster, self._namespace, self._folder = cluster, namespace, folder
        self.ready: dict[str, Pod] = {}
        self.codes: list[int] = []
        """The exit codes of those that were told to end."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Look after the pods while the block runs; end them with it."""
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._look(group), name="kubelet")
            try:
                yield
            finally:
                looking.cancel()
                await asyncio.gather(*[self._end(name) for name in list(self.ready)])

    async def _look(self, group: asyncio.TaskGroup) -> None:
        while True:
            wanted = await asyncio.to_thread(self._wanted)
            for name in wanted - self._tasks.keys():
                self._tasks[name] = group.create_task(self._begin(name), name=name)
            for name in self.ready.keys() - wanted:
                group.create_task(self._end(name), name=f"end of {name}")
            await asyncio.sleep(0.1)

    def _wanted(self) -> set[str]:
        listed = json.loads(self._cluster.run_kubectl("-n", self._namespace, "get", *PODS))["items"]
        return {
            pod["metadata"]["name"]
            for pod in listed
            if "deletionTimestamp" not in pod["metadata"] and pod["spec"].get("nodeName")
        }

    async def _begin(self, name: str) -> None:
        pod = Pod(self._cluster, self._namespace, "booking", self._folder / name, log_level="warning")
        await pod.start()
        self.ready[name] = pod

    async def _end(self, name: str) -> None:
        # First out of the Service, then told to end, as in a cluster; callers that are still on their way are answered.
        pod = self.ready.pop(name)
        self.codes.append(await pod.stop())

    def any(self, dice: random.Random) -> str:
        """Where the Service leads this time."""
        return dice.choice([pod.url for pod in self.ready.values()] or ["http://127.0.0.1:1"])


class Caller(Sender):
    """Posts to the Service."""

    def __init__(self, ledger: Ledger, choose: Callable[[], str]) -> None:
        super().__init__(ledger, choose(), "caller", random.Random(SEED))
        self._choose = choose

    async def post(self, client: httpx.AsyncClient, ids: list[str]) -> bool:
        client.base_url = httpx.URL(self._choose())
        return await super().post(client, ids)


async def until(look: Callable[[], object], expectation: str) -> None:
    try:
        async with asyncio.timeout(SECONDS):
            while not look():  # noqa: ASYNC110  the state is other processes'
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {SECONDS:g} s: {expectation}") from None


async def processed(pods: list[Pod]) -> list[float]:
    return [(await Scrape.of(pod.url)).total("notification_jobs_total", result="processed") for pod in pods]


async def test_out_and_in_again_under_load(
    cluster: Cluster, namespace: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    def scale(replicas: int) -> None:
        cluster.run_kubectl("-n", namespace, "scale", "npl/booking", f"--replicas={replicas}")

    def status() -> dict[str, Any]:
        found: dict[str, Any] = cluster.get_json("npl", "booking", "-n", namespace).get("status", {})
        return found

    ledger, dice = Ledger(), random.Random(SEED)
    kubelet = Kubelet(cluster, namespace, tmp_path / "pods")
    with OperatorProcess(cluster, namespace, tmp_path / "operator.log"):
        async with Receiver(ledger, dice).listening() as receiver, kubelet.working():
            dsn = f"--from-literal=uri={postgres.dsn}"
            await asyncio.to_thread(
                cluster.run_kubectl, "-n", namespace, "create", "secret", "generic", "database", dsn
            )
            spec = {**POSTGRESQL, "channels": [receiver.channel()], "alerts": {}, "replicas": 1}
            await asyncio.to_thread(apply, cluster, namespace, manifest(**spec))
            await until(lambda: len(kubelet.ready) == 1, "one dispatcher is ready")

            caller = Caller(ledger, lambda: kubelet.any(dice))
            calling = asyncio.create_task(caller.run(200), name="caller")
            await asyncio.to_thread(scale, 4)
            await until(lambda: len(kubelet.ready) == 4, "four are ready")
            delivered = len(ledger.delivered)
            await until(lambda: len(ledger.delivered) > delivered + 400, "they deliver")
            assert all(await processed(list(kubelet.ready.values()))), "each of them has a part in it"
            assert (await asyncio.to_thread(status))["ready"] == "4/4"

            await asyncio.to_thread(scale, 1)
            await until(lambda: len(kubelet.codes) == 3, "three have ended")
            delivered = len(ledger.delivered)
            await until(lambda: len(ledger.delivered) > delivered + 100, "the last one goes on")
            caller.stop()
            await calling
            await until(lambda: not ledger.lost, "all that was acknowledged is delivered")
        assert kubelet.codes == [0, 0, 0, 0]
    # Nobody was killed: so nothing may come twice.
    ledger.check(crashes=0)
