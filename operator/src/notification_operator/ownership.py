"""Which fields of a child are ours to take away, as the API server notes it. `applier` asks before it changes a child.

The server notes under `metadata.managedFields` who set what, and by which operation. A child is created by POST, whose
fields are noted as set by Update; those of a later server-side apply as set by Apply, as if by somebody else. An apply
takes a field away only when nobody else has set it, so what is no longer wanted would stay for ever. Therefore the note
of the creation is made one of an apply, before the first apply. A number of pods that is handed to an autoscaler is
struck from our note, so that nobody takes it away.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#upgrading-from-client-side-apply-to-server-side-apply
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notification_operator.kinds import DEPLOYMENT
from notification_operator.naming import FIELD_MANAGER


def handover(live: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The JSON patch of notes that an apply of the manifest needs first; empty where it needs none.

    It tests what it changes, so it can't go wrong when somebody else changed the object, or made it anew.
    """
    noted = live["metadata"].get("managedFields", [])
    return [
        operation
        for number, entry in enumerate(noted)
        if entry["manager"] == FIELD_MANAGER and entry.get("subresource") is None
        for operation in _operations(live["metadata"]["uid"], number, entry, manifest)
    ]


def _operations(uid: str, number: int, entry: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    note, operation = f"/metadata/managedFields/{number}", entry["operation"]
    changes = [{"op": "replace", "path": f"{note}/operation", "value": "Apply"}] if operation == "Update" else []
    # Taken away, the number would be one until the autoscaler came to it. What nobody owns stays as it is.
    if _leaves_replicas(manifest) and "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {}):
        changes.append({"op": "remove", "path": f"{note}/fieldsV1/f:spec/f:replicas"})
    tests = (("/metadata/uid", uid), (f"{note}/manager", FIELD_MANAGER), (f"{note}/operation", operation))
    return [{"op": "test", "path": path, "value": value} for path, value in tests] + changes if changes else []


def _leaves_replicas(manifest: Mapping[str, Any]) -> bool:
    """Whether it is a Deployment whose number of pods is an autoscaler's."""
    return bool(manifest["kind"] == DEPLOYMENT.name) and "replicas" not in manifest["spec"]
