"""Pipelines whose names begin alike, and end like a child's: no child is shared, and none goes with the wrong one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notification_operator import kinds, naming
from notification_operator.resources import CHILDREN
from tests.cluster import Cluster
from tests.controller.pipelines import PERSISTENT, apply, condition, eventually, get, manifest, slack_secret
from tests.operator_process import OperatorProcess

FIRST = "booking"
LONGEST = "a" * naming.LONGEST_NAME
NAMES = (*sorted({f"{FIRST}{child.name('')}" for child in CHILDREN}), LONGEST, LONGEST[:-1])
SPEC: dict[str, Any] = {**PERSISTENT, "networkPolicy": {"enabled": True}}

Metadata = Mapping[str, Any]


def children(cluster: Cluster, namespace: str) -> dict[str, dict[tuple[str, str], Metadata]]:
    """All children, of the pipeline that their label names: each by its kind and by what its name adds."""
    plurals = ",".join(kind.plural for kind in kinds.CHILDREN if not kind.optional)
    found: dict[str, dict[tuple[str, str], Metadata]] = {}
    for one in get(cluster, namespace, plurals, "-l", naming.PIPELINE_LABEL)["items"]:
        metadata = one["metadata"]
        pipeline = metadata["labels"][naming.PIPELINE_LABEL]
        found.setdefault(pipeline, {})[one["kind"], metadata["name"].removeprefix(pipeline)] = metadata
    return found


def test_no_child_is_shared_or_stolen(cluster: Cluster, namespace: str, operator: OperatorProcess) -> None:
    slack_secret(cluster, namespace)
    apply(cluster, namespace, {"apiVersion": "v1", "kind": "List", "items": [manifest(name, **SPEC) for name in NAMES]})

    def all_applied() -> dict[str, str] | None:
        items = get(cluster, namespace, "npl")["items"]
        applied = [one for one in items if condition(one, "ResourcesApplied").get("status") == "True"]
        return (
            {one["metadata"]["name"]: one["metadata"]["uid"] for one in applied} if len(applied) == len(NAMES) else None
        )

    uids = eventually(all_applied, "every pipeline has its children", 60)
    made = children(cluster, namespace)
    assert made.keys() == uids.keys() == set(NAMES)
    for name, own in made.items():
        assert own.keys() == made[FIRST].keys()
        for metadata in own.values():
            assert [owner["uid"] for owner in metadata["ownerReferences"]] == [uids[name]]

    cluster.run_kubectl("-n", namespace, "delete", "npl", FIRST, "--timeout=20s")
    eventually(lambda: FIRST not in children(cluster, namespace), "its children go", 60)
    left = children(cluster, namespace)
    assert {name: set(own) for name, own in left.items()} == {name: set(made[name]) for name in NAMES if name != FIRST}
    assert not any("deletionTimestamp" in metadata for own in left.values() for metadata in own.values())
