"""Events: which changes of a status are news, and what an event says of them."""

from __future__ import annotations

from typing import Any

from notification_operator import events
from notification_operator.events import Transition
from notification_operator.status import Condition, ConditionType, Reason, Verdict, compose, summary
from tests.controller.pipelines import stored

Judged = tuple[ConditionType, Verdict, Reason, str]


def status(*judged: Judged) -> dict[str, Any]:
    conditions = [Condition(*one) for one in judged]
    return compose({}, 1, [summary(conditions), *conditions], {}, "T")


APPLIED: Judged = (ConditionType.RESOURCES_APPLIED, "True", Reason.APPLIED, "9 objects")
ROLLING: Judged = (ConditionType.DISPATCHER_AVAILABLE, "False", Reason.ROLLING_OUT, "0 of 1")
AVAILABLE: Judged = (ConditionType.DISPATCHER_AVAILABLE, "True", Reason.AVAILABLE, "1 of 1")
BESIDE: Judged = (ConditionType.DISPATCHER_AVAILABLE, "True", Reason.IMAGE_PULL_FAILED, "1 of 1, but")
CONFIGURED: Judged = (ConditionType.ALERTING_CONFIGURED, "True", Reason.CONFIGURED, "Slack")
MISSING: Judged = (ConditionType.ALERTING_CONFIGURED, "False", Reason.SECRET_NOT_FOUND, "no Secret slack")


def said(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(found.reason, found.warns) for found in events.transitions(before, after)]


def test_a_first_verdict_is_news_only_when_something_is_wrong() -> None:
    assert said({}, status(APPLIED, ROLLING, CONFIGURED)) == []
    assert said({}, status(APPLIED, ROLLING, MISSING)) == [("SecretNotFound", True)]


def test_a_change_of_a_verdict_or_its_reason_is_news_once_and_the_summary_is_not() -> None:
    assert said(status(APPLIED, ROLLING), status(APPLIED, AVAILABLE)) == [("Available", False)]
    assert said(status(APPLIED, AVAILABLE, MISSING), status(APPLIED, AVAILABLE, CONFIGURED)) == [("Configured", False)]
    assert said(status(AVAILABLE), status(BESIDE)) == [("ImagePullFailed", True)]
    assert said(status(AVAILABLE), status(AVAILABLE)) == []


def test_other_words_alone_are_no_news() -> None:
    reworded: Judged = (MISSING[0], MISSING[1], MISSING[2], "no Secret slack in plannivo")
    assert said(status(MISSING), status(reworded)) == []


def test_every_reason_is_either_fine_or_warns() -> None:
    fine = {reason for reason in Reason if not Transition("", reason, "").warns}
    trouble = {Reason.APPLY_FAILED, Reason.CONFLICT, Reason.CRASH_LOOPING, Reason.SECRET_NOT_FOUND}
    assert {Reason.APPLIED, Reason.AVAILABLE, Reason.CONFIGURED, Reason.PAUSED, Reason.ROLLING_OUT} <= fine
    assert not trouble & fine


def event(uid: str = "u", condition: str = "AlertingConfigured", note: str = "no Secret slack") -> dict[str, Any]:
    pipeline = stored()
    pipeline["metadata"]["uid"] = uid
    return events.build(pipeline, Transition(condition, "SecretNotFound", note), "2026-01-31T12:00:00.000000Z")


def test_an_events_name_follows_from_whom_it_is_about_and_what_it_says() -> None:
    same, others = event(), [event(uid="v"), event(condition="ChannelsConfigured"), event(note="no Secret crm")]
    assert same["metadata"] == event()["metadata"]
    assert len({one["metadata"]["name"] for one in (same, *others)}) == 4
    assert same["metadata"]["name"].startswith("booking.")
    assert same["regarding"] == {
        "apiVersion": "notifications.plannivo.io/v1alpha1",
        "kind": "NotificationPipeline",
        "namespace": "plannivo",
        "name": "booking",
        "uid": "u",
    }
    assert (same["type"], same["reason"], same["action"]) == ("Warning", "SecretNotFound", "AlertingConfigured")


def test_a_note_has_at_most_1024_bytes_and_no_half_character() -> None:
    condition = {"type": "AlertingConfigured", "reason": "SecretNotFound", "message": "é" * 1024}
    note = Transition.to(condition).note
    assert len(note.encode()) <= 1024
    assert set(note) == {"é", "…"}
    assert Transition.to({**condition, "message": "a" * 1024}).note == "a" * 1024


def test_a_repetition_counts_up() -> None:
    first = events.repeated({}, "T2")
    assert first == {"series": {"count": 2, "lastObservedTime": "T2"}}
    assert events.repeated(first, "T3") == {"series": {"count": 3, "lastObservedTime": "T3"}}
    assert events.repeated({"series": None}, "T")["series"]["count"] == 2
