"""The definition of the pipelines comes later, goes, and comes back: the operator waits, says so, and works again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cluster import Cluster, Mode, install_crds
from tests.controller.pipelines import apply, eventually, manifest, ready, slack_secret
from tests.operator_process import OperatorProcess

CRDS = sorted((Path(__file__).parents[2] / "crds").glob("*.yaml"))
DEFINITION = "crd/notificationpipelines.notifications.plannivo.io"
NOTICED_SECONDS = 30.0
BOUNDED_SECONDS = 20.0


@pytest.fixture
def undefined(cluster: Cluster) -> Iterator[None]:
    """A cluster without the definition. It is there again afterwards."""
    if cluster.mode is Mode.CURRENT:
        pytest.skip("the definition takes every pipeline of the cluster with it")
    cluster.run_kubectl("delete", DEFINITION)
    try:
        yield
    finally:
        install_crds(cluster, CRDS)


def probe(operator: OperatorProcess, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{operator.port}/{path}", trust_env=False)


def waits_for_the_definition(operator: OperatorProcess) -> bool:
    answer = probe(operator, "readyz")
    return answer.status_code == 503 and "crds/" in answer.text


def test_it_waits_for_the_definition_and_survives_its_loss(
    cluster: Cluster, namespace: str, tmp_path: Path, undefined: None
) -> None:
    operator = OperatorProcess(cluster, namespace, tmp_path / "operator.log")
    process = operator.launch()
    try:
        eventually(lambda: "definition_absent" in operator.actions(), "it says what is missing")
        eventually(lambda: waits_for_the_definition(operator), "readiness says it too")
        before = operator.requests("GET", "WATCH")
        time.sleep(BOUNDED_SECONDS)  # nothing can be awaited: it is how little it asks
        # This API and KEDA's two kinds, each every ten seconds.
        assert operator.requests("GET", "WATCH") - before <= 9
        assert said(operator) == 1
        assert probe(operator, "healthz").is_success

        install_crds(cluster, CRDS)
        slack_secret(cluster, namespace)
        apply(cluster, namespace, manifest())
        eventually(operator.ready, "it goes on when the definition is there", NOTICED_SECONDS)
        ready(cluster, namespace)

        cluster.run_kubectl("delete", DEFINITION)
        eventually(lambda: waits_for_the_definition(operator), "it says that the definition is gone", NOTICED_SECONDS)
        assert said(operator) == 2
        assert probe(operator, "healthz").is_success, "no restart is needed"

        install_crds(cluster, CRDS)
        apply(cluster, namespace, manifest("later"))
        eventually(operator.ready, "it goes on again", NOTICED_SECONDS)
        ready(cluster, namespace, "later")
        assert process.poll() is None
    finally:
        assert operator.stop() == 0
    assert "Traceback" not in operator.log.read_text()


def said(operator: OperatorProcess) -> int:
    """How often it said that the pipelines' API is missing."""
    return operator.log.read_text().count("no NotificationPipeline API")
