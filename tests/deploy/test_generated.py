"""What is generated of `deploy/` is what is committed, and its versions are the project's."""

from __future__ import annotations

import tomllib

import yaml

from tests.deploy.generated import of_chart, of_kustomize
from tests.deploy.helm import CHART, ROOT, Helm


def test_the_charts_files_are_those_that_are_generated() -> None:
    changed = [path.name for path, text in of_chart().items() if path.read_text() != text]
    assert not changed, "run `make generate`"


def test_kustomizes_files_are_what_the_chart_renders(helm: Helm) -> None:
    changed = [path.name for path, text in of_kustomize().items() if path.read_text() != text]
    assert not changed, "run `make generate`"


def test_the_chart_has_the_projects_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (chart["version"], chart["appVersion"]) == (project["version"], project["version"])
