"""The workflows of the public repository: sound, safe, and of the same make targets that developers use.

What runs nowhere but there can't be run here; linters that know it judge it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.binaries import Places, ensure
from tests.cluster.progress import Progress

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))


def run(*command: str | Path) -> None:
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.fixture
def actionlint() -> Path:
    return ensure(["actionlint"], Places.from_environment(), Progress())["actionlint"]


def test_actionlint_finds_nothing(actionlint: Path) -> None:
    # Without shellcheck and pyflakes: on one machine they would be there, on another not.
    run(actionlint, "-shellcheck=", "-pyflakes=", *WORKFLOWS)


def test_zizmor_finds_nothing() -> None:
    run(Path(sys.executable).with_name("zizmor"), "--offline", "--no-progress", "--persona=pedantic", FOLDER)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_a_commit_and_says_its_version(path: Path) -> None:
    used = re.findall(r"uses: (.+)$", path.read_text(), re.MULTILINE)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_a_release_has_the_files_that_are_meant_for_it() -> None:
    jobs = yaml.safe_load((FOLDER / "workflows" / "release.yml").read_text())["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]

    def of(action: str) -> list[dict[str, Any]]:
        return [step for step in steps if step.get("uses", "").startswith(f"{action}@")]

    uploaded = [step["with"]["name"] for step in of("actions/upload-artifact")]
    assert {name.partition("-${{")[0] for name in uploaded} == {"release-sbom", "release-chart", "release-wheel"}
    # The run has other artifacts: a build's record is one, unless it is told not to be.
    assert [step["with"]["pattern"] for step in of("actions/download-artifact")] == ["release-*"]
    assert [step["env"]["DOCKER_BUILD_RECORD_UPLOAD"] for step in of("docker/build-push-action")] == ["false"]
    [command] = [step["run"] for step in steps if "gh release create" in step.get("run", "")]
    assert "dist/*.tgz dist/*.whl dist/sbom-*.cdx.json crds/*.yaml" in command


def test_every_target_is_one_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = {target for path in WORKFLOWS for target in re.findall(r"run: make ([a-z0-9-]+)", path.read_text())}
    assert called
    assert called <= targets
