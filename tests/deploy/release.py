"""The chart as a release of a test cluster, and what one of its pods would run: pods are fake there."""

from __future__ import annotations

from pathlib import Path

from tests import in_pod
from tests.cluster import Cluster
from tests.deploy.helm import NAME, Helm
from tests.operator_process import OperatorProcess

DEFINITION = "notificationpipelines.notifications.plannivo.io"
WAIT = ("--wait", "--timeout", "100s")


def install(helm: Helm, chart: Path, *args: str) -> None:
    """Install the chart, or upgrade to it."""
    helm.run("upgrade", "--install", NAME, chart, "--namespace", NAME, *WAIT, *args)


def remove_release(helm: Helm, cluster: Cluster) -> None:
    """Leave nothing of it, not even the definition."""
    cluster.run_kubectl("delete", "crd", DEFINITION, "--ignore-not-found")
    if helm.run("list", "--namespace", NAME, "--short").strip():
        helm.run("uninstall", NAME, "--namespace", NAME)


def operator(cluster: Cluster, folder: Path) -> OperatorProcess:
    """What one of the release's pods would run, with the Deployment's arguments and the release's account."""
    deployment = cluster.get_json("deployment", NAME, "-n", NAME)
    command, *args = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert command == "run"
    options = [one for one in args if not one.startswith("--metrics-port")]
    account = in_pod.account(cluster, NAME, NAME, folder / "account")
    return OperatorProcess(cluster, None, folder / "operator.log", options=options, account=account)
