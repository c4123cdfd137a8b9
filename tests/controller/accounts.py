"""Accounts of the operator's own: with the permissions that a test gives it and no others, or with those we ship."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from notification_operator.naming import OPERATOR
from tests.cluster import Cluster

_SHIPPED = Path(__file__).parents[2] / "deploy" / "kustomize"
_OVERLAYS = {False: "single-namespace", True: "cluster-wide"}


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


def install(cluster: Cluster, home: str, namespace: str, *, everywhere: bool = False) -> None:
    """Give an operator that is at home in one namespace its account, with the rights that we ship for another, or all.

    What belongs to no namespace is named after its home, so that it touches no operator that the cluster has already.
    """
    for one in _shipped(everywhere=everywhere):
        metadata = one["metadata"]
        if "namespace" in metadata:
            metadata["namespace"] = home if metadata["namespace"] == OPERATOR else namespace
        if one["kind"].startswith("Cluster"):
            metadata["name"] = home
        if one.get("roleRef", {}).get("kind") == "ClusterRole":
            one["roleRef"]["name"] = home
        for subject in one.get("subjects", []):
            subject["namespace"] = home
        cluster.run_kubectl("apply", "-f", "-", stdin=json.dumps(one))


def _shipped(*, everywhere: bool) -> Iterator[dict[str, Any]]:
    """The account and its rights, for the pipelines of one namespace or of all."""
    for one in yaml.safe_load_all((_SHIPPED / "base" / "operator.yaml").read_text()):
        if one["kind"] in {"ServiceAccount", "Role", "RoleBinding"}:
            yield one
    yield from yaml.safe_load_all((_SHIPPED / "overlays" / _OVERLAYS[everywhere] / "permissions.yaml").read_text())


def grant(cluster: Cluster, namespace: str, *rules: Mapping[str, Any]) -> None:
    """Give that account these rules of a Role, in place of those it had."""
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "operator"}}
    cluster.run_kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps({**role, "rules": rules}))
    binding = ("create", "rolebinding", "operator", "--role=operator", f"--serviceaccount={namespace}:operator")
    made = cluster.run_kubectl("-n", namespace, *binding, "--dry-run=client", "-o", "yaml")
    cluster.run_kubectl("-n", namespace, "apply", "-f", "-", stdin=made)
