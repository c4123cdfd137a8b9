"""Every query of both boards and every rule, on real Prometheus servers that have watched real dispatchers.

None is empty, none is an error, and the main ones give what the load is known to have done.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from notification_dispatcher import metric_names as names
from notification_dispatcher.metric_names import DropReason
from notification_operator.dashboards import fleet_board
from tests.observability import load
from tests.observability.conftest import FIRING, Watched
from tests.observability.grafana import Chosen, View

pytestmark = pytest.mark.prometheus

ALL_OF_IT = "10m"
"""As a rate interval: longer than the load, so that an increase is its whole count."""
MINUTES = 10
OWN: Chosen = {"namespace": ["shop"], "pipeline": ["bookings"]}
"""Narrows the fleet's board to the pipeline whose counts are known."""

each_board = pytest.mark.parametrize("which", ["fleet", "pipeline"])


def view(watched: Watched, which: str) -> View:
    board = fleet_board() if which == "fleet" else watched.products.bookings.board
    return View(board, watched.prometheus, watched.start, watched.end)


def own(which: str) -> Chosen:
    return OWN if which == "fleet" else {}


# Nothing is empty.


@each_board
def test_each_variable_offers_what_there_is(watched: Watched, which: str) -> None:
    offered = view(watched, which).offered()
    fleet = which == "fleet"
    jobs = ["bookings", "lessons", "quiet"] if fleet else ["bookings"]
    assert offered["job"] == jobs
    assert len(offered["instance"]) == len(jobs)
    if fleet:
        assert offered["namespace"] == ["school", "shop"]
        assert offered["pipeline"] == jobs
    types = {*load.PROCESSED, *load.FAILED, "voucher-issued", "newsletter-sent", "other"}
    assert set(offered["job_type"]) >= types


@each_board
def test_no_panel_is_empty(watched: Watched, which: str) -> None:
    opened = view(watched, which)
    empty = [query.name for query in opened.queries() if not numbers(opened, query)]
    assert empty == []


@each_board
def test_each_series_has_a_name_of_its_own(watched: Watched, which: str) -> None:
    opened = view(watched, which)
    for query in opened.queries():
        called = [query.called(one) for one in opened.ask(query)]
        assert len(set(called)) == len(called), query.name
        assert all(name.split() and "  " not in name for name in called), query.name


@each_board
def test_choosing_every_value_shows_what_all_shows(watched: Watched, which: str) -> None:
    opened = view(watched, which)
    every = opened.offered()
    for all_of_them, each_of_them in zip(opened.queries(), opened.queries(every), strict=True):
        assert opened.ask(all_of_them) == opened.ask(each_of_them), all_of_them.name


@each_board
def test_alerts_that_fired_are_marked(watched: Watched, which: str) -> None:
    opened = view(watched, which)
    for query in opened.annotations():
        marked = {
            (one.labels["alertname"], one.labels["namespace"], one.labels["pipeline"]) for one in opened.ask(query)
        }
        assert marked == (FIRING if which == "fleet" else {alert for alert in FIRING if alert[2] == "bookings"})


def numbers(opened: View, query: Any) -> list[float]:
    return [value for one in opened.ask(query) for value in one.values if math.isfinite(value)]


# The values are those of the load.

FAILED = sum(number for _, number in load.FAILED.values())
PROCESSED = sum(load.PROCESSED.values())
EVICTED = load.HELD + load.SPARED + load.SCHEDULED - load.CAPACITY
DROPPED = EVICTED + load.INVALID
"""By job type; of the unknown one, which has no series before its first drop, an increase knows nothing."""
DEPTH = load.CAPACITY - load.WORKERS
QUEUED = PROCESSED + FAILED + load.SPARED + load.SCHEDULED + load.HELD
PER_SECOND, PER_MINUTE = 1 / (60 * MINUTES), 1 / MINUTES

VALUES: list[tuple[str, str, Mapping[str, float]]] = [
    ("Backlog", "backlog", {"backlog": DEPTH}),
    ("Success ratio", "success ratio", {"success ratio": PROCESSED / (PROCESSED + FAILED + DROPPED)}),
    ("Time to drain", "time to drain", {"time to drain": DEPTH / ((PROCESSED + FAILED) * PER_SECOND)}),
    ("Dispatcher backlog and active workers", "active workers", {"active workers": load.WORKERS}),
    ("Dispatcher backlog and active workers", "alert threshold", {"alert threshold": load.BACKLOG}),
    ("Scheduled jobs and dead letters", "scheduled", {"scheduled": load.SPARED + load.SCHEDULED}),
    ("Scheduled jobs and dead letters", "dead letters", {"dead letters": FAILED}),
    (
        "Job results: processed, failed, dropped",
        "{{result}}",
        {"processed": PROCESSED * PER_SECOND, "failed": FAILED * PER_SECOND, "dropped": DROPPED * PER_SECOND},
    ),
    (
        "Arrivals: queued and deduplicated",
        "{{result}}",
        {"queued": QUEUED * PER_SECOND, "deduplicated": load.DUPLICATES * PER_SECOND},
    ),
    (
        "Failures and drops, with firing alerts",
        "failed: {{reason}}",
        {f"failed: {reason}": number * PER_MINUTE for reason, number in load.FAILED.values()},
    ),
    (
        "Failures and drops, with firing alerts",
        "dropped: {{reason}}",
        {
            f"dropped: {DropReason.CAPACITY}": EVICTED * PER_MINUTE,
            f"dropped: {DropReason.INVALID_PAYLOAD}": load.INVALID * PER_MINUTE,
            f"dropped: {DropReason.UNKNOWN_JOB_TYPE}": load.UNKNOWN * PER_MINUTE,
        },
    ),
    ("Failures and drops, with firing alerts", "failure ratio", {"failure ratio": FAILED / (PROCESSED + FAILED)}),
    # So many within a minute.
    ("Failures and drops, with firing alerts", "alert threshold", {"alert threshold": load.FAILURES}),
    (
        "Failures by job type",
        "{{job_type}}",
        {job_type: number * PER_MINUTE for job_type, (_, number) in load.FAILED.items()},
    ),
    ("Delivery attempts by channel", "retries", {"retries": (load.SPARED + 4) * PER_SECOND}),
    ("Wait time: p50, p95, p99", "alert threshold", {"alert threshold": load.LATENCY_MS}),
]


@each_board
@pytest.mark.parametrize(
    ("title", "legend", "expected"), VALUES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_panel_shows_what_happened(
    watched: Watched, which: str, title: str, legend: str, expected: Mapping[str, float]
) -> None:
    assert view(watched, which).value(title, legend, own(which), ALL_OF_IT) == pytest.approx(expected)


@each_board
def test_health_counts_alerts_and_targets(watched: Watched, which: str) -> None:
    opened = view(watched, which)
    fleet = which == "fleet"
    # A slow job type is an alert of its own.
    firing = watched.prometheus.instant('ALERTS{alertstate="firing"}', watched.end)
    assert opened.value("Alerts firing", "firing")["firing"] == len(firing) - (not fleet)
    assert opened.value("Targets up", "up")["up"] == (2 if fleet else 1)
    assert opened.value("Targets up", "down")["down"] == (1 if fleet else 0)


def test_the_fleet_adds_up_its_pipelines(watched: Watched) -> None:
    opened = view(watched, "fleet")
    processed = opened.value("Job results: processed, failed, dropped", "{{result}}", {}, ALL_OF_IT)["processed"]
    # The other pipeline was scraped a little earlier, and what came after is extrapolated.
    assert processed == pytest.approx((PROCESSED + load.LESSONS) * PER_SECOND, rel=0.1)
    assert opened.value("Backlog", "backlog")["backlog"] == DEPTH


@each_board
@pytest.mark.parametrize(
    ("title", "histogram"),
    [("Wait time", names.JOB_WAIT_DURATION_MS), ("Processing time", names.JOB_DURATION_MS)],
)
def test_the_buckets_of_a_heatmap_add_up(watched: Watched, which: str, title: str, histogram: str) -> None:
    opened = view(watched, which)
    seen = 0
    for job_type in opened.offered(own(which))["job_type"]:
        buckets = opened.value(f"{title}: {job_type}", "{{le}}", {**own(which), "job_type": [job_type]}, ALL_OF_IT)
        bounds = sorted(buckets, key=float)
        counts = [buckets[bound] for bound in bounds]
        assert [float(bound) for bound in bounds] == [*names.WAIT_BUCKETS_MS, math.inf]
        assert counts == sorted(counts), job_type
        assert counts[-1] == pytest.approx(watched.metrics.total(f"{histogram}_count", job_type=job_type)), job_type
        seen += counts[-1] > 0
    assert seen >= len(load.PROCESSED) + len(load.FAILED)


# The rules.


def test_no_rule_fails_and_each_recording_has_something(watched: Watched) -> None:
    rules = watched.prometheus.rules()
    assert [rule for rule in rules if rule["health"] != "ok"] == []
    recorded = {
        rule["record"] for group in watched.products.bookings.groups for rule in group["rules"] if "record" in rule
    }
    assert len(recorded) == 23
    for name in recorded:
        found = watched.prometheus.instant(f'{name}{{namespace="shop",pipeline="bookings"}}', watched.end)
        assert [one for one in found if math.isfinite(one.values[0])], name


def test_just_the_alerts_that_should_fire_do(watched: Watched) -> None:
    assert watched.prometheus.firing(watched.end) == FIRING


def test_targets_carry_what_a_service_monitor_gives_them(watched: Watched) -> None:
    (target,) = watched.prometheus.instant('up{namespace="shop",pipeline="bookings"}', watched.end)
    assert target.labels.keys() == {
        "__name__",
        "container",
        "endpoint",
        "instance",
        "job",
        "namespace",
        "pipeline",
        "pod",
        "service",
    }
