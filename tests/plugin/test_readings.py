"""What is made of several dispatchers' metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from notification_operator.plugin.readings import Counts, Reading, fleet, read
from tests.dispatcher.rig import REFUSED, rigged


def reading(at: float, *, waiting: float = 0, active: float = 0, **counts: float) -> Reading:
    known = dict.fromkeys(("queued", "processed", "failed", "dropped", "retries"), 0.0)
    return Reading(
        at=at,
        waiting=waiting,
        scheduled=0,
        oldest_seconds=0,
        dead=0,
        active=active,
        counts=Counts(**{**known, **counts}),
        failures={},
        open_circuits=(),
        refused_reloads=0,
        backlog_alert=500,
    )


async def test_a_dispatchers_metrics_are_read(tmp_path: Path) -> None:
    async with rigged(tmp_path, NOTIFICATION_ALERT_BACKLOG_THRESHOLD="30") as rig:
        rig.crm.script = [REFUSED]
        await rig.put("b-1", "b-2")
        await rig.take({"type": "booking-created", "id": "b-1", "payload": {}}, {"type": 3})
        waiting = read(rig.scrape().text, "plannivo_", at=0)
        assert (waiting.waiting, waiting.counts.queued, waiting.counts.dropped) == (2, 2, 1)
        assert waiting.backlog_alert == 30
        rig.start()
        await rig.settle()
        done = read(rig.scrape().text, "plannivo_", at=1)
        assert (done.waiting, done.dead, done.counts.processed, done.counts.failed) == (0, 1, 1, 1)
        assert fleet({}, {"pod": done, "other": done}).failures == {"http_4xx": 2}
        assert fleet({"pod": waiting}, {"pod": done}).rates == Counts(0, 1, 1, 0, 0)


def test_the_queue_is_taken_once_and_the_work_added_up() -> None:
    found = fleet({}, {"a": reading(0, waiting=7, active=2), "b": reading(0, waiting=6, active=3)})
    assert (found.waiting, found.active, found.dispatchers) == (7, 5, 2)


def test_rates_are_of_what_was_seen_twice() -> None:
    before = {"a": reading(0, processed=10), "gone": reading(0, processed=99)}
    now = {"a": reading(2, processed=30), "new": reading(2, processed=50)}
    found = fleet(before, now)
    assert (found.rates.processed, found.seconds) == (10, 2)


def test_a_dispatcher_that_started_anew_counts_from_nothing() -> None:
    found = fleet({"a": reading(0, failed=100)}, {"a": reading(2, failed=4)})
    assert found.rates.failed == 2


def test_without_an_earlier_look_there_is_no_rate() -> None:
    found = fleet({}, {"a": reading(5, processed=30)})
    assert (found.rates.processed, found.seconds) == (0, 0)


def test_what_is_no_dispatchers_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no metric other_notification_queue_depth"):
        read("# TYPE up gauge\nup 1\n", "other_", 0)
