"""Namespaces of a node's own: processes, mounts and network, linked to this machine by one pair of interfaces.

`machine` runs a node's programs in it. Nothing of them can outlive process 1, and that ends with whoever holds this.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.errors import ClusterError

_INSIDE = Path(__file__).with_name("inside.py")
_LINKS = 256
_END_SECONDS = 30.0
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Network:
    """The addresses of one node, of the range that is set aside for measuring and leads nowhere."""

    number: int

    @property
    def link(self) -> str:
        """This machine's end of the pair."""
        return f"plannivo-node{self.number}"

    @property
    def host(self) -> str:
        """This machine's address, for the node and its pods."""
        return f"198.18.{self.number}.1"

    @property
    def node(self) -> str:
        """The node's address."""
        return f"198.18.{self.number}.2"

    @property
    def pods(self) -> str:
        """The addresses of its pods."""
        return f"198.19.{self.number}.0/24"


class Sandbox:
    """The namespaces, for as long as their process 1 lives."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self._folder = folder
        self._process = process
        pid = process.pid
        self.pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        """Process 1, as this machine numbers it."""
        self.network = _linked(self.pid)

    def start(self, name: str, *command: object) -> None:
        """Start a program that runs until the end; it logs to `<name>.log`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, *map(str, command)]) + "\n")
        self._process.stdin.flush()

    def run(self, *command: object) -> str:
        """Run a command in the node's network and mounts; return what it wrote."""
        return _run("nsenter", "-t", self.pid, "-n", "-m", *command)

    def log(self, name: str) -> str:
        """What a program has logged."""
        path = self._folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""


@contextmanager
def sandbox(folder: Path) -> Iterator[Sandbox]:
    """Namespaces that end with the block, or with this process."""
    folder.mkdir(parents=True, exist_ok=True)
    isolation = ["unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--mount", "--net", "--ipc"]
    with subprocess.Popen(
        [*isolation, sys.executable, "-I", str(_INSIDE), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C is for us alone.
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise ClusterError("This machine grants no namespaces: a container's node can't be started here.")
            yield Sandbox(folder, process)
        finally:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.wait(_END_SECONDS)


def forget(folder: Path, containers: Path) -> None:
    """Remove what an ended node left on disk: its folder, and the cgroups of its containers."""
    for container in containers.glob("*") if containers.exists() else ():
        for cgroup in _CGROUPS.glob(f"*/k8s.io/{container.name}"):
            for below in sorted(cgroup.glob("**/"), reverse=True):
                with suppress(OSError):
                    below.rmdir()
    shutil.rmtree(folder, ignore_errors=True)


def _linked(pid: int) -> Network:
    """Link the namespace by the first pair of interfaces that is free."""
    for number in range(_LINKS):
        network = Network(number)
        pair = ("link", "add", network.link, "type", "veth", "peer", "name", "eth0", "netns", pid)
        if subprocess.run(["ip", *map(str, pair)], capture_output=True, check=False).returncode == 0:
            break
    else:
        raise ClusterError(f"All {_LINKS} links to nodes are taken, or this machine grants none: see `ip link`.")
    _run("ip", "address", "add", f"{network.host}/30", "dev", network.link)
    _run("ip", "link", "set", network.link, "up")
    _run("ip", "route", "add", network.pods, "via", network.node)
    inside = ("nsenter", "-t", pid, "-n", "ip")
    _run(*inside, "link", "set", "lo", "up")
    _run(*inside, "address", "add", f"{network.node}/30", "dev", "eth0")
    _run(*inside, "link", "set", "eth0", "up")
    _run(*inside, "route", "add", "default", "via", network.host)
    return network


def _run(*command: object) -> str:
    words = [str(word) for word in command]
    answer = subprocess.run(words, capture_output=True, text=True, check=False, env=dict(os.environ))
    if answer.returncode != 0:
        raise ClusterError(f"`{' '.join(words)}` ended with {answer.returncode}: {answer.stderr.strip()}")
    return answer.stdout
