"""An account of the operator's own, with the permissions that a test gives it and no others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import Cluster


def account(cluster: Cluster, namespace: str, folder: Path) -> Path:
    """A kubeconfig of a service account without any permission."""
    cluster.run_kubectl("-n", namespace, "create", "serviceaccount", "operator")
    token = cluster.run_kubectl("-n", namespace, "create", "token", "operator").strip()
    config = yaml.safe_load(cluster.run_kubectl("config", "view", "--raw", "--flatten", "--minify"))
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    path = folder / "account.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return path


def grant(cluster: Cluster, namespace: str, *rules: Mapping[str, Any]) -> None:
    """Give that account these rules of a Role, in place of those it had."""
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "operator"}}
    cluster.run_kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps({**role, "rules": rules}))
    binding = ("create", "rolebinding", "operator", "--role=operator", f"--serviceaccount={namespace}:operator")
    made = cluster.run_kubectl("-n", namespace, *binding, "--dry-run=client", "-o", "yaml")
    cluster.run_kubectl("-n", namespace, "apply", "-f", "-", stdin=made)
