"""The image that the product's start from where no registry can be asked: a small Debian, made by debootstrap.

`builders` hands it to buildah; the tests' node takes it for the sandboxes of its pods. It is made once, and kept in the
cache. It has the tools that a build needs too, so that one serves for both.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.cluster.binaries import Places
from tests.cluster.errors import ClusterError
from tests.cluster.locks import locked
from tests.cluster.progress import Progress, run
from tests.images.archive import Archive, layer_image

PACKAGES = ("python3", "python3-venv", "ca-certificates", "binutils")
_REVISION = 1
"""Raise it when the packages change: the cache is kept by it."""


def base_image(places: Places, progress: Progress) -> Archive:
    """The base image, made if the cache lacks it."""
    suite, mirror = _debian()
    name = f"localhost/plannivo/base:{suite}-{_REVISION}"
    target = places.cache / f"base-{suite}-{_REVISION}-{platform.machine()}" / "image.tar"
    with locked(places.cache / ".lock-base", progress, "another process' debootstrap"):
        if target.exists():
            return Archive(name, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=places.cache) as scratch:
            root, layer = Path(scratch) / "root", Path(scratch) / "layer.tar"
            command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, root, mirror]
            with progress.step(f"making a base image of Debian {suite}") as step:
                run(step, command, places.env)
                for leftover in ("var/cache/apt", "var/lib/apt/lists", "var/log"):
                    shutil.rmtree(root / leftover)
                    (root / leftover).mkdir()
                run(step, ["tar", "-C", root, "--one-file-system", "-cf", layer, "."], places.env)
            return layer_image(
                name, layer, target, {"Cmd": ["/usr/bin/sleep", "infinity"], "Env": ["PATH=/usr/bin:/bin"]}
            )


def _debian() -> tuple[str, str]:
    """This machine's release of Debian, and the mirror that its own packages come from."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(CODENAME) $(SITE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    codename = _codename()
    for line in listed.splitlines():
        suite, _, site = line.partition(" ")
        if suite == codename:
            return suite, site
    raise ClusterError(f"apt knows no mirror of Debian {codename}: see /etc/apt/sources.list.d, then apt-get update.")


def _codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise ClusterError("/etc/os-release names no VERSION_CODENAME: which Debian is this?")
