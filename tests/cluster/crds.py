"""Installs custom resource definitions into a test cluster: the project's own and the Prometheus operator's.

Called by conftest and by the demo. The Prometheus operator's come from its pinned Go module. Its alerts and scrapes
aren't evaluated by these: that takes the operator itself.
"""

from collections.abc import Iterable
from pathlib import Path

from tests.cluster import binaries
from tests.cluster.binaries import Places
from tests.cluster.catalog import PROMETHEUS_OPERATOR
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.progress import Progress

FIELD_MANAGER = "test-cluster"
ESTABLISHED_SECONDS = 60
GROUP = "monitoring.coreos.com"


def prometheus_crds(places: Places | None = None, progress: Progress | None = None) -> list[Path]:
    """Return the files of the Prometheus operator's definitions, one per kind."""
    found = places or Places.from_environment()
    sources = binaries.module_dir("prometheus-operator", PROMETHEUS_OPERATOR, found, progress or Progress())
    paths = sorted((sources / "example" / "prometheus-operator-crd").glob(f"{GROUP}_*.yaml"))
    if not paths:
        raise ClusterError(f"{PROMETHEUS_OPERATOR} has no definitions where they used to be: see {sources}.")
    return paths


def install_prometheus_crds(cluster: Cluster) -> None:
    """Install those of the Prometheus operator's definitions that the cluster lacks; it may have its own operator."""
    present = set(cluster.run_kubectl("get", "customresourcedefinitions", "-o", "name").split())
    missing = [path for path in prometheus_crds() if f"{_RESOURCE}/{_crd_name(path)}" not in present]
    install_crds(cluster, missing)


def install_crds(cluster: Cluster, paths: Iterable[Path]) -> None:
    """Apply definitions and wait until the API server serves them. Client-side apply can't: they are too large."""
    files = [part for path in paths for part in ("-f", str(path))]
    if not files:
        return
    apply = ("apply", "--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", *files, "-o", "name")
    names = cluster.run_kubectl(*apply).split()
    cluster.run_kubectl("wait", "--for=condition=Established", f"--timeout={ESTABLISHED_SECONDS}s", *names)


_RESOURCE = "customresourcedefinition.apiextensions.k8s.io"


def _crd_name(path: Path) -> str:
    return f"{path.stem.removeprefix(f'{GROUP}_')}.{GROUP}"
