"""What kube-score and checkov find in rendered charts, and which of it is meant: all of that stands here.

A finding that isn't meant fails a test, and so does one that is listed here and isn't found any more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.binaries import Places
from tests.cluster.catalog import kubernetes_version
from tests.cluster.locks import locked
from tests.cluster.progress import Progress, run
from tests.deploy.helm import program

Values = Mapping[str, Any]
Found = set[tuple[str, str]]
"""Kind of object, and the finding's id."""

_CHECKOV = Path(__file__).parent / "checkov"
_WARNING = 5
"""kube-score's grade of what is worth a look; 1 is critical and 10 fine."""


@dataclass(frozen=True)
class Meant:
    """A finding that is as it should be."""

    kind: str
    ids: Sequence[str]
    why: str
    when: Callable[[Values], bool] = lambda _: True
    """With which values it is found."""


def _get(values: Values, group: str, name: str) -> Any:
    return values.get(group, {}).get(name)


def _several(values: Values) -> bool:
    return bool(values.get("replicas") != 1)


MEANT = (
    Meant(
        "Deployment",
        ("container-resources", "CKV_K8S_11"),
        "No limit of CPU: a leader that is throttled can't renew its Lease, and an operator at rest uses next to none.",
        lambda values: "resources" not in values,
    ),
    Meant(
        "Deployment",
        ("container-ephemeral-storage-request-and-limit",),
        "It writes nothing: its file system is read-only, and it has no volume. A request would keep it from nodes "
        "that don't count disk.",
    ),
    Meant(
        "Deployment",
        ("container-image-pull-policy", "CKV_K8S_15"),
        "A version is one image, for ever: pulling it at every start ties the start to the registry.",
        lambda values: _get(values, "image", "pullPolicy") != "Always",
    ),
    Meant(
        "Deployment",
        ("CKV_K8S_43",),
        "The chart can't know its own image's digest before that is built; whoever wants it sets image.digest.",
        lambda values: not _get(values, "image", "digest"),
    ),
    Meant(
        "Deployment",
        ("CKV_K8S_38",),
        "An operator talks to the API server. Its account hands out no token by itself: the pods ask for it.",
    ),
    Meant(
        "Deployment",
        ("container-security-context-user-group-id", "CKV_K8S_40"),
        "Asked for: the cluster chooses the user, and still not root.",
        lambda values: "podSecurityContext" in values,
    ),
    Meant(
        "Deployment",
        ("deployment-replicas",),
        "Asked for: one operator, and nobody to take over.",
        lambda values: not _several(values),
    ),
    Meant(
        "Deployment",
        ("deployment-strategy",),
        "Without a Lease nothing keeps two operators apart: the old one ends before the new one starts.",
        lambda values: _get(values, "leaderElection", "enabled") is False,
    ),
    Meant(
        "Deployment",
        ("pod-networkpolicy",),
        "Asked for: somebody else's policies decide.",
        lambda values: _get(values, "networkPolicy", "enabled") is False,
    ),
    Meant(
        "Deployment",
        ("deployment-has-poddisruptionbudget",),
        "Asked for: maintenance may take all operators at once.",
        lambda values: _several(values) and _get(values, "podDisruptionBudget", "enabled") is False,
    ),
    Meant(
        "Deployment",
        ("deployment-has-host-podantiaffinity",),
        "Asked for: an affinity of one's own, in place of the chart's.",
        lambda values: _several(values) and "affinity" in values,
    ),
)


def meant(values: Values) -> Found:
    """What must be found with these values, no more and no less."""
    return {(one.kind, found) for one in MEANT if one.when(values) for found in one.ids}


def kube_score(rendered: Path) -> Found:
    """What kube-score finds."""
    version = ".".join(kubernetes_version().split(".")[:2])
    command = [
        program("kube-score"),
        "score",
        "--output-format",
        "json",
        "--kubernetes-version",
        version,
        str(rendered),
    ]
    # Its exit code says whether there is anything critical.
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return {
        (one["type_meta"]["kind"], check["check"]["id"])
        for one in json.loads(answer.stdout)
        for check in one["checks"]
        if not check["skipped"] and check["grade"] <= _WARNING
    }


def checkov(folder: Path) -> Mapping[str, Found]:
    """What checkov finds in the files of a folder, by their names."""
    command = [_checkov(), "--directory", str(folder), "--framework", "kubernetes", "--output", "json", "--quiet"]
    # Nothing is asked of its makers' service.
    command += ["--skip-download", "--soft-fail"]
    env = {**os.environ, "BC_SKIP_MAPPING": "TRUE", "LOG_LEVEL": "ERROR"}
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    found: dict[str, Found] = {path.name: set() for path in folder.iterdir()}
    for one in json.loads(answer.stdout)["results"]["failed_checks"]:
        found[Path(one["file_path"]).name].add((one["resource"].partition(".")[0], one["check_id"]))
    return found


def _checkov() -> str:
    """Its program, in an environment of its own, which is made once for each version of its lock file."""
    places = Places.from_environment()
    uv = Path(sys.executable).with_name("uv")
    environment = places.cache / f"checkov-python{sys.version_info.major}.{sys.version_info.minor}"
    env = {**places.env, "UV_PROJECT_ENVIRONMENT": str(environment)}
    command = [uv, "sync", "--locked", "--quiet", "--python", sys.executable, "--project", _CHECKOV]
    lock = places.cache / ".checkov-lock"
    with locked(lock, Progress(), "another process' installation"), Progress().step("installing checkov") as step:
        run(step, command, env)
    return str(environment / "bin" / "checkov")
