"""The table of permissions: what no operator of ours ever needs, and what people are given."""

from __future__ import annotations

import pytest

from notification_operator import kinds
from notification_operator.permissions import FOR_EDITORS, FOR_READERS, WITH_OPERATOR, WITH_PIPELINES

RULES = [rule for permission in (*WITH_PIPELINES, *WITH_OPERATOR) for rule in permission.rules()]


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


def test_people_are_given_nothing_but_pipelines_and_no_way_to_write_what_the_operator_says_of_them() -> None:
    for permission in (*FOR_READERS, *FOR_EDITORS):
        assert permission.kinds == (kinds.PIPELINE,)
        assert permission.subresource != "status"
    assert {verb for one in FOR_READERS for verb in one.verbs.split()} == {"get", "list", "watch"}
