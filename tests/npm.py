"""Packages of npm that tests need: installed as a committed lock file pins them, never into the checkout."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest


def install(packages: Path, folder: Path) -> None:
    """Install what the lock file in `packages` pins into `folder`, and copy what lies beside it there."""
    if shutil.which("npm") is None:
        pytest.fail(
            "npm is needed on PATH: Node.js from https://nodejs.org or your distribution brings it", pytrace=False
        )
    shutil.copytree(packages, folder, dirs_exist_ok=True)
    run(["npm", "ci", "--no-audit", "--no-fund"], folder)


def run(command: Sequence[str], folder: Path, stdin: str = "") -> str:
    """Run a program there; what it says. The test fails with its words if it fails."""
    answer = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        pytest.fail(f"{' '.join(command)}:\n{answer.stdout}{answer.stderr}", pytrace=False)
    return answer.stdout
