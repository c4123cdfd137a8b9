"""The pod's own account, as the kubelet mounts it.

Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
"""

from __future__ import annotations

import os
from pathlib import Path

from notification_operator.credentials.identity import Identity
from notification_operator.errors import SettingsError

FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def identity() -> Identity:
    """The account's identity. Raises SettingsError outside a pod, or in one without an account."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    token, authority = FOLDER / "token", FOLDER / "ca.crt"
    missing = [str(file) for file in (token, authority) if not file.is_file()]
    if not host or not port or missing:
        lacks = f"{', '.join(missing)} is missing" if host and port else "KUBERNETES_SERVICE_HOST is not set"
        raise SettingsError(
            f"no way to reach a cluster: there is no kubeconfig, and this is no pod with a service account ({lacks}). "
            "Name a kubeconfig with --kubeconfig or KUBECONFIG, or run inside a cluster with a service account."
        )

    def read_token() -> str:
        found = token.read_text().strip()
        if not found:
            raise ValueError("the token's file is empty")
        return found

    # An IPv6 address stands in brackets in a URL.
    address = f"[{host}]" if ":" in host else host
    return Identity(f"https://{address}:{port}", ca_path=str(authority), read_token=read_token)


def namespace() -> str | None:
    """The namespace of the pod that this runs in; None outside a pod."""
    try:
        return (FOLDER / "namespace").read_text().strip() or None
    except OSError:
        return None
