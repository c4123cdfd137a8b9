"""Programs of the system that tests need: found, or installed where that is possible."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def strace() -> str:
    """The path of strace."""
    if (found := shutil.which("strace")) is None:
        installed("strace")
        found = shutil.which("strace")
    assert found is not None
    return found


def libfaketime() -> Path:
    """The library that gives one process a wall clock of its own.

    The one for programs with threads: with the other, two threads that read a new time at once see none at all.
    """
    if not (found := _libraries()):
        installed("libfaketime")
        found = _libraries()
    return found[0]


def _libraries() -> list[Path]:
    return sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))


@functools.cache
def installed(package: str) -> None:
    """Install a package of Debian's. Without the right to, the test fails and says what to install."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.fail(f"{package} is needed: on Debian, apt-get install {package}", pytrace=False)
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", package]):
        subprocess.run(
            # No service that the package brings is started.
            command,
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"},
        )
