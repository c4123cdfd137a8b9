"""Installs custom resource definitions into a test cluster: the project's own, the Prometheus operator's, KEDA's,
CloudNativePG's.

Called by conftest, by the demo and by tests. Other projects' come from their pinned Go modules. Nothing acts on their
objects: that takes the operators themselves.
"""

from collections.abc import Iterable
from pathlib import Path

from tests.cluster import binaries
from tests.cluster.binaries import Places
from tests.cluster.catalog import CLOUDNATIVE_PG, KEDA, PROMETHEUS_OPERATOR
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
    return _definitions(sources / "example" / "prometheus-operator-crd", f"{GROUP}_*.yaml")


def keda_crds() -> list[Path]:
    """Return the files of those of KEDA's definitions that the operator knows."""
    sources = binaries.module_dir("keda", KEDA, Places.from_environment(), Progress())
    return _definitions(sources / "config" / "crd" / "bases", "keda.sh_[st]*.yaml")


def cloudnative_pg_crds() -> list[Path]:
    """Return the file of CloudNativePG's definition of a Cluster."""
    sources = binaries.module_dir("cloudnative-pg", CLOUDNATIVE_PG, Places.from_environment(), Progress())
    return _definitions(sources / "config" / "crd" / "bases", "postgresql.cnpg.io_clusters.yaml")


def _definitions(folder: Path, pattern: str) -> list[Path]:
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise ClusterError(f"there are no definitions where they used to be: see {folder}.")
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
    # A definition that is so new that it has no conditions at all is one that kubectl can't wait for a condition of.
    for name in names:
        plural = name.partition("/")[2].partition(".")[0]
        accepted = f"--for=jsonpath={{.status.acceptedNames.plural}}={plural}"
        cluster.run_kubectl("wait", accepted, f"--timeout={ESTABLISHED_SECONDS}s", name)
    cluster.run_kubectl("wait", "--for=condition=Established", f"--timeout={ESTABLISHED_SECONDS}s", *names)


_RESOURCE = "customresourcedefinition.apiextensions.k8s.io"


def _crd_name(path: Path) -> str:
    return f"{path.stem.removeprefix(f'{GROUP}_')}.{GROUP}"
