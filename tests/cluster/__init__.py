"""A real Kubernetes API server for the tests and the demo, on any machine: no Docker, no cluster of one's own.

`python -m tests.cluster up` starts one for a developer; tests take the `cluster` and `namespace` fixtures; other
programs call `ensure_cluster` or `running_cluster`.
"""

from tests.cluster.backends import Mode
from tests.cluster.cluster import Cluster, environment
from tests.cluster.crds import install_crds, install_prometheus_crds, prometheus_crds
from tests.cluster.errors import ClusterError, GoUnavailableError
from tests.cluster.state import ensure_cluster, remove, running_cluster

__all__ = [
    "Cluster",
    "ClusterError",
    "GoUnavailableError",
    "Mode",
    "ensure_cluster",
    "environment",
    "install_crds",
    "install_prometheus_crds",
    "prometheus_crds",
    "remove",
    "running_cluster",
]
