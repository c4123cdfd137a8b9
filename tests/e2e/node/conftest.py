"""Fixtures of the tests on a real node: images loaded, a caller and a receiver, the operator installed by its chart.

All of it stands for the whole session: what a test changes is a pipeline of its own, or is told in its name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.binaries import Places, ensure
from tests.cluster.catalog import MONITORING
from tests.cluster.progress import Progress
from tests.deploy.helm import CHART, NAME, Helm
from tests.e2e.node.world import World, python
from tests.images import Archive, program_image
from tests.node import RealCluster

MANIFESTS = Path(__file__).with_name("monitoring.yaml")


@pytest.fixture(scope="session")
def world(real_cluster: RealCluster, product_archives: list[Archive]) -> World:
    """The cluster with the product's images, a receiver of notifications and a caller that sends them."""
    made = World(real_cluster)
    for image in product_archives:
        real_cluster.node.load(image)
    made.cluster.create_restricted_namespace("clients")
    made.apply("clients", *python("receiver", "receiver.py", ready=True), *python("caller", "caller.py", ready=False))
    for name in ("receiver", "caller"):
        made.rolled_out("clients", "deployment", name)
    return made


@pytest.fixture(scope="session")
def installed(world: World) -> World:
    """The world with the operator in it, in a namespace of its own, as the chart installs it."""
    world.cluster.create_restricted_namespace(NAME)
    try:
        Helm(world.cluster).run("upgrade", "--install", NAME, CHART, "--namespace", NAME)
    finally:
        world.rolled_out(NAME, "deployment", NAME)
    return world


@pytest.fixture(scope="session")
def monitored(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The world with the Prometheus operator and a Prometheus in it."""
    programs = ensure(MONITORING, Places.from_environment(), Progress())
    for name, program in programs.items():
        folder = tmp_path_factory.mktemp(name)
        image = program_image(f"docker.io/plannivo-test/{name}:test", {f"/bin/{name}": program}, folder)
        world.real.node.load(image)
        image.path.unlink()
    world.cluster.create_restricted_namespace("monitoring")
    world.cluster.run_kubectl("-n", "monitoring", "apply", "--server-side", "-f", str(MANIFESTS))
    return world
