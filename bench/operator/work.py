"""What is worked on: pipelines in a namespace of a cluster that nothing else uses. `ours` and `limit` share it."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.dispatcher.processes import ROOT
from bench.operator.api import Api
from notification_dispatcher.variables import Variable
from notification_operator.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    NAMESPACE,
    PIPELINE,
    PROMETHEUS,
    PROMETHEUS_RULE,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    SERVICE_MONITOR,
)
from notification_operator.naming import OPERATOR, PIPELINE_LABEL
from notification_operator.resources.base import Context
from tests.cluster import Cluster, install_crds, install_prometheus_crds, remove, running_cluster
from tests.controller import accounts
from tests.controller.pipelines import manifest

NAME = "bench"
"""The namespace."""
ACCOUNT = OPERATOR
"""The operator's account there."""
EACH = 8
"""Children of each of these pipelines, a ConfigMap of settings and one of the dashboard among them."""
KINDS = (SERVICE_ACCOUNT, CONFIG_MAP, SECRET, SERVICE, DEPLOYMENT, SERVICE_MONITOR, PROMETHEUS_RULE)
"""Their kinds."""
IMAGE = "plannivo/notification-dispatcher:bench"
_WEBHOOK = b"https://hooks.slack.example/services/a"

CONTEXT = Context(IMAGE, slack_alerts={Variable.SLACK_ALERT_WEBHOOK_URL.value: _WEBHOOK})


@contextmanager
def cluster_with(pipelines: int, folder: Path) -> Iterator[Cluster]:
    """A new cluster with so many pipelines, which nobody has looked at yet."""
    try:
        with running_cluster(folder) as cluster:
            install_crds(cluster, sorted((ROOT / "crds").glob("*.yaml")))
            install_prometheus_crds(cluster)
            asyncio.run(_fill(cluster, pipelines))
            accounts.install(cluster, NAME, NAME)
            yield cluster
    finally:
        remove(folder)


async def _fill(cluster: Cluster, pipelines: int) -> None:
    async with Api(cluster.kubeconfig, connections=16) as api:
        await api.create(NAMESPACE, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}})
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "slack"}}
        await api.create(SECRET, NAME, {**secret, "data": {"url": b64encode(_WEBHOOK).decode()}})
        # Who scrapes: else each pipeline would get a warning, and an event about it.
        prometheus = {"apiVersion": PROMETHEUS.api_version, "kind": PROMETHEUS.name, "metadata": {"name": "all"}}
        everything = {"serviceMonitorSelector": {}, "serviceMonitorNamespaceSelector": {}}
        await api.create(PROMETHEUS, NAME, {**prometheus, "spec": everything})
        names = iter(f"pipeline-{number:04}" for number in range(pipelines))

        async def some() -> None:
            for name in names:
                await api.create(PIPELINE, NAME, manifest(name))

        async with asyncio.TaskGroup() as group:
            for _ in range(16):
                group.create_task(some())


async def children(api: Api) -> int:
    """How many children there are."""
    return sum([len(await api.names(kind, NAME, PIPELINE_LABEL)) for kind in KINDS])
