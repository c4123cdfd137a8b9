"""What the release does on its runner: its own scripts, with programs in the place of what answers there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]


def script(job: str, step: str) -> str:
    """The program of a step, which has this id or name."""
    [found] = [one["run"] for one in JOBS[job]["steps"] if step in (one.get("id"), one.get("name"))]
    return str(found)


class Runner:
    """A runner's shell, in a folder with programs that write down what they are asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self._programs = folder / "programs"
        self._programs.mkdir()
        self._log = folder / "log"
        self._log.touch()
        self._output = folder / "output"

    def program(self, name: str, text: str = "") -> None:
        """Have a program there."""
        path = self._programs / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self._log}\n{text}\n')
        path.chmod(0o755)

    def run(self, job: str, step: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a step as GitHub does with `shell: bash`."""
        path = f"{self._programs}{os.pathsep}{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(self.folder), "GITHUB_OUTPUT": str(self._output), **variables}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script(job, step)]
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)

    @property
    def asked(self) -> list[str]:
        """What the programs were asked."""
        return self._log.read_text().splitlines()

    @property
    def output(self) -> dict[str, str]:
        """What steps handed on."""
        pairs = (line.partition("=") for line in self._output.read_text().splitlines())
        return {name: value for name, _, value in pairs}


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.com")
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize(
    ("on_main", "passed", "complaint"),
    [(True, "1", None), (False, "1", "is not on main"), (True, "0", "has no run of ci that passed")],
)
def test_only_what_is_on_main_and_has_passed_is_released(
    runner: Runner, on_main: bool, passed: str, complaint: str | None
) -> None:
    git(runner.folder, "init", "--quiet", "--initial-branch=main")
    git(runner.folder, "commit", "--quiet", "--allow-empty", "--message=one")
    git(runner.folder, "update-ref", "refs/remotes/origin/main", "HEAD")
    if not on_main:
        git(runner.folder, "commit", "--quiet", "--allow-empty", "--message=two")
    runner.program("gh", f"echo {passed}")
    answer = runner.run("version", "tested", GITHUB_REPOSITORY="a/b")
    assert answer.returncode == (0 if complaint is None else 1), answer.stderr
    assert (complaint or "") in answer.stdout
    if on_main:
        commit = git(runner.folder, "rev-parse", "HEAD")
        query = f"repos/a/b/actions/workflows/ci.yml/runs?head_sha={commit}&event=push&status=success"
        assert runner.asked == [f"gh api {query} --jq .total_count"]


def test_an_image_is_built_from_what_its_bases_tags_are_today(runner: Runner) -> None:
    (runner.folder / "deploy").symlink_to(ROOT / "deploy")
    digest = f"sha256:{'0123456789abcdef' * 4}"
    runner.program("docker", f"echo {digest}")
    answer = runner.run("image", "bases", IMAGE="operator")
    assert answer.returncode == 0, answer.stderr
    recipe = (ROOT / "deploy" / "images" / "operator" / "Dockerfile").read_text()
    given = re.findall("^ARG (BASE|BUILDER)=(.+)$", recipe, re.MULTILINE)
    assert runner.output == {
        key: value
        for name, image in given
        for key, value in ((f"{name}-name", f"docker.io/library/{image}"), (f"{name}-digest", digest))
    }
    [build] = [step["with"] for step in JOBS["image"]["steps"] if step.get("id") == "build"]
    for name, _ in given:
        pinned = f"steps.bases.outputs.{name}"
        assert f"{name}=${{{{ {pinned}-name }}}}@${{{{ {pinned}-digest }}}}" in build["build-args"]
    assert "org.opencontainers.image.base.digest=${{ steps.bases.outputs.BASE-digest }}" in build["labels"]
    runner.program("docker", "echo")
    assert runner.run("image", "bases", IMAGE="operator").returncode == 1


INDEX = {
    "manifests": [
        {"digest": "sha256:a1", "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": "sha256:b2", "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": "sha256:c3", "platform": {"os": "unknown", "architecture": "unknown"}},
    ]
}
IMAGE = {"NAME": "docker.io/a/b", "IMAGE": "b", "DIGEST": "sha256:d4", "SYFT": "syft", "GRYPE": "grype"}


def test_the_image_of_each_platform_is_listed_scanned_and_attested(runner: Runner) -> None:
    runner.program("docker", f"echo '{json.dumps(INDEX)}'")
    for name in ("syft", "grype", "cosign"):
        # One that reads its standard input takes nothing from the list of platforms.
        runner.program(name, "cat > /dev/null")
    for step in ("scan", "sign it, and say what is in it"):
        answer = runner.run("image", step, **IMAGE)
        assert answer.returncode == 0, answer.stderr
    scanned = []
    for architecture, digest in (("amd64", "sha256:a1"), ("arm64", "sha256:b2")):
        sbom = f"sbom-b-{architecture}.cdx.json"
        where = f"registry:docker.io/a/b@{digest} --platform linux/{architecture}"
        scanned.append(f"syft scan {where} --output cyclonedx-json={sbom}")
        scanned.append(f"grype sbom:{sbom} --only-fixed --fail-on high")
    attest = "cosign attest --yes --type cyclonedx --predicate sbom-b-"
    assert runner.asked == [
        "docker buildx imagetools inspect --raw docker.io/a/b@sha256:d4",
        *scanned,
        "cosign sign --yes --recursive docker.io/a/b@sha256:d4",
        f"{attest}amd64.cdx.json docker.io/a/b@sha256:a1",
        f"{attest}arm64.cdx.json docker.io/a/b@sha256:b2",
    ]


def test_what_cannot_be_scanned_or_has_a_hole_ends_the_release(runner: Runner) -> None:
    runner.program("docker", """echo '{"manifests": []}'""")
    assert runner.run("image", "scan", **IMAGE).returncode == 1
    runner.program("docker", f"echo '{json.dumps(INDEX)}'")
    runner.program("syft")
    runner.program("grype", "exit 2")
    assert runner.run("image", "scan", **IMAGE).returncode == 2
    assert runner.asked[-1] == "grype sbom:sbom-b-amd64.cdx.json --only-fixed --fail-on high"


@pytest.mark.parametrize(("tag", "early"), [("v1.2.3", "false"), ("v1.2.3-rc.1", "true")])
def test_a_pre_release_is_one(runner: Runner, tag: str, early: str) -> None:
    runner.program("gh")
    answer = runner.run("release", "make the release", GITHUB_REF_NAME=tag)
    assert answer.returncode == 0, answer.stderr
    assert f"gh release create {tag} --verify-tag --generate-notes --prerelease={early} " in runner.asked[0]
