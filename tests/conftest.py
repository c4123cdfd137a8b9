"""Fixtures for tests that need a real API server: `cluster`, once per session, and `namespace`, one per test; and for
those that need a real PostgreSQL server: `postgres`, once per session. `real_cluster` is one whose node runs pods.

A test that asks for a cluster is marked `cluster`; `pytest -m "not cluster"` is the quick part. CLUSTER chooses what
they run against: see `python -m tests.cluster --help`.
"""

import functools
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster import Cluster, ClusterError, Mode, install_crds, install_prometheus_crds, remove, running_cluster
from tests.cluster.binaries import Places, ensure
from tests.cluster.catalog import CONTROL_PLANE, DEPLOYERS, MONITORING, NODE, WATCHERS
from tests.cluster.locks import private_dir
from tests.cluster.progress import Progress
from tests.images import Archive, choose, product_images
from tests.node import RealCluster, clean, lacking, real_cluster
from tests.postgres import PostgresServer, postgres_server

ROOT = Path(__file__).resolve().parents[1]
FAULTS = ROOT / "tests" / "faults"
SESSIONS = ROOT / "build" / "test-cluster"
NODES = ROOT / "build" / "test-node"


def pytest_configure() -> None:
    """Take Ctrl-C: what a script runs in the background ignores it, and so would all that the tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the cluster or helm and what breaks things, before -m is applied."""
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")
        if "helm" in getattr(item, "fixturenames", ()):
            item.add_marker("helm")
        if "node_here" in getattr(item, "fixturenames", ()):
            item.add_marker("node")
        if FAULTS in item.path.parents:
            item.add_marker("faults")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build missing binaries now: it takes minutes, and a test's time limit would count them."""
    items = getattr(session, "items", [])
    needed: set[str] = set()
    fixtures = {name for item in items for name in getattr(item, "fixturenames", ())}
    of_clusters = any(item.get_closest_marker("cluster") for item in items)
    # The platform's, and those that pages are followed on, are such clusters in every mode.
    if fixtures & {"platform", "bare", "inhabited"} or (of_clusters and Mode.from_environment() is Mode.KWOK):
        needed.update(CONTROL_PLANE)
    if any(item.get_closest_marker("prometheus") for item in items):
        needed.update(WATCHERS)
    if any(item.get_closest_marker("helm") for item in items):
        needed.update(DEPLOYERS)
    if "toxiproxy" in fixtures:
        needed.add("toxiproxy-server")
    if "actionlint" in fixtures:
        needed.add("actionlint")
    on_node = any(item.get_closest_marker("node") for item in items) and _no_node() is None
    if on_node:
        needed.update({*MONITORING, "helm"})
        needed.update({*CONTROL_PLANE, *NODE} if Mode.from_environment() is Mode.KWOK else ())
    if not needed or session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    # What fails here fails again where the first test asks for it, and is reported there.
    with capture.global_and_fixture_disabled(), suppress(ClusterError):
        ensure(sorted(needed), Places.from_environment(), Progress())
        if on_node and any("product_archives" in getattr(item, "fixturenames", ()) for item in items):
            _product_archives()


def _no_node() -> str | None:
    return lacking(Mode.from_environment(), Places.from_environment())


@functools.cache
def _product_archives() -> list[Archive]:
    return product_images(ROOT / "build" / "images", choose(Places.from_environment(), Progress()))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster of this session's own, with the project's and the Prometheus operator's definitions installed."""
    with private_dir(SESSIONS, remove, Progress()) as folder:
        try:
            with running_cluster(folder) as running:
                install_crds(running, sorted((ROOT / "crds").glob("*.yaml")))
                install_prometheus_crds(running)
                yield running
        finally:
            remove(folder)


@pytest.fixture(scope="session")
def node_here() -> None:
    """Whether pods can run: where not, say so; a machine that is there to run everything doesn't leave that out."""
    if reason := _no_node():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"No pods ran: {reason}")


@pytest.fixture(scope="session", name="real_cluster")
def _real_cluster(node_here: None) -> Iterator[RealCluster]:
    """A cluster of this session's own on whose node pods run, with the same definitions of the Prometheus operator."""
    with private_dir(NODES, _forget, Progress()) as folder:
        try:
            with real_cluster(folder, Mode.from_environment(), Places.from_environment(), Progress()) as running:
                install_prometheus_crds(running.cluster)
                yield running
        finally:
            _forget(folder)


def _forget(folder: Path) -> None:
    clean(folder)
    remove(folder)


@pytest.fixture(scope="session")
def product_archives() -> list[Archive]:
    """The product's images as they would be released."""
    return _product_archives()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this session's own."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of this test's own; its deletion isn't waited for."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    cluster.run_kubectl("create", "namespace", name)
    # Pods are refused until the controller manager has made it.
    cluster.run_kubectl("-n", name, "wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    yield name
    cluster.run_kubectl("delete", "namespace", name, "--wait=false")
