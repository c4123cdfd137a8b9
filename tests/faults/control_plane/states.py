"""What a pipeline and its children came to, in a form in which two runs can be compared.

Left out is what no two runs share: uids, versions, times, addresses, and what other controllers write. All else counts:
every value of a Secret or an annotation, our managed fields, a Deployment's generation and revision.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from notification_operator import compare, kinds, naming
from notification_operator.pipeline import Pipeline
from notification_operator.resources import desired
from notification_operator.resources.base import Context
from tests.controller.pipelines import condition
from tests.faults.control_plane.observer import Name, View

_DIGEST = re.compile(r"\b[0-9a-f]{16,64}\b")
_ADDRESSES = ("clusterIP", "clusterIPs", "volumeName")
_OF_THE_SERVER = ("uid", "resourceVersion", "creationTimestamp", "managedFields")

State = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What a pipeline should come to, by the operator's own builders."""

    name: str
    context: Context

    def reached(self, view: View) -> bool:
        """Whether all of it is there, nothing else is, and the status says so."""
        stored = view.pipeline(self.name)
        if not settled(stored):
            return False
        manifests = self.manifests(stored)
        present = {name for name in view.objects if name[0] != kinds.PIPELINE.name}
        return set(manifests) == present and all(
            compare.same(view.objects[name], manifest) for name, manifest in manifests.items()
        )

    def manifests(self, stored: Mapping[str, Any]) -> dict[Name, dict[str, Any]]:
        """Every child of this stored pipeline, as it is applied."""
        wanted = map(compare.stamped, desired(Pipeline.parse(stored), self.context))
        return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in wanted}

    def state(self, namespace: str, view: View) -> State:
        """The end state, with the counts of what was made and deleted."""
        stored = view.pipeline(self.name)
        found = {
            "objects": {" ".join(name): _normal(found) for name, found in sorted(view.objects.items())},
            "created": {" ".join(name): count for name, count in sorted(view.created.items())},
            "deleted": {" ".join(name): count for name, count in sorted(view.deleted.items())},
        }
        text = json.dumps(found).replace(namespace, "NAMESPACE")
        if stored:
            text = text.replace(stored["metadata"]["uid"], "UID")
            # A digest of what holds the namespace or the uid is another one in each run: it must be the right one.
            for name, manifest in self.manifests(stored).items():
                for number, digest in enumerate(_DIGEST.findall(json.dumps(manifest))):
                    text = text.replace(digest, f"DIGEST {number} OF {' '.join(name)}")
        state: State = json.loads(text)
        return state


def settled(stored: Mapping[str, Any]) -> bool:
    """Whether a pipeline's status is about its present spec, and says that all of it works."""
    status = stored.get("status", {})
    current = status.get("observedGeneration") == stored.get("metadata", {}).get("generation", 0)
    return (
        current
        and condition(stored, "Ready").get("status") == "True"
        and condition(stored, "DispatcherAvailable").get("reason") == "Available"
    )


def difference(expected: State, found: State) -> str:
    """Where two states differ, as a diff; empty where they don't."""
    return "\n".join(difflib.unified_diff(_lines(expected), _lines(found), "fault-free", "with the fault", n=2))


def _lines(state: State) -> Sequence[str]:
    return json.dumps(state, indent=1, sort_keys=True).splitlines()


def _normal(found: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in found["metadata"].items() if key not in _OF_THE_SERVER}
    metadata["managedFields"] = [
        {key: entry.get(key) for key in ("operation", "subresource", "fieldsV1")}
        for entry in found["metadata"].get("managedFields", ())
        if entry["manager"] == naming.FIELD_MANAGER
    ]
    normal = {**found, "metadata": metadata}
    if found["kind"] == kinds.PIPELINE.name:
        normal["status"] = _without_times(found.get("status", {}))
    else:
        normal.pop("status", None)
    if "spec" in normal:
        normal["spec"] = {key: value for key, value in normal["spec"].items() if key not in _ADDRESSES}
    return normal


def _without_times(status: Mapping[str, Any]) -> dict[str, Any]:
    conditions = [
        {key: value for key, value in one.items() if key != "lastTransitionTime"}
        for one in status.get("conditions", ())
    ]
    return {**status, "conditions": sorted(conditions, key=lambda one: str(one["type"]))}
