"""Status: the summary names the first thing that is wrong, and times change only with verdicts."""

from __future__ import annotations

from notification_operator.status import Condition, ConditionType, Reason, Verdict, compose, same, summary


def judged(kind: ConditionType, verdict: Verdict, reason: Reason, message: str = "said") -> Condition:
    return Condition(kind, verdict, reason, message)


APPLIED = judged(ConditionType.RESOURCES_APPLIED, "True", Reason.APPLIED)
AVAILABLE = judged(ConditionType.DISPATCHER_AVAILABLE, "True", Reason.AVAILABLE)
ROLLING = judged(ConditionType.DISPATCHER_AVAILABLE, "False", Reason.ROLLING_OUT, "0 of 1")
SILENT = judged(ConditionType.ALERTING_CONFIGURED, "False", Reason.DISABLED)
MISSING = judged(ConditionType.ALERTING_CONFIGURED, "False", Reason.SECRET_NOT_FOUND, "no Secret slack")
UNSELECTED = judged(ConditionType.MONITORING_SELECTED, "False", Reason.NO_PROMETHEUS_SELECTS, "label missing")


def test_the_summary_is_the_first_thing_that_is_wrong() -> None:
    found = summary([APPLIED, ROLLING, MISSING])
    assert (found.status, found.reason, found.message) == ("False", Reason.ROLLING_OUT, "0 of 1")
    assert summary([APPLIED, AVAILABLE, MISSING]).reason is Reason.SECRET_NOT_FOUND


def test_what_cannot_be_seen_is_not_said_to_be_wrong() -> None:
    unseen = judged(ConditionType.DISPATCHER_AVAILABLE, "Unknown", Reason.STATUS_UNKNOWN, "It cannot be seen.")
    found = summary([judged(ConditionType.RESOURCES_APPLIED, "True", Reason.APPLIED), unseen])
    assert (found.status, found.reason, found.message) == ("Unknown", Reason.STATUS_UNKNOWN, "It cannot be seen.")


def test_what_was_switched_off_on_purpose_holds_nothing_up() -> None:
    assert summary([APPLIED, AVAILABLE, SILENT]).status == "True"


def test_a_scrape_that_nobody_makes_is_mentioned() -> None:
    found = summary([APPLIED, AVAILABLE, UNSELECTED])
    assert found.status == "True"
    assert "label missing" in found.message


def test_trouble_beside_dispatchers_that_serve_is_mentioned() -> None:
    message = "1 of 1 dispatchers are ready, but the image x cannot be pulled."
    serving = judged(ConditionType.DISPATCHER_AVAILABLE, "True", Reason.IMAGE_PULL_FAILED, message)
    found = summary([APPLIED, serving, UNSELECTED])
    assert (found.status, found.reason) == ("True", Reason.READY)
    assert message in found.message
    assert "label missing" in found.message


def test_a_time_changes_only_with_its_verdict() -> None:
    first = compose({}, 1, [ROLLING], {}, "T1")
    more = judged(ConditionType.DISPATCHER_AVAILABLE, "False", Reason.ROLLING_OUT, "still 0 of 1")
    second = compose(first, 2, [more], {}, "T2")
    assert second["conditions"][0]["lastTransitionTime"] == "T1"
    assert second["conditions"][0]["observedGeneration"] == 2
    third = compose(second, 2, [AVAILABLE], {}, "T3")
    assert third["conditions"][0]["lastTransitionTime"] == "T3"


def test_the_order_of_conditions_says_nothing() -> None:
    one = compose({}, 1, [APPLIED, AVAILABLE], {"ready": "1/1"}, "T")
    other = compose({}, 1, [AVAILABLE, APPLIED], {"ready": "1/1"}, "T")
    assert same(one, other)
    assert not same(one, {**other, "ready": "0/1"})
