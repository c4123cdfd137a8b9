"""The watches' memory: what is newer, what vanished, what is a ghost."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from notification_operator import selection
from notification_operator.naming import PIPELINE_LABEL
from notification_operator.store import Known, ObjectMeta, Store, Stored, head, without_status


def content(name: str = "a", *, uid: str = "1", version: int = 1, namespace: str = "n") -> bytes:
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": str(version)}
    return json.dumps({"metadata": metadata, "data": {"version": version}}).encode()


def store() -> tuple[Store, list[ObjectMeta]]:
    changes: list[ObjectMeta] = []
    return Store(changes.append), changes


def version(kept: Store, name: str = "a") -> int | None:
    found = kept.get("n", name)
    return None if found is None else found.decoded()["data"]["version"]


def known(kept: Store) -> Stored:
    found = kept.get("n", "a")
    assert found is not None
    return found


def test_an_older_version_is_not_taken_in() -> None:
    kept, changes = store()
    kept.put(content(version=3))
    kept.put(content(version=2))
    kept.put(content(version=3))
    assert version(kept) == 3
    assert len(changes) == 1


def test_our_own_write_is_known_before_its_event_and_told_to_nobody() -> None:
    kept, changes = store()
    kept.put_answer(content(version=5))
    kept.put(content(version=5))
    assert changes == []
    kept.put(content(version=6))
    assert len(changes) == 1


def test_the_event_of_our_own_write_is_no_news_where_it_comes_first() -> None:
    kept, changes = store()
    with kept.writing("n", "a"):
        kept.put(content(version=5))
        kept.put_answer(content(version=5))
    with kept.writing("n", "a"):
        kept.put(content(version=6))
        kept.put(content(version=7))
        kept.put_answer(content(version=7))
    assert changes == []
    assert version(kept) == 7


def test_what_somebody_else_does_meanwhile_is_news() -> None:
    kept, changes = store()
    with kept.writing("n", "a"):
        kept.put(content(version=5))
        kept.put(content(version=6))
        kept.put_answer(content(version=5))
    with kept.writing("n", "a"):
        kept.put(content("b", uid="2", version=8))
    with kept.writing("n", "a"):
        kept.put(content(uid="successor", version=9))
        kept.put_answer(content(version=10))
    assert [(change.name, change.version) for change in changes] == [("a", 6), ("b", 8), ("a", 9)]


def test_what_came_of_a_write_that_failed_is_news() -> None:
    kept, changes = store()
    with suppress(RuntimeError), kept.writing("n", "a"):
        kept.put(content(version=5))
        raise RuntimeError
    assert [change.version for change in changes] == [5]


def test_what_was_asked_for_counts_until_the_watch_tells_what_it_became() -> None:
    kept, changes = store()
    asked, made = content(version=5), content(version=5).replace(b'"data"', b'"defaults": true, "data"')
    kept.put_answer(asked, assumed=True)
    assert known(kept).content == asked
    kept.put(made)
    found = known(kept)
    assert found.content == made
    kept.put_answer(asked, assumed=True)
    assert known(kept) == found
    assert changes == []
    kept.put(content(version=6))
    assert [change.version for change in changes] == [6]


def outline(**values: Any) -> bytes:
    return json.dumps({"kind": "PartialObjectMetadata", "metadata": json.loads(content(**values))["metadata"]}).encode()


@pytest.mark.parametrize("event_first", [False, True], ids=["answer first", "event first"])
def test_what_we_made_is_known_where_the_watch_tells_the_metadata_alone(event_first: bool) -> None:
    kept, changes = store()
    with kept.writing("n", "a"):
        if event_first:
            kept.put_outline(outline(version=5))
        kept.put_answer(content(version=5))
    kept.put_outline(outline(version=5))
    assert (known(kept).known, known(kept).decoded()["data"]) == (Known.WHOLE, {"version": 5})
    assert changes == []


def test_what_somebody_else_changed_is_to_be_asked_for() -> None:
    kept, changes = store()
    kept.put(content(version=5))
    changes.clear()
    kept.put_outline(outline(version=6))
    assert (known(kept).known, known(kept).meta.version) == (Known.OUTLINE, 6)
    assert [change.version for change in changes] == [6]
    kept.put_answer(content(version=6))
    kept.put_outline(outline(version=6))
    assert (known(kept).known, known(kept).decoded()["data"]) == (Known.WHOLE, {"version": 6})
    assert len(changes) == 1


def test_an_outline_of_what_has_gone_is_a_ghost() -> None:
    kept, changes = store()
    kept.put(content(version=5))
    kept.remove(head(outline(version=7)))
    kept.put_outline(outline(version=6))
    kept.put_answer(content(version=6))
    assert kept.get("n", "a") is None
    assert len(changes) == 2


def test_the_answer_to_a_write_after_the_deletion_is_a_ghost() -> None:
    kept, _ = store()
    kept.put(content(version=1))
    kept.remove(head(content(version=4)))
    kept.put_answer(content(version=3))
    assert version(kept) is None


def test_a_label_that_comes_back_is_no_ghost() -> None:
    kept, _ = store()
    kept.put(content(version=1))
    kept.remove(head(content(version=4)))  # so the server reports an object that lost our label
    kept.put(content(version=5))
    assert version(kept) == 5


def test_a_successor_is_another_object() -> None:
    kept, _ = store()
    kept.put(content(uid="1", version=7))
    kept.put(content(uid="2", version=9))
    kept.remove(head(content(uid="1", version=8)))
    assert version(kept) == 9


def test_what_was_made_since_the_list_is_left_to_the_watch() -> None:
    kept, _ = store()
    kept.put_answer(content(version=9))
    kept.replace([], namespace="n", version=8)
    assert version(kept) == 9
    kept.replace([], namespace="n", version=None)
    assert version(kept) is None


def test_what_a_new_list_lacks_vanished_unseen() -> None:
    kept, changes = store()
    for name in ("a", "b"):
        kept.put(content(name, uid=name))
    kept.put(content("c", uid="c", namespace="other"))
    changes.clear()
    kept.replace([content("b", uid="b")], namespace="n", version=5)
    assert version(kept, "a") is None
    assert version(kept, "b") == 1
    assert kept.get("other", "c") is not None
    assert [change.name for change in changes] == ["a"]


def test_an_api_that_was_away_has_the_same_objects_when_it_is_back() -> None:
    kept, told = store()
    kept.replace([content(version=4)], namespace=None, version=5)
    kept.replace((), namespace=None, version=None)
    assert version(kept) is None
    kept.replace([content(version=4)], namespace=None, version=9)
    assert version(kept) == 4
    assert [meta.version for meta in told] == [4, 4, 4]


def labelled(name: str, value: str, *, version: int = 1, namespace: str = "n", uid: str = "") -> bytes:
    metadata = {"name": name, "namespace": namespace, "uid": uid or name, "resourceVersion": str(version)}
    return json.dumps(
        {"metadata": {**metadata, "labels": {PIPELINE_LABEL: value, "app": "x"}}, "spec": {"long": "x" * 100}}
    ).encode()


def names(kept: Store, value: str, namespace: str = "n") -> list[str]:
    return sorted(stored.meta.name for stored in kept.of(namespace, value))


def test_objects_are_found_by_their_pipeline() -> None:
    kept = Store(lambda _: None, by_pipeline=True)
    for content_of in (labelled("a", "one"), labelled("b", "one"), labelled("c", "two")):
        kept.put(content_of)
    kept.put(labelled("d", "one", namespace="other"))
    assert names(kept, "one") == ["a", "b"]
    kept.put(labelled("a", "two", version=2))
    assert (names(kept, "one"), names(kept, "two")) == (["b"], ["a", "c"])
    kept.put(labelled("a", "one", version=3, uid="successor"))
    kept.remove(head(labelled("b", "one", version=4)))
    assert (names(kept, "one"), names(kept, "two")) == (["a"], ["c"])
    kept.replace([], namespace="n", version=9)
    assert (names(kept, "one"), names(kept, "two"), names(kept, "one", "other")) == ([], [], ["d"])


def test_only_what_is_worth_it_is_kept() -> None:
    def trim(whole: bytes) -> bytes:
        return json.dumps({"metadata": json.loads(whole)["metadata"]}).encode()

    kept = Store(lambda _: None, trim=trim)
    kept.put(labelled("a", "one"))
    found = kept.get("n", "a")
    assert found is not None
    assert "spec" not in found.decoded()
    assert found.meta.labels.pipeline == "one"


def scaler(version: int, *, replicas: int = 3, seen: int = 1, **metadata: Any) -> bytes:
    """A child whose controller writes its status, with the notes that the API server makes of that."""
    notes = [{"manager": "kube-controller-manager", "subresource": "status", "time": f"2026-01-01T00:00:0{seen}Z"}]
    head = {"name": "a", "namespace": "n", "uid": "1", "resourceVersion": str(version), "managedFields": notes}
    whole = {"metadata": {**head, **metadata}, "spec": {"maxReplicas": replicas}, "status": {"seen": seen}}
    return json.dumps(whole).encode()


def test_what_nobody_reads_is_told_to_nobody_and_the_version_is_known() -> None:
    changes: list[ObjectMeta] = []
    kept = Store(changes.append, trim=without_status)
    kept.put(scaler(1))
    for number in (2, 3):
        kept.put(scaler(number, seen=number, generation=number))
    kept.put(b'{"apiVersion": "v2", "kind": "K", ' + scaler(4)[1:])
    assert [change.version for change in changes] == [1]
    found = kept.get("n", "a")
    assert found is not None
    assert found.meta.version == 4
    assert "status" not in found.decoded()
    assert found.decoded()["metadata"]["managedFields"], "whose fields they are is asked before a change"
    kept.put(scaler(5, replicas=4))
    kept.put(scaler(6, replicas=4, labels={"app": "x"}))
    kept.put(scaler(7, replicas=4, labels={"app": "x"}, uid="2"))
    assert [change.version for change in changes] == [1, 5, 6, 7]


def test_of_a_prometheus_its_selectors_are_told() -> None:
    changes: list[ObjectMeta] = []
    kept = Store(changes.append, trim=selection.trimmed)

    def put(version: int, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
        metadata = {"name": "a", "namespace": "n", "uid": "1", "resourceVersion": str(version), "labels": {"app": "x"}}
        kept.put(json.dumps({"metadata": metadata, "spec": spec, **more}).encode())
        found = kept.get("n", "a")
        assert found is not None
        kept_spec: dict[str, Any] = found.decoded()["spec"]
        return kept_spec

    selectors = {"serviceMonitorSelector": {}, "ruleSelector": {"matchLabels": {"release": "kps"}}}
    assert put(1, {**selectors, "ruleNamespaceSelector": None, "replicas": 1}) == selectors
    assert put(2, {**selectors, "replicas": 2}, status={"availableReplicas": 2}) == selectors
    assert len(changes) == 1
    assert put(3, {**selectors, "ruleSelector": {}}) == {"serviceMonitorSelector": {}, "ruleSelector": {}}
    assert put(4, {}) == {}
    assert len(changes) == 3
