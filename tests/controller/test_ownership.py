"""What the API server's note of a creation becomes, and which notes are left alone."""

from __future__ import annotations

from typing import Any

import pytest

from notification_operator.naming import FIELD_MANAGER
from notification_operator.ownership import handover

SETTINGS: dict[str, Any] = {"kind": "ConfigMap", "data": {}}


def live(*noted: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"uid": "u", "resourceVersion": "7", "managedFields": list(noted)}}


def note(manager: str, operation: str, **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, **more}


def test_the_note_of_our_creation_becomes_that_of_an_apply() -> None:
    operations = handover(live(note("kubectl", "Apply"), note(FIELD_MANAGER, "Update")), SETTINGS)
    assert operations[-1] == {"op": "replace", "path": "/metadata/managedFields/1/operation", "value": "Apply"}
    tested = {operation["path"]: operation["value"] for operation in operations[:-1]}
    assert {operation["op"] for operation in operations[:-1]} == {"test"}
    assert tested == {
        "/metadata/uid": "u",
        "/metadata/managedFields/1/manager": FIELD_MANAGER,
        "/metadata/managedFields/1/operation": "Update",
    }


@pytest.mark.parametrize(
    "noted",
    [
        note(FIELD_MANAGER, "Apply"),
        note("kubectl", "Update"),
        note("kube-controller-manager", "Update", subresource="status"),
        note(FIELD_MANAGER, "Update", subresource="scale"),
    ],
)
def test_every_other_note_is_left_alone(noted: dict[str, Any]) -> None:
    assert handover(live(noted), SETTINGS) == []


def test_an_object_without_notes_has_nothing_to_hand_over() -> None:
    assert handover({"metadata": {"uid": "u"}}, SETTINGS) == []


@pytest.mark.parametrize("operation", ["Update", "Apply"])
def test_a_number_of_pods_that_is_left_to_others_is_struck_from_our_note(operation: str) -> None:
    noted = live(note(FIELD_MANAGER, operation, fieldsV1={"f:spec": {"f:replicas": {}, "f:paused": {}}}))
    operations = handover(noted, {"kind": "Deployment", "spec": {}})
    assert operations[-1] == {"op": "remove", "path": "/metadata/managedFields/0/fieldsV1/f:spec/f:replicas"}
    kept = handover(noted, {"kind": "Deployment", "spec": {"replicas": 3}})
    assert "remove" not in {operation["op"] for operation in kept}


def test_nothing_is_struck_twice() -> None:
    noted = live(note(FIELD_MANAGER, "Apply", fieldsV1={"f:spec": {"f:paused": {}}}))
    assert handover(noted, {"kind": "Deployment", "spec": {}}) == []
