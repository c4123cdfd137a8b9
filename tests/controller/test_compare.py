"""Compare before writing: what is a difference, and what the API server added."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notification_operator import compare, naming

LIVE: dict[str, Any] = {
    "metadata": {"name": "a", "uid": "1", "labels": {"ours": "1", "theirs": "2"}, "managedFields": []},
    "spec": {
        "replicas": 1,
        "paused": False,
        "containers": [
            {"name": "sidecar", "image": "injected"},
            {"name": "main", "image": "i", "args": ["run"], "env": [{"name": "A", "value": "1"}], "tty": False},
        ],
    },
}


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"spec": {"replicas": 1}},
        {"metadata": {"labels": {"ours": "1"}}},
        {"spec": {"containers": [{"name": "main", "image": "i", "env": [{"name": "A", "value": "1"}]}]}},
        {"spec": {"containers": [{"name": "main", "args": ["run"]}]}},
        {"apiVersion": "v1", "kind": "left out of lists", "spec": {"paused": False}},
    ],
)
def test_what_is_there_needs_no_write(wanted: dict[str, Any]) -> None:
    assert compare.same(LIVE, wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        {"spec": {"replicas": 2}},
        {"spec": {"replicas": True}},
        {"spec": {"paused": 0}},
        {"spec": {"missing": 1}},
        {"data": {}},
        {"metadata": {"labels": {"ours": "2"}}},
        {"spec": {"containers": [{"name": "other"}]}},
        {"spec": {"containers": [{"name": "main", "args": ["run", "more"]}]}},
        {"spec": {"containers": [{"name": "main", "args": []}]}},
        {"spec": {"containers": [{"name": "main", "env": [{"name": "A", "value": "2"}]}]}},
    ],
)
def test_what_differs_needs_one(wanted: dict[str, Any]) -> None:
    assert not compare.same(LIVE, wanted)


def test_a_field_that_is_no_longer_wanted_is_noticed() -> None:
    before = compare.stamped({"metadata": {"annotations": {"folder": "a"}}, "spec": {"x": 1}})
    after = compare.stamped({"metadata": {"annotations": {}}, "spec": {"x": 1}})
    assert not compare.same(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([{"alert": "A", "labels": {"notifier": "dispatcher"}}], [{"alert": "A", "labels": {}}]),
        ([{"from": [{"podSelector": {}, "namespaceSelector": {}}]}], [{"from": [{"podSelector": {}}]}]),
        ([{"ports": [], "from": [{"podSelector": {}}]}], [{"ports": []}]),
        ([{"matchLabels": {"a": "b"}}, {}], [{}, {"matchLabels": {"a": "b"}}]),
    ],
)
def test_so_is_one_of_an_item_of_a_list(before: list[Any], after: list[Any]) -> None:
    stored = compare.stamped({"metadata": {}, "spec": {"items": before}})
    assert not compare.same(stored, compare.stamped({"metadata": {}, "spec": {"items": after}}))


@pytest.mark.parametrize(("kind", "seen"), [("NetworkPolicy", True), ("PrometheusRule", True), ("Deployment", False)])
def test_what_somebody_added_to_an_item_is_seen_where_the_server_adds_nothing(kind: str, seen: bool) -> None:
    peer = {"podSelector": {"matchLabels": {"app": "web"}}}
    wanted = {"kind": kind, "spec": {"ingress": [{"from": [peer]}]}}
    opened = {"spec": {"ingress": [{"from": [{**peer, "namespaceSelector": {}}]}]}}
    assert compare.same({"spec": wanted["spec"]}, wanted)
    assert compare.same(opened, wanted) is not seen


@pytest.mark.parametrize(
    ("wanted", "live"),
    [
        ({"selector": {"app": "a"}}, {"selector": {"app": "a", "tier": "b"}}),
        ({"podSelector": {"matchLabels": {"app": "a"}}}, {"podSelector": {"matchLabels": {"app": "a", "tier": "b"}}}),
        (
            {"podSelector": {"matchLabels": {"app": "a"}}},
            {"podSelector": {"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}},
        ),
        ({"template": {"spec": {"nodeSelector": {}}}}, {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}),
    ],
)
def test_a_selector_holds_nothing_else(wanted: dict[str, Any], live: dict[str, Any]) -> None:
    assert compare.holds(wanted, wanted)
    assert not compare.holds(live, wanted)


def test_the_fingerprint_knows_fields_and_no_values() -> None:
    assert compare.fingerprint({"data": {"url": "one"}}) == compare.fingerprint({"data": {"url": "another"}})
    assert compare.fingerprint({"data": {"url": "one"}}) != compare.fingerprint({"data": {"uri": "one"}})


def test_stamping_changes_nothing_of_what_was_given() -> None:
    manifest = {"metadata": {"name": "a"}}
    assert naming.HASH_ANNOTATION in compare.stamped(manifest)["metadata"]["annotations"]
    assert manifest == {"metadata": {"name": "a"}}


def test_a_long_text_is_kept_as_its_digest_and_compared_all_the_same() -> None:
    board = "x" * 60_000
    wanted = {"metadata": {"name": "board"}, "data": {"board.json": board, "short": "a"}}
    kept = compare.trimmed(json.dumps(wanted).encode())
    assert len(kept) < 300
    assert compare.same(json.loads(kept), wanted)
    assert compare.trimmed(kept) == kept
    assert not compare.same(json.loads(kept), {"data": {"board.json": board + "x"}})
    assert not compare.same(json.loads(kept), {"data": {"board.json": "", "short": "a"}})


def test_no_text_passes_for_the_digest_of_another() -> None:
    board = "x" * 2000
    digest = json.loads(compare.trimmed(json.dumps({"data": {"a": board}}).encode()))["data"]["a"]
    for forged in (json.dumps(digest), digest["sha256"]):
        live = json.loads(compare.trimmed(json.dumps({"data": {"a": forged}}).encode()))
        assert not compare.same(live, {"data": {"a": board}})


@pytest.mark.parametrize("content", [b'{"metadata":{"name":"a"}}', b'{"data":null,"x":"' + b"y" * 2000 + b'"}'])
def test_what_has_no_long_text_is_kept_as_it_came(content: bytes) -> None:
    assert compare.trimmed(content) == content
