"""Who selects a ServiceMonitor: Kubernetes' rules for selectors, and the advice where nobody does."""

from __future__ import annotations

from typing import Any

import pytest

from notification_operator.monitoring import MonitoringView, judge
from notification_operator.selection import matches
from notification_operator.status import Reason
from tests.controller.pipelines import parsed


def prometheus(**spec: Any) -> dict[str, Any]:
    return {"kind": "Prometheus", "metadata": {"namespace": "monitoring", "name": "kps"}, "spec": spec}


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        (None, {"a": "1"}, False),
        ({}, {}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
    ],
)
def test_selectors(selector: dict[str, Any] | None, labels: dict[str, str], selected: bool) -> None:
    assert matches(selector, labels, absent_selects=False) is selected


ALL: dict[str, Any] = {}
ELSEWHERE = "A Prometheus elsewhere may do so."
VERDICTS = [
    (MonitoringView(True), Reason.MONITORING_API_ABSENT, "not installed"),
    (
        MonitoringView(False),
        Reason.NO_PROMETHEUS_SELECTS,
        "No Prometheus object is in sight. Create one that selects the ServiceMonitor.",
    ),
    (MonitoringView(False, unseen=ELSEWHERE), Reason.SELECTION_UNKNOWN, f"object is in sight. {ELSEWHERE}"),
    (
        MonitoringView(False, [prometheus()], unseen=ELSEWHERE),
        Reason.SELECTION_UNKNOWN,
        f"(serviceMonitorSelector is not set). {ELSEWHERE}",
    ),
    (
        MonitoringView(
            False, [prometheus(serviceMonitorSelector={}, serviceMonitorNamespaceSelector={})], unseen=ELSEWHERE
        ),
        Reason.SELECTED,
        "Prometheus monitoring/kps selects",
    ),
    (MonitoringView(False, [prometheus()], None), Reason.NO_PROMETHEUS_SELECTS, "serviceMonitorSelector is not set"),
    (
        MonitoringView(False, [prometheus(serviceMonitorSelector=ALL)], None),
        Reason.NO_PROMETHEUS_SELECTS,
        "does not look into this namespace",
    ),
    (
        MonitoringView(False, [prometheus(serviceMonitorSelector={"matchLabels": {"release": "kps"}})], None),
        Reason.NO_PROMETHEUS_SELECTS,
        "wants the label release: kps; set it in spec.monitoring.serviceMonitor.labels",
    ),
    (
        MonitoringView(False, [prometheus(serviceMonitorSelector=ALL, serviceMonitorNamespaceSelector=ALL)], None),
        Reason.SELECTED,
        "Prometheus monitoring/kps selects",
    ),
    (
        MonitoringView(
            False,
            [prometheus(serviceMonitorSelector=ALL, serviceMonitorNamespaceSelector={"matchLabels": {"team": "a"}})],
            {"team": "a"},
        ),
        Reason.SELECTED,
        "selects",
    ),
]


def monitor(*accepted: tuple[str, str, int], generation: int = 3) -> dict[str, Any]:
    """A ServiceMonitor and what prometheus-operator says of it: a Prometheus, its verdict, the generation judged."""
    bindings = [
        {
            "group": "monitoring.coreos.com",
            "resource": "prometheuses",
            "namespace": "monitoring",
            "name": name,
            "conditions": [
                {
                    "type": "Accepted",
                    "status": status,
                    "observedGeneration": observed,
                    "message": "" if status == "True" else 'scrapeClass "tls" not found',
                }
            ],
        }
        for name, status, observed in accepted
    ]
    return {"metadata": {"generation": generation, "labels": {"release": "kps"}}, "status": {"bindings": bindings}}


MADE = {"metadata": {"labels": {"app": "x"}}}
SEEN = MonitoringView(False, [prometheus(serviceMonitorSelector={"matchLabels": {"release": "other"}})], None)


@pytest.mark.parametrize(
    ("found", "reason", "said"),
    [
        (monitor(("kps", "True", 3)), Reason.SELECTED, "Prometheus monitoring/kps has accepted the ServiceMonitor."),
        (
            monitor(("kps", "True", 3), ("old", "False", 3)),
            Reason.SELECTED,
            'But Prometheus monitoring/old refuses it: scrapeClass "tls" not found',
        ),
        (monitor(("kps", "False", 3)), Reason.REJECTED, 'kps refuses it: scrapeClass "tls" not found'),
        (monitor(("kps", "True", 2)), Reason.NO_PROMETHEUS_SELECTS, "wants the label release: other"),
        (monitor(("kps", "False", 2)), Reason.NO_PROMETHEUS_SELECTS, "wants the label release: other"),
        (monitor(), Reason.NO_PROMETHEUS_SELECTS, "wants the label release: other"),
        ({}, Reason.SELECTION_UNKNOWN, "The ServiceMonitor is not there: ResourcesApplied says why."),
    ],
    ids=["accepted", "by one of two", "refused", "accepted before", "refused before", "nothing said", "none there"],
)
def test_prometheus_operators_own_verdict_counts_while_it_is_fresh(
    found: dict[str, Any], reason: Reason, said: str
) -> None:
    verdict = judge(parsed(), found, {}, SEEN)
    assert verdict.reason is reason
    assert said in verdict.message


def test_that_verdict_is_known_without_reading_a_prometheus() -> None:
    assert judge(parsed(), monitor(("kps", "True", 3)), {}, MonitoringView(False)).reason is Reason.SELECTED


@pytest.mark.parametrize(("view", "reason", "said"), VERDICTS)
def test_verdicts(view: MonitoringView, reason: Reason, said: str) -> None:
    found = judge(parsed(), MADE, {}, view)
    assert found.reason is reason
    assert said in found.message


RELEASE = {"matchLabels": {"release": "kps"}}
BOTH_ALL = {"serviceMonitorSelector": ALL, "serviceMonitorNamespaceSelector": ALL}
RULE = {"metadata": {"labels": {"app": "x"}}}


@pytest.mark.parametrize(
    ("spec", "rule", "reason", "said"),
    [
        ({**BOTH_ALL, "ruleSelector": RELEASE}, RULE, Reason.NO_PROMETHEUS_SELECTS, "selects the ServiceMonitor. No"),
        (
            {**BOTH_ALL, "ruleSelector": RELEASE},
            RULE,
            Reason.NO_PROMETHEUS_SELECTS,
            "wants the label release: kps; set it in spec.monitoring.prometheusRule.labels",
        ),
        (
            {**BOTH_ALL, "ruleSelector": ALL},
            RULE,
            Reason.NO_PROMETHEUS_SELECTS,
            "does not look into this namespace (see its ruleNamespaceSelector)",
        ),
        ({**BOTH_ALL, "ruleSelector": ALL, "ruleNamespaceSelector": ALL}, RULE, Reason.SELECTED, "selects"),
        (BOTH_ALL, RULE, Reason.SELECTED, "selects the ServiceMonitor."),
        ({**BOTH_ALL, "ruleSelector": RELEASE}, {}, Reason.SELECTED, "selects the ServiceMonitor."),
        ({"ruleSelector": RELEASE}, RULE, Reason.NO_PROMETHEUS_SELECTS, "No Prometheus selects the PrometheusRule"),
    ],
    ids=["verdict", "advice", "namespace", "selected", "evaluates no rules", "has no rules", "selects neither"],
)
def test_rules_that_no_prometheus_evaluates_are_told_of_too(
    spec: dict[str, Any], rule: dict[str, Any], reason: Reason, said: str
) -> None:
    found = judge(parsed(), MADE, rule, MonitoringView(False, [prometheus(**spec)], None))
    assert found.reason is reason
    assert found.status == ("True" if reason is Reason.SELECTED else "False")
    assert said in found.message


LOOKS = [
    {"matchLabels": {"team": "a"}},
    {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["b"]}]},
    {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]},
]


@pytest.mark.parametrize("looks", LOOKS)
def test_labels_of_the_namespace_that_may_not_be_read_leave_it_open(looks: dict[str, Any]) -> None:
    one = prometheus(serviceMonitorSelector=ALL, serviceMonitorNamespaceSelector=looks)
    found = judge(parsed(), MADE, {}, MonitoringView(False, [one]))
    assert (found.status, found.reason) == ("Unknown", Reason.SELECTION_UNKNOWN)
    assert "No Prometheus is known to select the ServiceMonitor: Prometheus monitoring/kps goes by" in found.message

    ruled = prometheus(**BOTH_ALL, ruleSelector=ALL, ruleNamespaceSelector=looks)
    found = judge(parsed(), MADE, RULE, MonitoringView(False, [ruled]))
    assert (found.status, found.reason) == ("Unknown", Reason.SELECTION_UNKNOWN)
    assert "kps selects the ServiceMonitor. No Prometheus is known to select the PrometheusRule" in found.message


@pytest.mark.parametrize("looks", LOOKS)
def test_labels_that_may_not_be_read_leave_nothing_open_where_they_do_not_count(looks: dict[str, Any]) -> None:
    other = prometheus(serviceMonitorSelector=RELEASE, serviceMonitorNamespaceSelector=looks)
    assert judge(parsed(), MADE, {}, MonitoringView(False, [other])).reason is Reason.NO_PROMETHEUS_SELECTS
    empty = prometheus(serviceMonitorSelector=ALL, serviceMonitorNamespaceSelector={"matchLabels": {}})
    assert judge(parsed(), MADE, {}, MonitoringView(False, [empty])).reason is Reason.SELECTED


def test_rules_that_a_prometheus_elsewhere_may_evaluate_are_left_open() -> None:
    found = judge(
        parsed(), MADE, RULE, MonitoringView(False, [prometheus(**BOTH_ALL, ruleSelector=RELEASE)], unseen=ELSEWHERE)
    )
    assert (found.status, found.reason) == ("Unknown", Reason.SELECTION_UNKNOWN)
    assert found.message.endswith(f"spec.monitoring.prometheusRule.labels. {ELSEWHERE}")
