"""Kustomize's overlays: the chart's objects and a namespace for them, and the API server takes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from notification_operator import crd
from tests.cluster import Cluster
from tests.deploy.helm import NAME, Helm, Object, parsed
from tests.deploy.kustomize import FOLDER, OVERLAYS

pytestmark = [pytest.mark.cluster, pytest.mark.helm]

_HELMS_OWN = {"app.kubernetes.io/managed-by", "helm.sh/chart"}
_DEFINITION = "CustomResourceDefinition"

each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def built(cluster: Cluster, overlay: str) -> str:
    return cluster.run_kubectl("kustomize", FOLDER / "overlays" / overlay)


def with_component(cluster: Cluster, overlay: str, component: str, folder: Path) -> str:
    """What an overlay of somebody's own makes of one, with a component."""
    parts = {"resources": FOLDER / "overlays" / overlay, "components": FOLDER / "components" / component}
    own = {kind: [os.path.relpath(path, folder)] for kind, path in parts.items()}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(own))
    return cluster.run_kubectl("kustomize", folder)


def by_name(objects: list[Object]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Without what Helm adds."""
    for one in objects:
        for label in _HELMS_OWN & one["metadata"].get("labels", {}).keys():
            del one["metadata"]["labels"][label]
    named = {(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in objects}
    assert len(named) == len(objects)
    return named


@each_overlay
def test_its_objects_are_the_charts_in_a_restricted_namespace(platform: Cluster, helm: Helm, overlay: str) -> None:
    objects = parsed(built(platform, overlay))
    namespace = next(one for one in objects if one["kind"] == "Namespace")
    assert namespace["metadata"]["name"] == NAME
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert [one for one in objects if one["kind"] == _DEFINITION] == [crd.definition()]
    rest = [one for one in objects if one["kind"] not in {"Namespace", _DEFINITION}]
    assert by_name(rest) == by_name(helm.objects({**OVERLAYS[overlay], "crds": {"install": False}}))


@each_overlay
def test_with_the_component_it_may_list_secrets_as_with_the_charts_value(
    platform: Cluster, helm: Helm, overlay: str, tmp_path: Path
) -> None:
    objects = parsed(with_component(platform, overlay, "list-secrets", tmp_path))
    rest = [one for one in objects if one["kind"] not in {"Namespace", _DEFINITION}]
    values = {**OVERLAYS[overlay], "crds": {"install": False}, "rbac": {"listSecrets": True}}
    assert by_name(rest) == by_name(helm.objects(values))


@each_overlay
def test_the_api_server_takes_it(platform: Cluster, overlay: str) -> None:
    dry_run = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--warnings-as-errors", "-f", "-")
    platform.run_kubectl(*dry_run, stdin=built(platform, overlay))
