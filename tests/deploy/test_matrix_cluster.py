"""The chart with every pair of choices: valid for the API server, strictly, and without findings that aren't meant."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import Cluster
from tests.controller.pipelines import eventually
from tests.deploy import findings, schemas
from tests.deploy.helm import NAME, Helm, parsed, program
from tests.deploy.matrix import rows

pytestmark = [pytest.mark.cluster, pytest.mark.helm]

ROWS = rows()
MONITORING = "com.coreos.monitoring.v1.ServiceMonitor"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """A file for each row. The definition takes most of the time and is always the same: only the first has it."""
    folder = tmp_path_factory.mktemp("rendered")
    paths = [folder / f"row-{number:02}.yaml" for number in range(len(ROWS))]
    for path, values in zip(paths, ROWS, strict=True):
        path.write_text(Helm().template(values if values is ROWS[0] else {**values, "crds": {"install": False}}))
    return paths


def test_every_object_is_of_its_schema_and_nothing_besides(
    platform: Cluster, rendered: Sequence[Path], tmp_path: Path
) -> None:
    def published() -> Mapping[str, Any] | None:
        found: Mapping[str, Any] = json.loads(platform.run_kubectl("get", "--raw", "/openapi/v2"))
        return found if MONITORING in found["definitions"] else None

    kinds = {(one["apiVersion"], one["kind"]) for path in rendered for one in parsed(path.read_text())}
    schemas.write(eventually(published, "the definitions are published"), kinds, tmp_path)
    location = f"{tmp_path}/{schemas.LOCATION}"
    command = [program("kubeconform"), "-strict", "-summary", "-output", "json", "-schema-location", location]
    answer = subprocess.run([*command, *map(str, rendered)], capture_output=True, text=True, check=False)
    said = json.loads(answer.stdout)
    assert not said["resources"]
    assert said["summary"] == {"valid": said["summary"]["valid"], "invalid": 0, "errors": 0, "skipped": 0}
    assert said["summary"]["valid"] >= 10 * len(ROWS)


def test_kube_score_and_checkov_find_what_is_meant_and_nothing_else(rendered: Sequence[Path]) -> None:
    checkov = findings.checkov(rendered[0].parent)
    for path, values in zip(rendered, ROWS, strict=True):
        assert findings.kube_score(path) | checkov[path.name] == findings.meant(values), values


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_the_api_server_takes_it_where_the_restricted_standard_is_enforced(
    platform: Cluster, rendered: Sequence[Path], number: int
) -> None:
    text = rendered[number].read_text()
    # What enforces the standard looks at pods.
    template = next(one for one in parsed(text) if one["kind"] == "Deployment")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "operator", "namespace": NAME}}
    pod["spec"].pop("serviceAccountName")
    dry_run = ("apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "-f", "-")
    platform.run_kubectl(*dry_run, stdin=f"{text}---\n{yaml.safe_dump(pod)}")
