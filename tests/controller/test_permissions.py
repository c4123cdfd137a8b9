"""The table of permissions: what is committed of it, and what no operator of ours ever needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from notification_operator import kinds, permissions
from notification_operator.permissions import WITH_OPERATOR, WITH_PIPELINES

COMMITTED = Path(__file__).parents[2] / "deploy" / "rbac"
RULES = [rule for permission in (*WITH_PIPELINES, *WITH_OPERATOR) for rule in permission.rules()]


def test_the_committed_files_are_what_the_table_generates() -> None:
    committed = {path.name: path.read_text() for path in COMMITTED.glob("*.yaml")}
    assert committed == permissions.files(), "run `make generate`"


def test_nothing_is_granted_by_a_wildcard_and_no_right_to_give_rights() -> None:
    for rule in RULES:
        assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
        assert "rbac.authorization.k8s.io" not in rule["apiGroups"]
        assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])


@pytest.mark.parametrize("kind", kinds.CHILDREN, ids=lambda kind: kind.name)
def test_every_kind_of_child_is_in_the_table_once(kind: kinds.Kind) -> None:
    found = [rule for rule in RULES if rule["apiGroups"] == [kind.group] and kind.plural in rule["resources"]]
    assert len(found) == 1
    assert ("list" in found[0]["verbs"]) is not kind.streamed
