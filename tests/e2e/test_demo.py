"""`make demo`, as a person without a terminal would run it, and as one who loses patience."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 240

pytestmark = pytest.mark.cluster


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.demo", "--state-dir", str(folder)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "CLUSTER": "kwok"},
    )


def named_in_a_command(folder: Path) -> list[str]:
    """Commands of processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


def test_the_demo_shows_everything_and_leaves_nothing(tmp_path: Path) -> None:
    process = start(tmp_path / "demo")
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    for shown in ("9 children", "20 permanent failures", "in the same process", "All of it was checked"):
        assert shown in output, output
    assert named_in_a_command(tmp_path) == []


def test_an_impatient_person_leaves_nothing_behind(tmp_path: Path) -> None:
    process = start(tmp_path / "demo")
    assert process.stdout is not None
    for line in process.stdout:
        if "apply a NotificationPipeline" in line:
            break
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, output
    assert named_in_a_command(tmp_path) == []
