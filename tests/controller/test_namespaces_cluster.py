"""One operator for several namespaces: what it may not see in one of them holds nothing up in another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notification_operator.permissions import WITH_PIPELINES
from tests.cluster import Cluster, install_crds
from tests.cluster.crds import keda_crds
from tests.controller.accounts import account, grant
from tests.controller.pipelines import POSTGRESQL, apply, condition, eventually, get, manifest
from tests.operator_process import OperatorProcess

RULES = [rule for permission in WITH_PIPELINES for rule in permission.rules()]


@pytest.fixture
def keda(cluster: Cluster) -> Iterator[None]:
    install_crds(cluster, keda_crds())
    yield
    cluster.run_kubectl("delete", *(part for path in keda_crds() for part in ("-f", str(path))))


@pytest.fixture
def closed(cluster: Cluster, namespace: str) -> Iterator[str]:
    """Another namespace, of which the first one's operator may see the pipelines alone."""
    name = f"{namespace}-closed"
    cluster.run_kubectl("create", "namespace", name)
    try:
        resource = "notificationpipelines.notifications.plannivo.io"
        role = ("create", "role", "operator", "--verb=get,list,watch", f"--resource={resource}")
        cluster.run_kubectl("-n", name, *role)
        bind = ("create", "rolebinding", "operator", "--role=operator", f"--serviceaccount={namespace}:operator")
        cluster.run_kubectl("-n", name, *bind)
        yield name
    finally:
        cluster.run_kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.usefixtures("keda")
def test_a_namespace_that_may_not_be_seen_holds_no_other_up(
    cluster: Cluster, namespace: str, closed: str, tmp_path: Path
) -> None:
    kubeconfig = account(cluster, namespace, tmp_path)
    grant(cluster, namespace, *RULES)
    create = ("create", "secret", "generic", "database", "--from-literal=uri=postgresql://u:p@db/jobs")
    cluster.run_kubectl("-n", namespace, *create)
    operator = OperatorProcess(
        cluster, namespace, tmp_path / "operator.log", options=("--namespace", closed), kubeconfig=kubeconfig
    )
    with operator:
        apply(cluster, namespace, manifest(**POSTGRESQL, autoscaling={"minReplicas": 2}, alerts={}))

        def judged(kind: str, reason: str) -> dict[str, Any] | None:
            found = condition(get(cluster, namespace, "npl", "booking"), kind)
            return found if found.get("reason") == reason else None

        eventually(lambda: judged("ResourcesApplied", "Applied"), "it is known that there is KEDA")
        assert get(cluster, namespace, "scaledobject/booking")
