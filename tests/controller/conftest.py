"""The operator as a process on the test cluster, and a pipeline that it has brought to Ready."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.controller.pipelines import apply, manifest, ready, slack_secret
from tests.operator_process import OperatorProcess


@pytest.fixture
def operator(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    with OperatorProcess(cluster, namespace, tmp_path / "operator.log") as running:
        yield running


@pytest.fixture
def booking(cluster: Cluster, namespace: str, operator: OperatorProcess) -> dict[str, Any]:
    """A pipeline with everything it needs, Ready."""
    slack_secret(cluster, namespace)
    apply(cluster, namespace, manifest())
    return ready(cluster, namespace)
