"""Which fields of a child are ours to take away, as the API server notes it. `applier` asks before it changes a child.

The server notes under `metadata.managedFields` who set what, and by which operation. A child is created by POST, whose
fields are noted as set by Update; those of a later server-side apply as set by Apply, as if by somebody else. An apply
takes a field away only when nobody else has set it, so what is no longer wanted would stay for ever. Therefore the note
of the creation is made one of an apply, before the first apply.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#upgrading-from-client-side-apply-to-server-side-apply
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notification_operator.naming import FIELD_MANAGER


def handover(live: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The JSON patch that makes the note of our creation one of an apply; empty where that was done.

    It tests what it changes, so it can't go wrong when somebody else changed the object, or made it anew.
    """
    noted = live["metadata"].get("managedFields", [])
    return [
        operation
        for number, entry in enumerate(noted)
        if (entry["manager"], entry["operation"], entry.get("subresource")) == (FIELD_MANAGER, "Update", None)
        for operation in _as_apply(live["metadata"]["uid"], number)
    ]


def _as_apply(uid: str, number: int) -> list[dict[str, Any]]:
    note = f"/metadata/managedFields/{number}"
    return [
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "test", "path": f"{note}/manager", "value": FIELD_MANAGER},
        {"op": "test", "path": f"{note}/operation", "value": "Update"},
        {"op": "replace", "path": f"{note}/operation", "value": "Apply"},
    ]
