"""Runs the shell blocks of a page, one after the other in one shell, as somebody would who follows it.

`test_shell_blocks` says with what around them. A block with the remark `not run: why` is left out, one with the remark
`alone` begins on a cluster without the operator: pages show several ways of which one takes one.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import Cluster
from tests.docs.pages import ROOT, Block, blocks

SECONDS = 240.0
NOT_RUN = "not run: "
ALONE = "alone"

_BEGINNING = r"""
set -euo pipefail
place=-
trap 'echo "FAILED $place: $BASH_COMMAND" >&2' ERR
anew() {
  if helm --namespace notification-operator list --short | grep -q .; then
    helm --namespace notification-operator uninstall notification-operator --wait
  fi
  kubectl delete --ignore-not-found crd notificationpipelines.notifications.plannivo.io
  kubectl delete --ignore-not-found namespace notification-operator booking
  kubectl delete --ignore-not-found clusterrole,clusterrolebinding -l app.kubernetes.io/name=notification-operator
}
"""

_KUBECTL = """#!/bin/sh
for word; do
  [ "$word" = port-forward ] && exec {python} -m tests.docs.forward {state} "$@"
done
exec {kubectl} "$@"
"""


def script(page: Path) -> str:
    """A page's blocks, as one program that says where it failed."""
    parts = []
    for block in blocks(page, "sh"):
        if not block.remark.startswith(NOT_RUN):
            # Nodes are simulated: no container runs, and so there is no log.
            text = re.sub(r"^.*\bkubectl .*\blogs\b.*$", "true", block.text, flags=re.MULTILINE)
            begin = "anew >/dev/null\n" if block.remark == ALONE else ""
            parts.append(f"place={block.place}\n{begin}{text}")
    return "\n".join(parts)


def left_out(page: Path) -> list[Block]:
    """The blocks that are not run."""
    return [block for block in blocks(page, "sh") if block.remark.startswith(NOT_RUN)]


@dataclass(frozen=True)
class Surroundings:
    """A checkout, and a home with nothing of the user's in it."""

    folder: Path
    cluster: Cluster
    programs: Mapping[str, Path]
    """Those that the pages take for installed."""

    def prepare(self, *, namespace: str, alertmanager: str) -> None:
        """Lay it out. Commands without -n speak of this namespace, amtool of this Alertmanager."""
        for path in ROOT.iterdir():
            # What the blocks write must not get into the repository.
            if path.name not in {"build", ".git"}:
                (self._checkout / path.name).symlink_to(path)
        kubectl = _KUBECTL.format(python=sys.executable, state=self.cluster.state_dir, kubectl=self.cluster.kubectl)
        self._install("kubectl", kubectl)
        for name in self.programs.keys() - {"amtool"}:
            (self._bin / name).symlink_to(self.programs[name])
        # Whoever uses it has said in a file of their own where their Alertmanager is.
        self._install("amtool", f'#!/bin/sh\nexec {self.programs["amtool"]} --alertmanager.url={alertmanager} "$@"\n')
        (self.folder / "kubeconfig").write_text(self.cluster.kubeconfig.read_text())
        (self.folder / "kubeconfig").chmod(0o600)
        self.run(f"kubectl config set-context --current --namespace={namespace}")

    def follow(self, page: Path) -> None:
        """Do what the page says. AssertionError: it fails; with its words."""
        self.run(script(page))

    def begin_anew(self) -> None:
        """Leave a cluster without the operator."""
        self.run("anew")

    def run(self, text: str) -> None:
        """Run a program of the shell. AssertionError: it fails; with its words."""
        path = os.pathsep.join([str(self._bin), str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {
            "PATH": path,
            "HOME": str(self._home),
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "PYTHONPATH": str(ROOT),
        }
        output = self.folder / "output"
        with output.open("w") as told:
            process = subprocess.Popen(
                ["bash", "-c", _BEGINNING + text],
                cwd=self._checkout,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(SECONDS)
            finally:
                # With it goes what it left in the background, and only that: the session is its own.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                process.wait()
        assert code == 0, output.read_text()

    def _install(self, name: str, text: str) -> None:
        path = self._bin / name
        path.write_text(text)
        path.chmod(0o755)

    @property
    def _checkout(self) -> Path:
        return _made(self.folder / "checkout")

    @property
    def _bin(self) -> Path:
        return _made(self.folder / "bin")

    @property
    def _home(self) -> Path:
        return _made(self.folder / "home")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
