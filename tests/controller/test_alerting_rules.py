"""The rules: which there are, what they select, what they carry."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import promql_parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notification_dispatcher.metric_names import Alert
from notification_dispatcher.schema import Duration
from notification_operator.alerting_rules import RuleInput, rule_groups
from notification_operator.spec.alert_rules import AlertName, RuleOverride
from notification_operator.spec.monitoring import Slo
from tests.controller.promql import is_published, selectors

INPUT = RuleInput(
    namespace="shop",
    pipeline="bookings",
    metrics_prefix="acme_",
    failure_threshold=33,
    failure_window=Duration("7m30s"),
    scrape_interval=Duration("15s"),
    backlog_threshold=321,
    latency_threshold_ms=7000,
    runbook_url="https://runbooks.example.com/{alert}",
    dashboard_url="https://grafana.example.com/d/board",
    silence_tells=True,
    dispatcher_tells=True,
    slo=Slo.model_validate({"objective": "99.99", "minEvents": 70}),
)
OWN = {
    "NotificationFailureSpike": "failure_spike",
    "NotificationBacklogGrowth": "backlog_growth",
    "NotificationHighWait": "high_wait",
    "NotificationHighDuration": "high_duration",
    "NotificationCapacityDrops": "capacity_drops",
}
ALL = OWN | {
    "NotificationDispatcherDown": "dispatcher_down",
    "NotificationErrorBudgetBurnFast": "error_budget_burn_fast",
    "NotificationErrorBudgetBurnSlow": "error_budget_burn_slow",
}

Rule = dict[str, Any]


def rules(given_input: RuleInput = INPUT) -> list[Rule]:
    return [rule for group in rule_groups(given_input) for rule in group["rules"]]


def alerts(given_input: RuleInput = INPUT) -> dict[str, Rule]:
    return {rule["alert"]: rule for rule in rules(given_input) if "alert" in rule}


def recordings() -> dict[str, Rule]:
    return {rule["record"]: rule for rule in rules() if "record" in rule}


def overridden(name: AlertName, **changes: Any) -> dict[str, Rule]:
    return alerts(replace(INPUT, overrides={name: RuleOverride.model_validate_json(json.dumps(changes))}))


def test_the_guides_alerts_are_there_and_those_for_silence_and_the_error_budget() -> None:
    assert alerts().keys() == ALL.keys() == {name.value for name in AlertName}


def test_names_are_the_dispatchers_own_where_it_has_the_alert() -> None:
    assert {name.value: name.short for name in AlertName} == ALL
    assert set(OWN.values()) == set(Alert) - {Alert.TEST}


def test_groups_have_names_of_their_own() -> None:
    names = [group["name"] for group in rule_groups(INPUT)]
    assert len(names) == len(set(names))


def test_equal_input_makes_equal_rules_and_each_call_its_own() -> None:
    first, second = rule_groups(INPUT), rule_groups(INPUT)
    assert first == second
    first.clear()
    assert rule_groups(INPUT) == second


def test_each_expression_is_valid_and_selects_this_pipeline_alone() -> None:
    for rule in rules():
        assert selectors(rule["expr"]), rule
        for selected in selectors(rule["expr"]):
            assert {("namespace", "=", "shop"), ("pipeline", "=", "bookings")} <= selected.matchers
            known = selected.metric == "up" or selected.metric in recordings()
            assert known or is_published(selected, "acme_"), selected.metric


def test_recordings_stand_before_the_rules_that_read_them() -> None:
    ready: set[str] = set()
    for group in rule_groups(INPUT):
        for rule in group["rules"]:
            read = {selected.metric for selected in selectors(rule["expr"])} & recordings().keys()
            assert read <= ready
            ready |= {rule["record"]} if "record" in rule else set()


def test_latencies_are_recorded_by_job_type() -> None:
    found = {name: rule for name, rule in recordings().items() if not name.startswith("slo:")}
    assert len(found) == 2
    for name, rule in found.items():
        assert re.fullmatch(r"namespace_pipeline_job_type:acme_notification_job_(wait_)?duration_ms:p95_5m", name)
        assert "sum by (namespace, pipeline, job_type, le)" in rule["expr"]
        assert "labels" not in rule


@pytest.mark.parametrize("name", ALL)
def test_each_alert_says_whose_it_is_and_what_to_do(name: str) -> None:
    rule = alerts()[name]
    labels, annotations = rule["labels"], rule["annotations"]
    assert labels["severity"] in {"critical", "warning", "info"}
    assert (labels["namespace"], labels["pipeline"]) == ("shop", "bookings")
    assert "shop/bookings" in annotations["summary"]
    assert annotations["runbook_url"] == f"https://runbooks.example.com/{ALL[name]}"
    assert annotations["dashboard_url"] == "https://grafana.example.com/d/board"


@pytest.mark.parametrize("name", ALL)
def test_a_route_can_tell_what_slack_hears_already(name: str) -> None:
    assert alerts()[name]["labels"].get("notifier") == ("dispatcher" if name in OWN else None)


@pytest.mark.parametrize("name", ALL)
def test_what_the_dispatcher_tells_nobody_is_left_to_alertmanager(name: str) -> None:
    assert "notifier" not in alerts(replace(INPUT, dispatcher_tells=False))[name]["labels"]


@pytest.mark.parametrize("name", OWN)
def test_each_description_has_the_value_and_the_load(name: str) -> None:
    description = alerts()[name]["annotations"]["description"]
    assert "$value" in description
    assert "acme_notification_active_jobs" in description


@pytest.mark.parametrize("name", OWN)
def test_queries_within_a_description_are_valid(name: str) -> None:
    found = re.findall(r'query ("(?:[^"\\]|\\.)*")', alerts()[name]["annotations"]["description"])
    assert found
    for literal in found:
        for selected in selectors(literal[1:-1].replace('\\"', '"')):
            assert {("namespace", "=", "shop"), ("pipeline", "=", "bookings")} <= selected.matchers
            assert is_published(selected, "acme_")


@pytest.mark.parametrize(
    ("name", "condition"),
    [
        ("NotificationFailureSpike", "[7m30s])) >= 33"),
        ("NotificationBacklogGrowth", ">= 321 and "),
        ("NotificationHighWait", ">= 7000"),
        ("NotificationHighDuration", ">= 7000"),
        ("NotificationCapacityDrops", "> 0"),
        ("NotificationDispatcherDown", "== 1)"),
        ("NotificationErrorBudgetBurnFast", "> 0.00144 and "),
        ("NotificationErrorBudgetBurnFast", "> 0.0006 and "),
        ("NotificationErrorBudgetBurnSlow", "> 0.0003 and "),
        ("NotificationErrorBudgetBurnSlow", "> 0.0001 and "),
        ("NotificationErrorBudgetBurnSlow", ">= 70)"),
    ],
)
def test_numbers_are_the_pipelines(name: str, condition: str) -> None:
    assert condition in alerts()[name]["expr"]


@pytest.mark.parametrize(
    ("window", "scrapes", "taken"),
    [
        ("5s", "15s", "1m"),
        ("5s", "1s", "1m"),
        ("1m", "1m", "4m"),
        ("3m", "40s500ms", "3m"),
        ("2m", "40s500ms", "2m42s"),
    ],
)
def test_a_window_too_short_for_prometheus_is_a_minute_or_four_scrapes(window: str, scrapes: str, taken: str) -> None:
    given_input = replace(INPUT, failure_window=Duration(window), scrape_interval=Duration(scrapes))
    spike = alerts(given_input)["NotificationFailureSpike"]
    assert f"[{taken}]" in spike["expr"]
    assert f"within {taken};" in spike["annotations"]["description"]


def test_a_stuck_backlog_alerts_and_a_shrinking_one_does_not() -> None:
    assert re.search(r"deriv\(.+\[10m\]\)\) >= 0$", alerts()["NotificationBacklogGrowth"]["expr"])


def test_both_ways_of_overflowing_are_capacity_drops() -> None:
    (selected,) = selectors(alerts()["NotificationCapacityDrops"]["expr"])
    assert ("reason", "=~", "capacity|rejected") in selected.matchers


def test_replicas_that_share_a_queue_count_once() -> None:
    assert alerts()["NotificationBacklogGrowth"]["expr"].startswith("max by (namespace, pipeline) (")


def test_links_that_are_not_configured_are_left_out() -> None:
    for rule in alerts(replace(INPUT, runbook_url="", dashboard_url="")).values():
        assert rule["annotations"].keys() == {"summary", "description"}


@settings(deadline=None)  # each example parses every rule, on a machine that may be busy
@given(st.text(min_size=1), st.text(min_size=1), st.text())
def test_no_name_or_link_breaks_an_expression_or_a_template(namespace: str, name: str, link: str) -> None:
    strange = replace(INPUT, namespace=namespace, pipeline=name, runbook_url=link, dashboard_url=link)
    for rule in rules(strange):
        for selected in selectors(rule["expr"]):
            assert {("namespace", "=", namespace), ("pipeline", "=", name)} <= selected.matchers
    for rule in alerts(strange).values():
        labels, annotations = rule["labels"], rule["annotations"]
        literals = [labels["namespace"], labels["pipeline"], annotations["summary"]]
        literals += [annotations.get("runbook_url", ""), annotations.get("dashboard_url", "")]
        for text in literals:
            assert "{{" not in text.replace('{{ "{{" }}', "")
        balanced = annotations["description"]
        assert balanced.count("{{") == balanced.count("}}")


def test_every_ratio_of_an_error_budget_is_recorded() -> None:
    windows = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
    assert {f"slo:sli_error:ratio_rate{window}" for window in windows} <= recordings().keys()


def test_without_an_objective_nothing_is_recorded_for_it() -> None:
    found = rules(replace(INPUT, slo=Slo(enabled=False)))
    assert not [rule for rule in found if "slo:" in rule["expr"]]
    assert len([rule for rule in found if "alert" in rule]) == 6


def test_an_alert_that_is_switched_off_is_not_there_and_the_others_are() -> None:
    found = overridden(AlertName.HIGH_WAIT, enabled=False)
    assert found.keys() == alerts().keys() - {"NotificationHighWait"}


def test_a_group_without_rules_is_not_made() -> None:
    off = dict.fromkeys(AlertName, RuleOverride(enabled=False))
    found = rule_groups(replace(INPUT, overrides=off))
    assert [group["name"] for group in found] == [
        "notification-latency",
        "notification-slo-page",
        "notification-slo-ticket",
    ]
    assert not alerts(replace(INPUT, overrides=off))


def test_an_override_changes_what_it_says_and_nothing_else() -> None:
    before, changes = alerts()["NotificationHighWait"], {"for": "0s", "severity": "info", "labels": {"team": "crm"}}
    after = overridden(AlertName.HIGH_WAIT, **changes, annotations={"summary": "Look", "impact": "none"})[
        "NotificationHighWait"
    ]
    assert after == {
        **before,
        "for": "0s",
        "labels": {**before["labels"], "severity": "info", "team": "crm"},
        "annotations": {**before["annotations"], "summary": "Look", "impact": "none"},
    }
    assert overridden(AlertName.HIGH_WAIT) == alerts()


def test_durations_are_prometheus_own() -> None:
    for rule in alerts().values():
        for key in ("for", "keep_firing_for"):
            assert promql_parser.parse_duration(rule.get(key, "1s"))
