"""What the operator is told at its start, read once by `__main__` and handed down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from notification_operator import __version__
from notification_operator.naming import OPERATOR

ENVIRONMENT_PREFIX = "NOTIFICATION_OPERATOR"
DEFAULT_IMAGE = f"plannivo/notification-dispatcher:{__version__}"
RESYNC_SECONDS = 600.0
REQUEST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings; each is a flag of `run` and an environment variable."""

    kubeconfig: Path | None = None
    """File to reach the cluster with; None: KUBECONFIG, ~/.kube/config, or the pod's own account."""

    namespaces: tuple[str, ...] = ()
    """Namespaces whose pipelines are reconciled; none named: all of them."""

    dispatcher_image: str = DEFAULT_IMAGE
    """Image of the dispatcher for pipelines that name none."""

    http_host: str = "0.0.0.0"  # noqa: S104  the kubelet and Prometheus come from outside the pod
    """Address of the probes and metrics."""

    http_port: int = 8080
    """Port of the probes and metrics; 0 lets the system choose."""

    workers: int = 8
    """Reconciliations at once. Each waits on the API server most of the time."""

    resync_seconds: float = RESYNC_SECONDS
    """Every pipeline is looked at again after this time, whether or not anything was seen to change."""

    request_seconds: float = REQUEST_SECONDS
    """An API request that has had no answer for this time is given up, and made again."""

    leader_elect: bool = False
    """Write only while holding the Lease, so that several operators can run."""

    lease_namespace: str = ""
    """Namespace of the Lease; needed for the election."""

    lease_name: str = OPERATOR
    """Name of the Lease. Operators that look after different namespaces need different ones, or Leases apart."""
