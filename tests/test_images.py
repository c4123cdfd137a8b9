"""The images before anything is built: every input pinned, who builds them, how archives are laid out."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from io import StringIO
from pathlib import Path

import pytest

from tests.cluster.binaries import Places
from tests.cluster.errors import ClusterError
from tests.cluster.progress import Progress
from tests.images import choose, product_images, program_image

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
    # How the operator's many connections take memory is its own.
    own = re.compile(r'description="[^"]*"|EXPOSE \d+|The NAME|an? NAME|# .*\nENV MALLOC_\w+=\d+\n')
    common = own.sub("", recipe(name).replace(name, "NAME"))
    other = "dispatcher" if name == "operator" else "operator"
    theirs = own.sub("", recipe(other).replace(other, "NAME"))
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


DOCKER = """#!/bin/sh
echo "$*" >> "$LOG"
case "$1" in
info) exit "$DOCKER_CODE" ;;
save) echo saved > "$3" ;;
create) echo 4711 ;;
cp) echo '{"components": []}' > "$3" ;;
esac
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A PATH on which Docker is all there is, and answers."""
    docker = tmp_path / "path" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    env = {"PATH": f"{docker.parent}:/usr/bin:/bin", "LOG": str(tmp_path / "log"), "DOCKER_CODE": "0"}
    return Places(tmp_path / "cache", None, env)


def test_docker_builds_where_its_engine_answers(places: Places, tmp_path: Path) -> None:
    builder = choose(places, Progress(StringIO))
    operator, dispatcher = product_images(tmp_path / "out", builder)
    assert operator.name.startswith("plannivo/notification-operator:")
    assert (tmp_path / "out" / "notification-dispatcher.cdx.json").read_text() == '{"components": []}\n'
    assert dispatcher.path.read_text() == "saved\n"
    called = (tmp_path / "log").read_text()
    assert f"-f {IMAGES}/operator/Dockerfile -t docker.io/{operator.name} {ROOT}\n" in called
    assert called.count("rm 4711\n") == 2


def test_a_machine_that_can_build_nothing_is_told_so(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Places(places.cache, None, {**places.env, "PATH": str(places.cache.parent / "path"), "DOCKER_CODE": "1"})
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="or as root by buildah"):
        choose(lacking, Progress(StringIO))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(ClusterError, match="apt-get install buildah debootstrap"):
        choose(lacking, Progress(StringIO))


def test_an_image_of_programs_is_what_docker_would_have_saved(tmp_path: Path) -> None:
    program = tmp_path / "prometheus"
    program.write_text("binary")
    image = program_image("plannivo-test/prometheus:1", {"/bin/prometheus": program}, tmp_path / "image")
    with tarfile.open(image.path) as tar:

        def read(name: str) -> bytes:
            found = tar.extractfile(name)
            assert found
            return found.read()

        (manifest,) = json.loads(read("manifest.json"))
        config = json.loads(read(manifest["Config"]))
        (layer,) = manifest["Layers"]
        assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(read(layer)).hexdigest()}"]
        assert config["config"] == {"Entrypoint": ["/bin/prometheus"], "User": "65532:65532"}
        with tarfile.open(fileobj=io.BytesIO(read(layer))) as files:
            (entry,) = files.getmembers()
            assert (entry.name, entry.mode, entry.uid) == ("bin/prometheus", 0o755, 0)
    assert manifest["RepoTags"] == ["plannivo-test/prometheus:1"]
