"""Programs out of Debian's packages, for tests that need the real ones: promtool, amtool, pgbouncer.

A package is unpacked into the cache and never installed: that needs no rights, and starts no service.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.cluster.binaries import Places
from tests.cluster.locks import locked
from tests.cluster.progress import Progress


@functools.cache
def program(package: str, name: str) -> Path:
    """The path of a program: the one on PATH, or else that of Debian's package."""
    if found := shutil.which(name):
        return Path(found)
    return unpacked(package) / "usr" / "bin" / name


@functools.cache
def unpacked(package: str) -> Path:
    """The folder with what is in a package."""
    places = Places.from_environment()
    folder = places.cache / f"debian-{package}-{platform.machine()}"
    with locked(places.cache / ".lock-debian", Progress(), "another process' download"):
        if not folder.exists():
            _unpack(package, folder)
    return folder


def _unpack(package: str, folder: Path) -> None:
    if shutil.which("apt-get") is None:
        pytest.fail(f"{package} is needed on PATH, and there is no apt-get to download it with", pytrace=False)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        download = ["apt-get", "-qq", "download", package]
        if subprocess.run(download, cwd=scratch, stderr=subprocess.DEVNULL, check=False).returncode != 0:
            # A fresh machine has no list of packages yet; whoever may not fetch one must have the program.
            if os.geteuid() != 0:
                pytest.fail(f"{package} is needed: on Debian, apt-get install {package}", pytrace=False)
            subprocess.run(["apt-get", "-qq", "update"], check=True, stdout=subprocess.DEVNULL)
            subprocess.run(download, cwd=scratch, check=True, stderr=subprocess.DEVNULL)
        (archive,) = Path(scratch).glob("*.deb")
        unpacked = Path(scratch) / "unpacked"
        subprocess.run(["dpkg-deb", "-x", archive, unpacked], check=True)
        unpacked.rename(folder)
