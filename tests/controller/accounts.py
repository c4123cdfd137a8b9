"""Accounts of the operator's own: with the permissions that a test gives it and no others, or with those we ship."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import Cluster

SHIPPED = Path(__file__).parents[2] / "deploy" / "rbac"


def account(cluster: Cluster, namespace: str, folder: Path) -> Path:
    """A kubeconfig of a service account without any permission."""
    cluster.run_kubectl("-n", namespace, "create", "serviceaccount", "operator")
    return kubeconfig(cluster, token(cluster, namespace, "operator"), folder / "account.kubeconfig")


def token(cluster: Cluster, namespace: str, name: str) -> str:
    """A token of a service account."""
    return cluster.run_kubectl("-n", namespace, "create", "token", name).strip()


def kubeconfig(cluster: Cluster, token: str, path: Path) -> Path:
    """Write a kubeconfig of whoever has this token."""
    config = yaml.safe_load(cluster.run_kubectl("config", "view", "--raw", "--flatten", "--minify"))
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return path


def shipped(file: str, home: str) -> list[dict[str, Any]]:
    """The objects of a file that we ship, for an operator that is installed in this namespace.

    What belongs to no namespace is named after it, so that it touches no operator that the cluster has already.
    """
    objects: list[dict[str, Any]] = list(yaml.safe_load_all((SHIPPED / file).read_text()))
    for one in objects:
        if "namespace" in one["metadata"]:
            one["metadata"]["namespace"] = home
        if one["kind"].startswith("Cluster"):
            one["metadata"]["name"] = home
        if one.get("roleRef", {}).get("kind") == "ClusterRole":
            one["roleRef"]["name"] = home
        for subject in one.get("subjects", []):
            subject["namespace"] = home
    return objects


def grant(cluster: Cluster, namespace: str, *rules: Mapping[str, Any]) -> None:
    """Give that account these rules of a Role, in place of those it had."""
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "operator"}}
    cluster.run_kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps({**role, "rules": rules}))
    binding = ("create", "rolebinding", "operator", "--role=operator", f"--serviceaccount={namespace}:operator")
    made = cluster.run_kubectl("-n", namespace, *binding, "--dry-run=client", "-o", "yaml")
    cluster.run_kubectl("-n", namespace, "apply", "-f", "-", stdin=made)
