"""The operator as a pod has it: its account for a kubeconfig, without what an image leaves out, a nameless user.

`python -m tests.in_pod FOLDER ARGUMENTS…` is `notification-operator ARGUMENTS…` with that folder.
"""

from __future__ import annotations

import getpass
import re
import sys
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from tests.cluster import Cluster

_LIFETIME = "12h"
_DOCKERFILE = Path(__file__).resolve().parents[1] / "deploy" / "images" / "operator" / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Account:
    """What the kubelet gives a pod of its account."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)


def account(cluster: Cluster, namespace: str, name: str, folder: Path) -> Account:
    """Write what the kubelet would mount for this service account."""
    config = yaml.safe_load(cluster.run_kubectl("config", "view", "--raw", "--flatten", "--minify"))
    api = config["clusters"][0]["cluster"]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "token").write_text(
        cluster.run_kubectl("-n", namespace, "create", "token", name, f"--duration={_LIFETIME}")
    )
    (folder / "ca.crt").write_bytes(b64decode(api["certificate-authority-data"]))
    (folder / "namespace").write_text(namespace)
    address = urlsplit(api["server"])
    variables = {"KUBERNETES_SERVICE_HOST": str(address.hostname), "KUBERNETES_SERVICE_PORT": str(address.port)}
    # Nobody's ~/.kube/config: a pod has none. And what the image sets for the C library, which decides on memory.
    return Account(folder, variables | _of_image() | {"HOME": str(folder)})


def _of_image() -> dict[str, str]:
    return dict(re.findall(r"^ENV (MALLOC_\w+)=(\S+)", _DOCKERFILE.read_text(), re.MULTILINE))


def main() -> None:
    """Run the operator's command."""
    # What an image without these extras says to whoever imports them: kopf would, and so would we for a kubeconfig.
    for package in ("kubernetes", "grafana_foundation_sdk"):
        sys.modules[package] = None  # type: ignore[assignment]
    getpass.getuser = _nobody
    from notification_operator.__main__ import main as command  # noqa: PLC0415  once the packages are gone
    from notification_operator.credentials import pod  # noqa: PLC0415

    pod.FOLDER = Path(sys.argv[1])
    command(args=sys.argv[2:], prog_name="notification-operator")


def _nobody() -> str:
    """An image's user is a number, and the standard library finds no name to it."""
    raise KeyError("getpwuid(): uid not found: 65532")


if __name__ == "__main__":
    main()
