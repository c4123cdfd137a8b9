"""Runs helm on the project's chart, for the generator of kustomize's files and for the tests."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import Cluster
from tests.cluster.binaries import Places, ensure
from tests.cluster.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "notification-operator"
NAME = "notification-operator"
"""Of the release, of its namespace, and so of all objects."""

SECONDS = 120.0

Object = dict[str, Any]


class HelmError(Exception):
    """helm ended with an error; the text is its own."""


@dataclass(frozen=True)
class Helm:
    """helm, with nothing of the user's: on a cluster, or (None) without one."""

    cluster: Cluster | None = None

    def run(self, *args: str | Path, stdin: str = "") -> str:
        """Run it; its standard output. Raises HelmError with what it said otherwise."""
        with tempfile.TemporaryDirectory() as home:
            env = {"HOME": home, "PATH": "", "KUBECONFIG": str(self.cluster.kubeconfig) if self.cluster else "none"}
            answer = subprocess.run(
                [program("helm"), *args],
                env=env,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        if answer.returncode != 0:
            raise HelmError(answer.stderr.strip() or answer.stdout.strip())
        return answer.stdout

    def template(
        self, values: Mapping[str, Any] | None = None, *, name: str = NAME, namespace: str = NAME, chart: Path = CHART
    ) -> str:
        """What the chart makes of these values, as text."""
        return self.run(
            "template", name, chart, "--namespace", namespace, "--values", "-", stdin=json.dumps(values or {})
        )

    def objects(self, values: Mapping[str, Any] | None = None, **how: Any) -> list[Object]:
        """The same, as objects."""
        return parsed(self.template(values, **how))


def program(name: str) -> str:
    """The path of one of the pinned programs."""
    return str(ensure([name], Places.from_environment(), Progress())[name])


def parsed(text: str) -> list[Object]:
    """The objects of a stream of documents."""
    return [one for one in yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if one]
