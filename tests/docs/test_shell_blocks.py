"""The shell blocks of README and docs run as they stand; the few that don't say why.

On a real API server, with helm, the operator, and dispatchers as processes: nodes are simulated, so `forward` stands in
for `kubectl port-forward`, and no pod has a log.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from notification_operator.naming import PIPELINE_LABEL
from tests.cluster import Cluster, Mode, install_crds, install_prometheus_crds, remove, running_cluster
from tests.cluster.locks import private_dir
from tests.cluster.progress import Progress
from tests.controller.pipelines import POSTGRESQL, apply, eventually, manifest, ready, slack_secret
from tests.debian import program
from tests.docs.pages import PAGES, ROOT, blocks
from tests.docs.shell import Surroundings, left_out
from tests.faults.tools import installed
from tests.observability.servers import alertmanager, built
from tests.operator_process import OperatorProcess

NAMESPACE = "plannivo"
READ = [page for page in PAGES if page == ROOT / "README.md" or ROOT / "docs" in page.parents]
RUN = [page for page in READ if len(list(blocks(page, "sh"))) > len(left_out(page))]
NOTHING_THERE = [ROOT / "README.md", ROOT / "docs" / "install.md"]
"""Pages that begin with nothing but a cluster."""
OPERATORS = ROOT / "docs" / "runbooks" / "operator"
RELEASED = [
    ROOT / "docs" / "upgrade.md",
    ROOT / "docs" / "security.md",
    *(one for one in RUN if OPERATORS in one.parents),
]
"""Pages that begin where the one about installing ends."""
ON_POSTGRESQL = {ROOT / "docs" / "scaling.md"}
LEFT_OUT = 10

page_ids: dict[str, Any] = {"ids": lambda page: str(page.relative_to(ROOT))}
pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.prometheus]


def test_few_are_left_out_and_each_says_why() -> None:
    found = [block for page in READ for block in left_out(page)]
    assert len(found) <= LEFT_OUT, [block.place for block in found]
    assert all(len(block.remark) > 20 for block in found)
    run = sum(len(list(blocks(page, "sh"))) for page in READ) - len(found)
    assert run > 3 * len(found)


@contextmanager
def own_cluster(name: str) -> Iterator[Cluster]:
    """One that nobody else installs anything on."""
    with private_dir(ROOT / "build" / f"docs-{name}", remove, Progress()) as folder:
        try:
            with running_cluster(folder, Mode.KWOK) as running:
                install_prometheus_crds(running)
                yield running
        finally:
            remove(folder)


@pytest.fixture(scope="module")
def programs() -> Mapping[str, Path]:
    """What pages take for installed."""
    if shutil.which("curl") is None:
        installed("curl")
    return {"helm": built("helm"), "amtool": program("prometheus-alertmanager", "amtool")}


@pytest.fixture(scope="module")
def silences(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an Alertmanager."""
    configuration = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
    with alertmanager(tmp_path_factory.mktemp("alertmanager") / "alertmanager", configuration) as running:
        yield running.url


# What installs the operator.


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster on which nothing of ours is installed, and what an installed operator's pods would run."""
    with own_cluster("bare") as running:
        operator = OperatorProcess(running, None, tmp_path_factory.mktemp("operator") / "operator.log")
        operator.launch()
        try:
            yield running
        finally:
            operator.stop()


# The one about installing is the last: it ends with an operator that helm knows nothing of.
@pytest.mark.parametrize("page", [NOTHING_THERE[0], *RELEASED, *NOTHING_THERE[1:]], **page_ids)
def test_a_page_about_the_operator_can_be_followed(
    page: Path, bare: Cluster, silences: str, programs: Mapping[str, Path], tmp_path: Path
) -> None:
    surroundings = Surroundings(tmp_path, bare, programs)
    surroundings.prepare(namespace="default", alertmanager=silences)
    if page in RELEASED:
        surroundings.run(next(blocks(ROOT / "docs" / "install.md", "sh")).text)
    else:
        surroundings.begin_anew()
    surroundings.follow(page)


# What is done with pipelines.


@pytest.fixture(scope="module")
def inhabited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with the operator, and a namespace for the pipelines that pages speak of."""
    with own_cluster("inhabited") as running:
        install_crds(running, sorted((ROOT / "crds").glob("*.yaml")))
        running.run_kubectl("create", "namespace", NAMESPACE)
        slack_secret(running, NAMESPACE)
        uri = "--from-literal=uri=postgresql://booking:secret@booking-database:5432/booking"
        running.run_kubectl("-n", NAMESPACE, "create", "secret", "generic", "database", uri)
        with OperatorProcess(running, None, tmp_path_factory.mktemp("operator") / "operator.log"):
            yield running


def clear(cluster: Cluster) -> None:
    """Delete all pipelines, and wait for what goes with them.

    The garbage collector learns of a kind that was just defined within half a minute.
    """
    cluster.run_kubectl("-n", NAMESPACE, "delete", "npl", "--all")
    children = ("-n", NAMESPACE, "get", "deploy,configmap", "-l", PIPELINE_LABEL, "-o", "name")
    eventually(lambda: not cluster.run_kubectl(*children), "nothing of the last page's pipelines is left", 90)


@pytest.mark.parametrize("page", [page for page in RUN if page not in {*NOTHING_THERE, *RELEASED}], **page_ids)
def test_a_page_about_pipelines_can_be_followed(
    page: Path, inhabited: Cluster, silences: str, programs: Mapping[str, Path], tmp_path: Path
) -> None:
    if any("kubectl" in block.text for block in blocks(page, "sh")):
        clear(inhabited)
        for name in ("booking", "booking-shared"):
            apply(inhabited, NAMESPACE, manifest(name, **(POSTGRESQL if page in ON_POSTGRESQL else {})))
            ready(inhabited, NAMESPACE, name)
    surroundings = Surroundings(tmp_path, inhabited, programs)
    surroundings.prepare(namespace=NAMESPACE, alertmanager=silences)
    surroundings.follow(page)
