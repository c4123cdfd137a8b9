"""Fixtures of the deployment's tests: `helm`, without a cluster, and a cluster that has never seen the operator."""

from collections.abc import Iterator

import pytest

from tests.cluster import Cluster, Mode, install_prometheus_crds, remove, running_cluster
from tests.cluster.locks import private_dir
from tests.cluster.progress import Progress
from tests.controller.pipelines import slack_secret
from tests.deploy.helm import NAME, ROOT, Helm

TEAM = "booking"
"""A namespace of people who make pipelines."""
_NAMESPACES = (NAME, TEAM, "school")


@pytest.fixture(scope="session")
def helm() -> Helm:
    """helm, for what needs no cluster."""
    return Helm()


@pytest.fixture(scope="package")
def platform() -> Iterator[Cluster]:
    """A cluster as a platform team has it: the Prometheus operator's definitions, and restricted namespaces.

    Of its own, since a definition belongs to a whole cluster: here it is installed, upgraded and removed.
    """
    with private_dir(ROOT / "build" / "platform-cluster", remove, Progress()) as folder:
        try:
            with running_cluster(folder, Mode.KWOK) as running:
                install_prometheus_crds(running)
                for name in _NAMESPACES:
                    running.create_restricted_namespace(name)
                slack_secret(running, TEAM)
                yield running
        finally:
            remove(folder)
