"""What the operator may write and not list: it says that it doesn't know, and what it said last stays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from notification_operator.kinds import DEPLOYMENT, SERVICE_MONITOR
from tests.cluster import Cluster
from tests.controller.accounts import account, grant
from tests.controller.pipelines import apply, condition, eventually, get, manifest
from tests.controller.test_secret_permissions_cluster import FOLLOWED_SECONDS, RULES
from tests.operator_process import OperatorProcess

HIDDEN = {DEPLOYMENT.plural, SERVICE_MONITOR.plural}


def but_hidden(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rule without `list` and `watch` of what is to be hidden."""
    verbs = [verb for verb in rule["verbs"] if verb not in ("list", "watch")]
    hidden = [resource for resource in rule["resources"] if resource in HIDDEN]
    others = [resource for resource in rule["resources"] if resource not in HIDDEN]
    parts = ({**rule, "resources": others}, {**rule, "resources": hidden, "verbs": verbs})
    return [part for part in parts if part["resources"] and part["verbs"]]


def judged(cluster: Cluster, namespace: str, kind: str, status: str) -> dict[str, Any] | None:
    """A condition, once it has this status."""
    found = condition(get(cluster, namespace, "npl", "booking"), kind)
    return found if found.get("status") == status else None


def test_what_cannot_be_listed_is_unknown_and_not_amiss(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    kubeconfig = account(cluster, namespace, tmp_path)
    grant(cluster, namespace, *RULES)
    with OperatorProcess(cluster, namespace, tmp_path / "operator.log", kubeconfig=kubeconfig) as operator:
        apply(cluster, namespace, manifest(alerts={}))
        eventually(lambda: judged(cluster, namespace, "Ready", "True"), "it is ready")
        ready = get(cluster, namespace, "npl", "booking")["status"]["ready"]

        operator.stop()
        grant(cluster, namespace, *(part for rule in RULES for part in but_hidden(rule)))
        operator.start()
        said = eventually(lambda: judged(cluster, namespace, "Ready", "Unknown"), "it isn't known whether it is ready")
        assert said["reason"] == "StatusUnknown"
        assert "deployments" in said["message"]
        found = get(cluster, namespace, "npl", "booking")
        assert condition(found, "DispatcherAvailable")["message"] == said["message"]
        assert condition(found, "ResourcesApplied")["status"] == "True"
        assert "The ServiceMonitor cannot be seen" in condition(found, "MonitoringSelected")["message"]
        assert found["status"]["ready"] == ready

        grant(cluster, namespace, *RULES)
        eventually(lambda: judged(cluster, namespace, "Ready", "True"), "it heals", FOLLOWED_SECONDS)
