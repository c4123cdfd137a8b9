"""What the images' recipes promise before anything is built: every input is pinned, and nothing runs as root."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "deploy" / "images"
BUILDER = (IMAGES / "builder.txt").read_text()

each_image = pytest.mark.parametrize("name", ["operator", "dispatcher"])


def recipe(name: str) -> str:
    return (IMAGES / name / "Dockerfile").read_text()


@each_image
def test_runs_as_nobody_in_particular_without_a_shell(name: str) -> None:
    last_stage = recipe(name).rpartition("\nFROM ")[2]
    assert re.search(r"^USER 65532:65532$", last_stage, re.MULTILINE)
    assert f'ENTRYPOINT ["/opt/notification/bin/notification-{name}"]' in last_stage
    assert "PYTHONSAFEPATH=1" in last_stage
    assert "RUN" not in last_stage


@each_image
def test_the_two_recipes_differ_in_the_process_alone(name: str) -> None:
    common = recipe(name).replace(name, "NAME")
    common = re.sub(r'description="[^"]*"|EXPOSE \d+|The NAME|an? NAME', "", common)
    other = "dispatcher" if name == "operator" else "operator"
    theirs = recipe(other).replace(other, "NAME")
    theirs = re.sub(r'description="[^"]*"|EXPOSE \d+|The NAME|an? NAME', "", theirs)
    # Both bring the folders of both processes into the build.
    folders = re.compile(r"^COPY (operator|dispatcher|NAME) .*$", re.MULTILINE)
    assert folders.sub("", common) == folders.sub("", theirs)


def test_the_tools_that_build_are_pinned_with_hashes() -> None:
    requirements = re.split(r"\n(?=[a-z])", re.sub(r"^ *#.*\n", "", BUILDER, flags=re.MULTILINE).strip())
    for requirement in requirements:
        assert re.match(r"[a-z0-9-]+==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


def test_images_and_developers_read_the_lock_with_the_same_uv() -> None:
    makefile = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert makefile
    assert f"\nuv=={makefile[1]} " in BUILDER


@each_image
def test_the_images_version_is_the_products(name: str) -> None:
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert project
    assert f"ARG VERSION={project[1]}\n" in recipe(name)


def test_no_recipe_names_a_registry_of_packages() -> None:
    for path in IMAGES.rglob("*"):
        if path.is_file():
            assert "https://" not in path.read_text(), path
