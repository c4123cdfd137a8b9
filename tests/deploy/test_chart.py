"""The chart by itself: what it makes of values, and which values it refuses."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from notification_operator import __version__
from notification_operator.__main__ import run_command
from notification_operator.permissions import FOR_EDITORS, FOR_READERS, WITH_OPERATOR, WITH_PIPELINES, Permission
from notification_operator.settings import DEFAULT_IMAGE
from tests.deploy.helm import CHART, NAME, Helm, HelmError, Object
from tests.deploy.values_file import values_schema

LIST = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}


def rules(permissions: Iterable[Permission]) -> list[dict[str, Any]]:
    return [rule for permission in permissions for rule in permission.rules()]


def only(objects: Iterable[Object], kind: str, name: str = NAME) -> Object:
    found = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1
    return found[0]


def container(objects: Iterable[Object], name: str = NAME) -> dict[str, Any]:
    found: dict[str, Any] = only(objects, "Deployment", name)["spec"]["template"]["spec"]["containers"][0]
    return found


def test_helm_finds_nothing_to_say_against_it(helm: Helm) -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in helm.run("lint", "--strict", CHART)


def test_as_a_package_it_is_the_same(helm: Helm, tmp_path: Path) -> None:
    helm.run("package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.iterdir()
    assert package.name == f"{NAME}-{__version__}.tgz"
    assert helm.template(chart=package) == helm.template()


REFUSED: tuple[tuple[Mapping[str, Any], str], ...] = (
    ({"replicaCount": 3}, "additional properties 'replicaCount' not allowed"),
    ({"replicas": 11}, "at '/replicas': maximum: got 11, want 10"),
    ({"replicas": "2"}, "at '/replicas': got string, want integer"),
    ({"logging": {"level": "trace"}}, "at '/logging/level': value must be one of 'debug', 'info', 'warning', 'error'"),
    ({"image": {"digest": "sha256:abc"}}, "at '/image/digest': 'sha256:abc' does not match pattern"),
    ({"image": {"name": "x"}}, "at '/image': additional properties 'name' not allowed"),
    ({"watch": {"namespaces": ["Booking"]}}, "at '/watch/namespaces/0': 'Booking' does not match pattern"),
    ({"watch": {"namespaces": ["a", "a"]}}, "at '/watch/namespaces': items at 0 and 1 are equal"),
    ({"watch": {"namespaces": "booking"}}, "at '/watch/namespaces': got string, want array"),
    (
        {"podDisruptionBudget": {"maxUnavailable": 0}},
        "at '/podDisruptionBudget/maxUnavailable': minimum: got 0, want 1",
    ),
    ({"networkPolicy": {"apiServer": {"ports": []}}}, "at '/networkPolicy/apiServer/ports': minItems: got 0, want 1"),
    (
        {"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1"]}}},
        "at '/networkPolicy/apiServer/cidrs/0': '10.0.0.1' does not",
    ),
    (
        {"monitoring": {"prometheusRule": {"disabled": ["NotificationOperatorOff"]}}},
        "at '/monitoring/prometheusRule/disabled/0': value must be one of 'NotificationOperatorDown'",
    ),
    ({"podLabels": {"version": 1}}, "at '/podLabels/version': got number, want string"),
    ({"leaderElection": {"enabled": False}}, "replicas: more than one operator needs leaderElection.enabled"),
    ({"serviceAccount": {"create": False}}, "serviceAccount.name is required where serviceAccount.create is false"),
)


@pytest.mark.parametrize(("values", "why"), REFUSED, ids=lambda one: json.dumps(one) if isinstance(one, dict) else "")
def test_what_cannot_work_is_refused_with_its_path(helm: Helm, values: Mapping[str, Any], why: str) -> None:
    with pytest.raises(HelmError) as refused:
        helm.template(values)
    assert why in str(refused.value)


def test_every_value_is_described_and_unknown_ones_are_refused_everywhere() -> None:
    def check(schema: Mapping[str, Any], path: str) -> None:
        if schema.get("properties") and schema.get("additionalProperties") is not False:
            assert path.endswith("env[]"), path
        for name, one in schema.get("properties", {}).items():
            assert path.endswith("[]") or one["description"].endswith("."), f"{path}.{name}"
            check(one, f"{path}.{name}")
        if "items" in schema:
            check(schema["items"], f"{path}[]")

    check(values_schema(), "")


def test_as_a_part_of_another_chart_it_takes_what_helm_hands_it(helm: Helm) -> None:
    assert helm.objects({"global": {"registry": "x"}, "enabled": True}) == helm.objects()


def test_for_all_namespaces_the_rights_are_those_of_the_table(helm: Helm) -> None:
    objects = helm.objects()
    assert only(objects, "ClusterRole")["rules"] == rules(WITH_PIPELINES)
    assert only(objects, "Role", f"{NAME}-leader")["rules"] == rules(WITH_OPERATOR)
    assert only(objects, "ClusterRole", f"{NAME}-view")["rules"] == rules(FOR_READERS)
    assert only(objects, "ClusterRole", f"{NAME}-edit")["rules"] == rules(FOR_EDITORS)
    assert all_bound(objects)
    assert not [one for one in container(objects)["args"] if one.startswith("--namespace")]


def test_for_some_namespaces_it_has_rights_in_these_alone(helm: Helm) -> None:
    objects = helm.objects({"watch": {"namespaces": ["booking", NAME]}, "rbac": {"aggregate": False}})
    assert not [one for one in objects if one["kind"].startswith("Cluster")]
    roles = {
        (one["metadata"]["namespace"], one["metadata"]["name"]): one["rules"]
        for one in objects
        if one["kind"] == "Role"
    }
    both = {(namespace, NAME): rules(WITH_PIPELINES) for namespace in ("booking", NAME)}
    assert roles == {**both, (NAME, f"{NAME}-leader"): rules(WITH_OPERATOR)}
    assert all_bound(objects)
    assert container(objects)["args"][-2:] == ["--namespace=booking", f"--namespace={NAME}"]


def all_bound(objects: Iterable[Object]) -> bool:
    """Whether the operator's account, and nobody else, has every role but those that are added to the cluster's own."""
    objects = list(objects)
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": NAME}
    bindings = [one for one in objects if one["kind"].endswith("Binding")]
    assert all(one["subjects"] == [account] for one in bindings)
    bound = {(one["roleRef"]["kind"], one["metadata"].get("namespace"), one["roleRef"]["name"]) for one in bindings}
    return bound == {
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
        for one in objects
        if one["kind"].endswith("Role") and not one["metadata"]["name"].endswith(("-view", "-edit"))
    }


def test_a_list_of_secrets_is_the_only_right_that_can_be_added_and_rights_can_be_left_out(helm: Helm) -> None:
    assert only(helm.objects({"rbac": {"listSecrets": True}}), "ClusterRole")["rules"] == [*rules(WITH_PIPELINES), LIST]
    kinds = {one["kind"] for one in helm.objects({"rbac": {"create": False, "aggregate": False}})}
    assert not {kind for kind in kinds if "Role" in kind}


@pytest.mark.parametrize(
    ("version", "values", "warns"),
    [("v1.33.4", (), True), ("v1.33.4", ("--set", "rbac.listSecrets=true"), False), ("v1.34.0-rc.1", (), False)],
)
def test_who_must_let_it_list_secrets_is_told(
    helm: Helm, tmp_path: Path, version: str, values: tuple[str, ...], warns: bool
) -> None:
    # Only `template` takes a version of Kubernetes, and it shows no notes: here they are an object's.
    chart = shutil.copytree(CHART, tmp_path / "chart")
    notes = (chart / "templates" / "NOTES.txt").read_text()
    (chart / "templates" / "_notes.tpl").write_text(f'{{{{- define "notes" }}}}{notes}{{{{ end }}}}')
    (chart / "templates" / "notes.yaml").write_text('told: {{ include "notes" . | quote }}')
    shown = helm.run("template", NAME, chart, "--show-only", "templates/notes.yaml", "--kube-version", version, *values)
    assert ("no pipeline becomes ready. Set rbac.listSecrets=true." in shown) is warns


def test_the_operator_knows_every_argument_and_by_default_gives_pipelines_its_own_default_image(helm: Helm) -> None:
    args = container(helm.objects({"watch": {"namespaces": ["booking"]}}))["args"]
    assert args[0] == "run"
    context = run_command.make_context("run", args[1:])
    assert context.params["dispatcher_image"] == DEFAULT_IMAGE
    assert context.params["metrics_port"] == container(helm.objects())["ports"][0]["containerPort"]


def test_without_an_election_two_never_run_at_once(helm: Helm) -> None:
    alone = helm.objects({"replicas": 1, "leaderElection": {"enabled": False}})
    assert only(alone, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    assert "--no-leader-elect" in container(alone)["args"]
    assert "Lease" not in {one["kind"] for one in alone}


def test_two_releases_of_one_cluster_share_nothing_but_the_definition(helm: Helm) -> None:
    second = {"crds": {"install": False}, "rbac": {"aggregate": False}}
    for name, namespace in (("second", NAME), (NAME, "second")):
        one, other = (
            {(kind["kind"], kind["metadata"].get("namespace"), kind["metadata"]["name"]) for kind in objects}
            for objects in (helm.objects(), helm.objects(second, name=name, namespace=namespace))
        )
        assert not one & other
    assert f"--lease-name=second-{NAME}" in container(helm.objects(name="second"), f"second-{NAME}")["args"]


def test_the_longest_names_fit(helm: Helm) -> None:
    for objects in (helm.objects(name="a" * 53), helm.objects({"nameOverride": "b" * 53}, name="a" * 53)):
        for one in objects:
            values = one["metadata"].get("labels", {}).values()
            assert all(len(value) <= 63 for value in values)
            if one["kind"] in {"Service", "Deployment"}:
                assert len(one["metadata"]["name"]) <= 63
                assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", one["metadata"]["name"])


def test_nothing_takes_the_definition_away_but_a_person(helm: Helm) -> None:
    name = "notificationpipelines.notifications.plannivo.io"
    annotations = only(helm.objects(), "CustomResourceDefinition", name)["metadata"]["annotations"]
    assert annotations == {"helm.sh/resource-policy": "keep"}
