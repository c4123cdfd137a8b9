"""The wheel that a release has: what is in it, and that each program runs from it with its own extra."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from notification_operator import __version__

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")


def run(*command: str | Path) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT)
    [built] = folder.glob("*.whl")
    return built


def test_it_holds_both_programs_and_nothing_else(wheel: Path) -> None:
    folders = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    described = f"plannivo_notifications-{__version__}.dist-info"
    assert folders == {"notification_operator", "notification_dispatcher", described}


def test_it_carries_the_licence_which_images_have_by_it(wheel: Path) -> None:
    described = f"plannivo_notifications-{__version__}.dist-info"
    licence = zipfile.ZipFile(wheel).read(f"{described}/licenses/LICENSE")
    assert licence == (ROOT / "LICENSE").read_bytes()
    for recipe in (ROOT / "deploy" / "images").glob("*/Dockerfile"):
        assert "\nCOPY LICENSE " in recipe.read_text()
    assert "!LICENSE" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_plugin_runs_from_it_with_its_extra_alone(wheel: Path, tmp_path: Path) -> None:
    run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    programs = tmp_path / "venv" / "bin"
    wanted = f"plannivo-notifications[kubectl] @ {wheel.as_uri()}"
    run(UV, "pip", "install", "--quiet", "--python", programs / "python", wanted)
    assert "kubectl notifications status" in run(programs / "kubectl-notifications", "--help")
    run(programs / "python", "-c", "import notification_dispatcher.client")


def test_the_operator_renders_from_it_with_its_extra_alone(wheel: Path, tmp_path: Path) -> None:
    run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    programs = tmp_path / "venv" / "bin"
    wanted = f"plannivo-notifications[operator] @ {wheel.as_uri()}"
    run(UV, "pip", "install", "--quiet", "--python", programs / "python", wanted)
    sample = ROOT / "deploy" / "samples" / "minimal.yaml"
    children = [
        child["kind"] for child in yaml.safe_load_all(run(programs / "notification-operator", "render", "-f", sample))
    ]
    assert {"Deployment", "ConfigMap", "ServiceMonitor", "PrometheusRule"} <= set(children)
