"""The chart on a cluster that has never seen it: installed, upgraded and uninstalled by helm, beside a real operator.

The pods are fake; what they would run runs here, with the arguments of the Deployment and the account of the release.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notification_operator import crd
from notification_operator.naming import TEMPLATE_ANNOTATION
from tests.cluster import Cluster, environment
from tests.controller.pipelines import apply, eventually, get, manifest, ready
from tests.deploy.conftest import TEAM
from tests.deploy.helm import CHART, NAME, ROOT, Helm, HelmError
from tests.deploy.release import COLLECTED_SECONDS, DEFINITION, WAIT, install, operator, remove_release

pytestmark = [pytest.mark.cluster, pytest.mark.helm]

CRD = ("CustomResourceDefinition", "", DEFINITION)
PINNED = {"image": "registry.example.com/dispatcher:1"}
_DERIVED = {
    "events",
    "events.events.k8s.io",
    "apiservices.apiregistration.k8s.io",
    "ipaddresses.networking.k8s.io",
}
"""What the cluster makes of other objects by itself."""

Inventory = set[tuple[str, str, str]]
"""Kind, namespace and name."""


@pytest.fixture
def cluster_helm(platform: Cluster) -> Iterator[Helm]:
    """helm on it. Nothing of the test is left behind."""
    yield Helm(platform)
    remove_release(Helm(platform), platform)


def inventory(cluster: Cluster) -> Inventory:
    """Everything that the cluster has."""
    listed = set(cluster.run_kubectl("api-resources", "--verbs=list", "-o", "name").split())
    names = ",".join(sorted(listed - _DERIVED))
    line = '{range .items[*]}{.kind}|{.metadata.namespace}|{.metadata.name}{"\\n"}{end}'
    found = [line.split("|") for line in cluster.run_kubectl("get", names, "-A", "-o", f"jsonpath={line}").splitlines()]
    return {(kind, namespace, name) for kind, namespace, name in found}


def test_uninstalling_leaves_what_people_made_and_the_definition(
    platform: Cluster, cluster_helm: Helm, tmp_path: Path
) -> None:
    before = inventory(platform)
    install(cluster_helm, CHART)
    own = inventory(platform) - before
    assert {("Deployment", NAME, NAME), ("Lease", NAME, NAME), CRD} <= own
    assert {namespace for _, namespace, _ in own} == {NAME, ""}
    assert len([one for one in own if one[0] == "Pod"]) == 2
    with operator(platform, tmp_path) as running:
        apply(platform, TEAM, manifest("booking"))
        eventually(lambda: get(platform, TEAM, "deployment", "booking"), "its dispatchers")
        made = {one for one in inventory(platform) if one[1] == TEAM} - before
        cluster_helm.run("uninstall", NAME, "--namespace", NAME, *WAIT)
        running.stop()
    assert {one[0] for one in made} >= {"NotificationPipeline", "Deployment", "Service", "ConfigMap"}

    def left() -> Inventory:
        return inventory(platform) - before

    eventually(lambda: {one for one in left() if one[1] != TEAM} == {CRD}, "all of the release is gone")
    assert {one for one in made if one[0] != "Pod"} <= left()
    platform.run_kubectl("-n", TEAM, "delete", "npl", "booking")
    eventually(lambda: left() == {CRD}, "the pipeline's children go, though no operator runs", COLLECTED_SECONDS)


def test_an_upgrade_brings_the_definition_and_leaves_pipelines_alone(
    platform: Cluster, cluster_helm: Helm, tmp_path: Path
) -> None:
    install(cluster_helm, previous_chart(tmp_path), "--set", "resyncSeconds=300")
    with operator(platform, tmp_path):
        apply(platform, TEAM, manifest("pinned", **PINNED))
        apply(platform, TEAM, manifest("booking"))
        for name in ("pinned", "booking"):
            ready(platform, TEAM, name)
        before = snapshot(platform)
        install(cluster_helm, CHART, "--reset-then-reuse-values", "--set", "requestTimeoutSeconds=20")
    assert definition(platform) == wanted_definition()
    assert {"--resync=300", "--request-timeout=20"} <= set(container(platform, NAME, NAME)["args"])
    with operator(platform, tmp_path) as upgraded:
        eventually(upgraded.leads, "the new one works")
        image = f"plannivo/notification-dispatcher:{chart_version(CHART)}"
        eventually(lambda: container(platform, TEAM, "booking")["image"] == image, "it looked at its pipelines")
        ready(platform, TEAM, "booking")
        after = snapshot(platform)
    assert after == before


def test_for_one_namespace_it_works_without_a_right_anywhere_else(
    platform: Cluster, cluster_helm: Helm, tmp_path: Path
) -> None:
    before = inventory(platform)
    install(cluster_helm, CHART, "--set", f"watch.namespaces={{{TEAM}}}", "--set", "rbac.aggregate=false")
    assert {one for one in inventory(platform) - before if not one[1]} == {CRD}
    for namespace in (TEAM, "school"):
        apply(platform, namespace, manifest("booking"))
    with operator(platform, tmp_path) as running:
        ready(platform, TEAM, "booking")
        assert not running.refusals()
    assert "status" not in get(platform, "school", "npl", "booking")


def test_what_helm_says_next_can_be_typed_as_it_stands(platform: Cluster, cluster_helm: Helm, tmp_path: Path) -> None:
    install(cluster_helm, CHART)
    notes = cluster_helm.run("get", "notes", NAME, "--namespace", NAME)
    commands = [block for block in notes.split("\n\n") if block.startswith("kubectl ")]
    assert len(commands) == 2
    with operator(platform, tmp_path):
        environment_of_people = {**environment(platform), "HOME": str(tmp_path)}
        for command in commands:
            subprocess.run(["bash", "-euc", command], env=environment_of_people, check=True)
        ready(platform, "default", "booking")


def test_a_definition_that_came_by_kubectl_can_be_handed_over(
    platform: Cluster, cluster_helm: Helm, tmp_path: Path
) -> None:
    older = (ROOT / "crds" / "notifications.plannivo.io_notificationpipelines.yaml").read_text()
    words = "What the pipeline should be."
    assert words in older
    platform.apply(older.replace(words, "What it should be."))
    with pytest.raises(HelmError, match="cannot be imported into the current release"):
        install(cluster_helm, CHART)
    install(cluster_helm, CHART, "--take-ownership", "--force-conflicts")
    assert definition(platform) == wanted_definition()


def previous_chart(folder: Path) -> Path:
    """The chart of the last release; before there is one, today's as an older one, with an older definition."""
    tags = git("tag", "--list", "v*", "--sort=-version:refname").split()
    if tags:
        archive = subprocess.run(
            ["git", "archive", tags[0], CHART.relative_to(ROOT)], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
        subprocess.run(["tar", "--extract", "--directory", folder], input=archive.stdout, check=True)
        return folder / CHART.relative_to(ROOT)
    chart = shutil.copytree(CHART, folder / "previous")
    replace(chart / "Chart.yaml", chart_version(CHART), "0.0.9")
    replace(chart / "templates" / "crds.yaml", "    categories:\n    - all\n", "")
    return chart


def git(*args: str) -> str:
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def chart_version(chart: Path) -> str:
    found = re.search(r"^version: (\S+)$", (chart / "Chart.yaml").read_text(), re.MULTILINE)
    assert found
    return found[1]


def definition(cluster: Cluster) -> dict[str, Any]:
    """What the cluster serves."""
    spec = cluster.get_json("crd", DEFINITION)["spec"]
    return {"names": spec["names"], "versions": spec["versions"]}


def wanted_definition() -> dict[str, Any]:
    spec = json.loads(json.dumps(crd.definition()))["spec"]
    return {"names": spec["names"], "versions": spec["versions"]}


def container(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """The one of a Deployment's pods."""
    found: dict[str, Any] = get(cluster, namespace, "deployment", name)["spec"]["template"]["spec"]["containers"][0]
    return found


def snapshot(cluster: Cluster) -> dict[tuple[str, str], Any]:
    """Pipelines as people wrote them, and their pods' templates, but for the image that comes with the operator."""
    found: dict[tuple[str, str], Any] = {}
    for kind in ("npl", "deployment"):
        for one in cluster.get_json(kind, "-n", TEAM)["items"]:
            spec, name = one["spec"], one["metadata"]["name"]
            found[kind, name] = spec
            if kind == "deployment" and name != "pinned":
                del spec["template"]["metadata"]["annotations"][TEMPLATE_ANNOTATION]
                del spec["template"]["spec"]["containers"][0]["image"]
            else:
                found[kind, f"{name}: generation"] = one["metadata"]["generation"]
    return found
