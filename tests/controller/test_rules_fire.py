"""Each rule on promtool: it fires, it does not fire just below its threshold, it resolves; and on nobody else's series.

Counts stay a little below a threshold rather than one below: `increase` extrapolates to the edges of its window.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from notification_dispatcher.schema import Duration
from notification_operator.alerting_rules import rule_groups
from notification_operator.spec.alert_rules import AlertName, RuleOverride
from notification_operator.spec.monitoring import Slo
from tests.controller.promtool import Story, check, only, series
from tests.controller.test_alerting_rules import INPUT

FAILURES = "acme_notification_job_failures_total"
DEPTH = "acme_notification_queue_depth"
DROPPED = "acme_notification_jobs_dropped_total"
JOBS = "acme_notification_jobs_total"
WAIT = "acme_notification_job_wait_duration_ms"
DURATION = "acme_notification_job_duration_ms"

WHOSE = {"namespace": "shop", "pipeline": "bookings"}
OWN_CRITICAL = {**WHOSE, "severity": "critical", "notifier": "dispatcher"}
OWN_WARNING = {**WHOSE, "severity": "warning", "notifier": "dispatcher"}
CRITICAL = {**WHOSE, "severity": "critical"}
WARNING = {**WHOSE, "severity": "warning"}

SPIKE = "NotificationFailureSpike"
BACKLOG = "NotificationBacklogGrowth"
DROPS = "NotificationCapacityDrops"
DOWN = "NotificationDispatcherDown"
FAST = "NotificationErrorBudgetBurnFast"
SLOW = "NotificationErrorBudgetBurnSlow"


def thresholds(**changes: Any) -> list[dict[str, Any]]:
    return only(rule_groups(replace(INPUT, **changes)), "notification-latency", "notification-dispatcher")


def budget(**changes: Any) -> list[dict[str, Any]]:
    slo = Slo.model_validate_json(json.dumps(changes))
    return only(rule_groups(replace(INPUT, slo=slo)), "notification-slo")


def test_promtool_has_nothing_against_them(tmp_path: Path) -> None:
    check(rule_groups(INPUT), tmp_path)


# Failures: 33 within 7m30s.


def test_a_spike_of_failures_fires_and_resolves(tmp_path: Path) -> None:
    spike = "0x40 2+2x19 40x120"
    story = Story({series(FAILURES, reason="http_5xx"): spike, series(FAILURES, reason="timeout"): "0x200"})
    story.firing("10m", SPIKE).firing("15m", SPIKE, OWN_CRITICAL).firing("22m", SPIKE, OWN_CRITICAL)
    story.firing("30m", SPIKE).holds(thresholds(), tmp_path)


def test_failures_below_the_threshold_do_not(tmp_path: Path) -> None:
    story = Story({series(FAILURES, reason="http_5xx"): "0x40 31x120"})
    story.firing("10m15s", SPIKE).firing("15m", SPIKE).holds(thresholds(), tmp_path)


def test_failures_are_added_up_over_reasons_and_replicas(tmp_path: Path) -> None:
    parts = [series(FAILURES, reason=reason, instance=pod) for reason in ("http_5xx", "tls") for pod in ("a", "b")]
    story = Story(dict.fromkeys(parts, "0x40 9x120"))
    story.firing("11m", SPIKE, OWN_CRITICAL).holds(thresholds(), tmp_path)


def test_the_first_failure_of_a_fresh_dispatcher_counts(tmp_path: Path) -> None:
    # Its series begin at zero: an increase from nothing to 1 would be none.
    story = Story({series(FAILURES, reason="http_5xx"): "_x20 0x3 1x100"})
    story.firing("5m45s", SPIKE).firing("6m", SPIKE, OWN_CRITICAL)
    story.holds(thresholds(failure_threshold=1), tmp_path)


def test_a_restart_of_the_dispatcher_is_no_spike(tmp_path: Path) -> None:
    story = Story({series(FAILURES, reason="http_5xx"): "500x40 0x80"})
    story.firing("10m", SPIKE).firing("12m", SPIKE).firing("20m", SPIKE).holds(thresholds(), tmp_path)


def test_a_window_shorter_than_the_time_between_scrapes_is_widened_until_it_fires(tmp_path: Path) -> None:
    story = Story({series(FAILURES, reason="http_5xx"): "0x10 40x60"}, interval="2m")
    story.firing("20m", SPIKE).firing("24m", SPIKE, OWN_CRITICAL).firing("60m", SPIKE)
    story.holds(thresholds(failure_window=Duration("1m"), scrape_interval=Duration("2m")), tmp_path)


# Backlog: 321.


def test_a_growing_backlog_fires_after_five_minutes_and_resolves(tmp_path: Path) -> None:
    story = Story({series(DEPTH): "0+10x59 600x1 0x100"})
    story.firing("13m", BACKLOG).firing("14m", BACKLOG, OWN_WARNING).firing("30m", BACKLOG)
    story.holds(thresholds(), tmp_path)


@pytest.mark.parametrize(
    ("depths", "fires"),
    [("321x80", True), ("320x80", False), ("2000-10x80", False), ("0x80", False)],
    ids=["stuck", "just below", "drains", "empty"],
)
def test_only_a_backlog_that_does_not_shrink_fires(tmp_path: Path, depths: str, fires: bool) -> None:
    story = Story({series(DEPTH): depths})
    story.firing("15m", BACKLOG, *([OWN_WARNING] if fires else [])).holds(thresholds(), tmp_path)


def test_a_backlog_that_replicas_share_counts_once(tmp_path: Path) -> None:
    story = Story({series(DEPTH, instance=pod): "200x80" for pod in ("a", "b")})
    story.firing("15m", BACKLOG).holds(thresholds(), tmp_path)


# Latency: 7000 ms, by job type.


def buckets(histogram: str, job_type: str, **counts: int) -> dict[str, str]:
    """A histogram whose buckets grow by so many each scrape; `at_7000` is the bucket up to there."""
    return {
        series(f"{histogram}_bucket", job_type=job_type, le=bound.removeprefix("at_").replace("inf", "+Inf")): (
            f"0+{count}x80 {count * 80}x120"
        )
        for bound, count in counts.items()
    }


LATENCY = [("NotificationHighWait", WAIT), ("NotificationHighDuration", DURATION)]


@pytest.mark.parametrize(("alert", "histogram"), LATENCY)
def test_a_slow_job_type_fires_alone_and_resolves(tmp_path: Path, alert: str, histogram: str) -> None:
    slow = buckets(histogram, "booking-created", at_5000=0, at_7000=94, at_10000=100, at_inf=100)
    quick = buckets(histogram, "refund-requested", at_5000=96, at_7000=96, at_10000=100, at_inf=100)
    story = Story({**slow, **quick})
    story.firing("5m", alert).firing("6m", alert, {**OWN_WARNING, "job_type": "booking-created"})
    story.firing("35m", alert).holds(thresholds(), tmp_path)


@pytest.mark.parametrize(("alert", "histogram"), LATENCY)
def test_a_threshold_above_all_other_bounds_fires_as_well(tmp_path: Path, alert: str, histogram: str) -> None:
    # The quantile is then the threshold itself, whatever the wait: there is no higher bound.
    story = Story(buckets(histogram, "booking-created", at_5000=0, at_7000=0, at_inf=10))
    story.firing("10m", alert, {**OWN_WARNING, "job_type": "booking-created"}).holds(thresholds(), tmp_path)


@pytest.mark.parametrize(("alert", "histogram"), LATENCY)
def test_a_threshold_that_is_raised_ends_its_alert_when_the_histograms_have_it(
    tmp_path: Path, alert: str, histogram: str
) -> None:
    # All take six seconds. The dispatcher takes up the seven of the rule after ten minutes, and counts from zero.
    counts = {"5000": "0x120", "7000": "_x40 0+10x80", "10000": "0+10x39 0+10x80", "+Inf": "0+10x39 0+10x80"}
    story = Story({series(f"{histogram}_bucket", job_type="a", le=bound): seen for bound, seen in counts.items()})
    story.firing("10m", alert, {**OWN_WARNING, "job_type": "a"}).firing("21m", alert).holds(thresholds(), tmp_path)


@pytest.mark.parametrize(("alert", "histogram"), LATENCY)
def test_without_traffic_nothing_is_slow(tmp_path: Path, alert: str, histogram: str) -> None:
    story = Story(buckets(histogram, "booking-created", at_7000=0, at_inf=0))
    story.firing("10m", alert).firing("20m", alert).holds(thresholds(), tmp_path)


# Drops.


@pytest.mark.parametrize("reason", ["capacity", "rejected"])
def test_one_job_that_a_full_queue_loses_fires_and_resolves(tmp_path: Path, reason: str) -> None:
    story = Story({series(DROPPED, reason=reason): "0x40 1x120"})
    story.firing("10m", DROPS).firing("10m15s", DROPS, OWN_CRITICAL).firing("22m", DROPS)
    story.holds(thresholds(), tmp_path)


def test_scrapes_as_far_apart_as_they_may_be_show_a_drop(tmp_path: Path) -> None:
    story = Story({series(DROPPED, reason="capacity"): "0x10 1x60"}, interval="2m")
    story.firing("20m", DROPS).firing("22m", DROPS, OWN_CRITICAL).holds(thresholds(), tmp_path)


def test_what_callers_got_wrong_is_no_drop_of_ours(tmp_path: Path) -> None:
    story = Story({series(DROPPED, reason=reason): "0+9x80" for reason in ("invalid_payload", "unknown_job_type")})
    story.firing("10m", DROPS).firing("20m", DROPS).holds(thresholds(), tmp_path)


# Silence.


@pytest.mark.parametrize(
    ("targets", "fires"),
    [
        ({}, True),
        ({"a": "0x80"}, True),
        ({"a": "1x80"}, False),
        ({"a": "0x80", "b": "1x80"}, False),
        ({"a": "1x20 _x60"}, True),
    ],
    ids=["never there", "down", "up", "one of two", "gone"],
)
def test_no_dispatcher_answers(tmp_path: Path, targets: dict[str, str], fires: bool) -> None:
    story = Story({series("up", instance=instance): values for instance, values in targets.items()})
    story.firing("4m45s", DOWN).firing("16m", DOWN, *([CRITICAL] if fires else [])).holds(thresholds(), tmp_path)


def test_a_dispatcher_that_comes_back_resolves_at_once(tmp_path: Path) -> None:
    story = Story({series("up"): "0x40 1x10"})
    story.firing("10m", DOWN, CRITICAL).firing("10m15s", DOWN).holds(thresholds(), tmp_path)


def test_a_pipeline_that_is_scaled_to_zero_may_be_silent(tmp_path: Path) -> None:
    story = Story({series("up"): "1x20 _x100"})
    story.firing("16m", DOWN).firing("30m", DOWN).holds(thresholds(silence_tells=False), tmp_path)


# The error budget: 99.5 % in 30 days, 100 events at least.


def jobs(processed: str, failed: str) -> dict[str, str]:
    return {
        series(JOBS, result="processed", job_type="a"): processed,
        series(JOBS, result="failed", job_type="a"): failed,
    }


def steady(failed: int, per: int, samples: int) -> dict[str, str]:
    """So many failures of `per` jobs, each interval."""
    return jobs(f"0+{per - failed}x{samples}", f"0+{failed}x{samples}")


@pytest.mark.parametrize(("failed", "fires"), [(80, True), (70, False)], ids=["above 7.2 %", "below"])
def test_an_hour_of_many_errors_pages(tmp_path: Path, failed: int, fires: bool) -> None:
    # Five clean hours before keep the ratio of six hours low.
    clean = 1000 * 300
    burst = jobs(f"0+1000x300 {clean}+{1000 - failed}x60", f"0x300 0+{failed}x60")
    story = Story(burst, interval="1m").firing("5h", FAST).firing("6h", FAST, *([CRITICAL] if fires else []))
    story.holds(budget(), tmp_path)


def test_a_page_ends_soon_after_the_errors(tmp_path: Path) -> None:
    burst = jobs("0+1000x60 60000x19 60000+1000x60", "0x60 1000+1000x19 20000x60")
    story = Story(burst, interval="1m").firing("1h20m", FAST, CRITICAL).firing("1h45m", FAST, CRITICAL)
    # A third of the last hour's jobs were errors still.
    story.query("2h", "slo:sli_error:ratio_rate1h > bool 0.3", ('{namespace="shop",pipeline="bookings"}', 1))
    story.firing("2h", FAST).holds(budget(), tmp_path)


@pytest.mark.parametrize(("failed", "fires"), [(31, True), (29, False)], ids=["above 3 %", "below"])
def test_six_hours_of_some_errors_page(tmp_path: Path, failed: int, fires: bool) -> None:
    story = Story(steady(failed, 1000, 72), interval="5m").firing("6h", FAST, *([CRITICAL] if fires else []))
    story.holds(budget(), tmp_path)


@pytest.mark.parametrize(("failed", "fires"), [(16, True), (14, False)], ids=["above 1.5 %", "below"])
def test_a_day_of_few_errors_is_a_ticket(tmp_path: Path, failed: int, fires: bool) -> None:
    # Two clean days before keep the ratio of three days low.
    burst = jobs(f"0+1000x576 576000+{1000 - failed}x288", f"0x576 0+{failed}x288")
    story = Story(burst, interval="5m").firing("3d", SLOW, *([WARNING] if fires else [])).firing("3d", FAST)
    story.query("3d", "slo:sli_error:ratio_rate3d < bool 0.0054", ('{namespace="shop",pipeline="bookings"}', 1))
    story.holds(budget(), tmp_path)


@pytest.mark.parametrize(("failed", "fires"), [(51, True), (49, False)], ids=["above 0.5 %", "below"])
def test_three_days_of_very_few_errors_are_a_ticket(tmp_path: Path, failed: int, fires: bool) -> None:
    story = Story(steady(failed, 10_000, 864), interval="5m")
    story.firing("3d", SLOW, *([WARNING] if fires else [])).firing("3d", FAST).holds(budget(), tmp_path)


def test_errors_among_few_jobs_neither_page_nor_make_tickets(tmp_path: Path) -> None:
    # 30 jobs in all, every one an error.
    story = Story(jobs("0x864", "0+1x30 30x834"), interval="5m")
    for when in ("1h", "2h", "1d", "3d"):
        story.firing(when, FAST).firing(when, SLOW)
    story.holds(budget(), tmp_path)


def test_with_a_lower_minimum_they_do(tmp_path: Path) -> None:
    story = Story(jobs("0x24", "0+1x24"), interval="5m")
    story.firing("2h", FAST, CRITICAL).firing("2h", SLOW, WARNING).holds(budget(minEvents=10), tmp_path)


def test_without_traffic_there_is_no_ratio(tmp_path: Path) -> None:
    story = Story(jobs("7x120", "3x120"), interval="1m")
    story.query("2h", "slo:sli_error:ratio_rate1h").firing("2h", FAST).firing("2h", SLOW).holds(budget(), tmp_path)


def test_without_a_series_of_errors_the_ratio_is_zero(tmp_path: Path) -> None:
    story = Story({series(JOBS, result="processed", job_type="a"): "0+10x120"}, interval="1m")
    ratio = 'slo:sli_error:ratio_rate1h{namespace="shop",pipeline="bookings"}'
    story.query("2h", "slo:sli_error:ratio_rate1h", (ratio, 0)).firing("2h", FAST).holds(budget(), tmp_path)


def test_jobs_that_a_full_queue_loses_are_errors_and_invalid_ones_no_jobs(tmp_path: Path) -> None:
    lost = {series(DROPPED, reason="capacity"): "0+5x120", series(DROPPED, reason="rejected"): "0+5x120"}
    invalid = {series(DROPPED, reason="invalid_payload"): "0+500x120"}
    story = Story({**jobs("0+90x120", "0x120"), **lost, **invalid}, interval="1m")
    ratio = 'slo:sli_error:ratio_rate1h{namespace="shop",pipeline="bookings"}'
    story.query("2h", "slo:sli_error:ratio_rate1h", (ratio, 0.1)).firing("2h", FAST, CRITICAL)
    story.holds(budget(), tmp_path)


def test_burn_rates_are_scaled_to_the_objectives_window(tmp_path: Path) -> None:
    # A quarter of the time has a quarter of the budget: 3.36 times in place of 14.4.
    burst = jobs("0+1000x300 300000+980x60", "0x300 0+20x60")
    story = Story(burst, interval="1m").firing("6h", FAST, CRITICAL)
    story.holds(budget(window="168h"), tmp_path)


@pytest.mark.parametrize("window", ["72h", "168h", "336h"])
@pytest.mark.parametrize(("failed", "ticket"), [(35, False), (49, False), (51, True)])
def test_errors_that_the_objective_allows_alert_in_no_window(
    tmp_path: Path, failed: int, ticket: bool, window: str
) -> None:
    story = Story(steady(failed, 10_000, 864), interval="5m")
    for when in ("2d", "3d"):
        story.firing(when, FAST)
    story.firing("3d", SLOW, *([WARNING] if ticket else [])).holds(budget(window=window), tmp_path)


@pytest.mark.parametrize(("failed", "fires"), [(101, True), (99, False)], ids=["above twice 0.5 %", "below"])
def test_a_page_of_a_short_window_is_twice_what_the_objective_allows(tmp_path: Path, failed: int, fires: bool) -> None:
    story = Story(steady(failed, 10_000, 72), interval="5m").firing("6h", FAST, *([CRITICAL] if fires else []))
    story.holds(budget(window="72h"), tmp_path)


# What people are told.


def test_what_people_are_told(tmp_path: Path) -> None:
    told = {"runbook_url": "https://runbooks.example.com/failure_spike", "dashboard_url": INPUT.dashboard_url}
    load = {series(DEPTH): "17x100", series("acme_notification_active_jobs"): "3x100"}
    failed = {series(FAILURES, reason="http_5xx"): "0x40 30x60", series(FAILURES, reason="tls"): "0x40 10x60"}
    Story({**load, **failed}).tells(
        "12m",
        SPIKE,
        OWN_CRITICAL,
        {
            **told,
            "summary": "Notifications of shop/bookings fail",
            "description": "40 jobs failed for good within 7m30s; the threshold is 33. "
            "Top reasons: http_5xx 30, tls 10. 17 jobs wait, 3 run.",
        },
    ).holds(thresholds(), tmp_path)


def test_what_people_are_told_of_the_error_budget(tmp_path: Path) -> None:
    Story(steady(40, 1000, 72), interval="5m").tells(
        "6h",
        FAST,
        CRITICAL,
        {
            "summary": "shop/bookings spends its error budget too fast",
            "description": "4% of the jobs fail or are lost; the objective is 99.5 % within 720h. "
            "Such a rate spends 2% of the error budget within 1h, or 5% within 6h. ? jobs wait, ? run.",
            "runbook_url": "https://runbooks.example.com/error_budget_burn_fast",
            "dashboard_url": INPUT.dashboard_url,
        },
    ).holds(budget(), tmp_path)


def test_people_are_told_what_a_short_window_spends() -> None:
    rules = [rule for group in budget(window="72h") for rule in group["rules"] if "alert" in rule]
    told = " ".join(rule["annotations"]["description"] for rule in rules)
    assert "spends 3% of the error budget within 1h, or 17% within 6h." in told
    assert "spends 33% of the error budget within 1d, or 100% within 3d." in told


def test_what_the_pipeline_says_of_an_alert_arrives_as_it_was_written(tmp_path: Path) -> None:
    labels = {"team": 'a "quoted" {team}', "tier": "back\\slash"}
    annotations = {"summary": '{{ $value }} in {{$labels.pipeline}}, {one} "two" \\ three', "impact": "no bookings"}
    override = RuleOverride.model_validate_json(
        json.dumps({"for": "1m", "severity": "info", "labels": labels, "annotations": annotations})
    )
    groups = thresholds(overrides={AlertName.FAILURE_SPIKE: override}, runbook_url="", dashboard_url="")
    told = Story({series(FAILURES, reason="tls"): "0x40 40x60"})
    carried = {**OWN_CRITICAL, "severity": "info", **labels}
    told.firing("10m45s", SPIKE).firing("11m15s", SPIKE, carried)
    groups[1]["rules"][0]["annotations"].pop("description")
    text = {"summary": '40 in bookings, {one} "two" \\ three', "impact": "no bookings"}
    told.tells("11m15s", SPIKE, carried, text).holds(groups, tmp_path)
    check(groups, tmp_path)


# Nobody else's.


def test_another_pipelines_trouble_is_not_ours(tmp_path: Path) -> None:
    story = Story(
        {
            series("up"): "1x400",
            **{
                found: values
                for whose in ({"namespace": "other"}, {"pipeline": "other"})
                for found, values in {
                    series(FAILURES, reason="http_5xx", **whose): "0+99x400",
                    series(DEPTH, **whose): "99999x400",
                    series(DROPPED, reason="capacity", **whose): "0+99x400",
                    series(JOBS, result="failed", job_type="a", **whose): "0+99x400",
                    series("up", **whose): "0x400",
                    series(f"{WAIT}_bucket", job_type="a", le="7000", **whose): "0x400",
                    series(f"{WAIT}_bucket", job_type="a", le="+Inf", **whose): "0+9x400",
                }.items()
            },
        }
    )
    story.query("90m", 'ALERTS{alertstate="firing"}').holds(rule_groups(INPUT), tmp_path)
