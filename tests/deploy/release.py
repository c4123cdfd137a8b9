"""The chart as a release of a test cluster, and what one of its pods would run: pods are fake there."""

from __future__ import annotations

from pathlib import Path

from notification_operator.group import PIPELINE_LABEL
from notification_operator.kinds import CHILDREN, SCALED_OBJECT, TRIGGER_AUTHENTICATION
from tests import in_pod
from tests.cluster import Cluster
from tests.controller.pipelines import eventually
from tests.deploy.helm import NAME, Helm
from tests.operator_process import OperatorProcess

DEFINITION = "notificationpipelines.notifications.plannivo.io"
WAIT = ("--wait", "--timeout", "100s")
COLLECTED_SECONDS = 100.0
"""The garbage collector looks for new and lost definitions each half minute, and stands still until it has listed all
kinds anew: only then does it take what a pipeline has left."""
_CHILDREN = ",".join(
    f"{kind.plural}.{kind.group}".rstrip(".")
    for kind in CHILDREN
    if kind not in (SCALED_OBJECT, TRIGGER_AUTHENTICATION)
)
"""Those that are served without KEDA."""


def install(helm: Helm, chart: Path, *args: str) -> None:
    """Install the chart, or upgrade to it."""
    helm.run("upgrade", "--install", NAME, chart, "--namespace", NAME, *WAIT, *args)


def remove_release(helm: Helm, cluster: Cluster) -> None:
    """Leave nothing of it, not even the definition, nor a pipeline's children."""
    if cluster.run_kubectl("get", "crd", DEFINITION, "--ignore-not-found"):
        # First, and to the end: children whose owners' definition is gone are not collected, and would meet the next.
        cluster.run_kubectl("delete", DEFINITION, "--all", "--all-namespaces")
        listing = ("get", _CHILDREN, "--all-namespaces", "-l", PIPELINE_LABEL, "-o", "name")
        eventually(lambda: not cluster.run_kubectl(*listing).strip(), "no child is left", COLLECTED_SECONDS)
        cluster.run_kubectl("delete", "crd", DEFINITION)
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
