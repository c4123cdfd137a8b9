"""What this machine lacks to run a node.

conftest asks for it in one sentence before it starts a node, `.ci/run` (by `python -m tests.node`) for the packages.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.cluster.backends import Mode
from tests.cluster.binaries import Places

PACKAGES = {
    "containerd": "containerd",
    "conntrack": "conntrack",
    "iptables": "iptables",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
}
"""Debian's packages by a program of theirs."""

PLUGINS = Path("/usr/lib/cni")
PLUGINS_PACKAGE = "containernetworking-plugins"


def lacking(mode: Mode, places: Places) -> str | None:
    """Say why no pods can run here; None if they can."""
    if mode is Mode.CURRENT:
        return "Pods of images that are built here need CLUSTER=kwok or kind: they are loaded onto the node."
    if mode is Mode.KIND:
        return None
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "A node needs Linux and root. Elsewhere, CLUSTER=kind runs the same tests in Docker."
    packages = missing(places)
    if packages and places.which("apt-get") is None:
        return "A node is made of Debian's packages. Elsewhere, CLUSTER=kind runs the same tests in Docker."
    return f"A node needs: apt-get install --no-install-recommends {' '.join(packages)}" if packages else None


def missing(places: Places) -> list[str]:
    """Debian's packages whose programs are not there, by whatever package."""
    packages = [package for program, package in PACKAGES.items() if places.which(program) is None]
    return packages if (PLUGINS / "bridge").exists() else [*packages, PLUGINS_PACKAGE]
