"""Who is told in each of `alerts.mode`: what the dispatcher is given, what the rules carry, what the condition says."""

from __future__ import annotations

from typing import Any

import pytest

from notification_operator.inputs import Problem, Resolved, alerting_condition
from notification_operator.resources import prometheus_rule
from notification_operator.resources.base import Context
from notification_operator.status import Reason
from notification_operator.wanted_secrets import alert_secrets
from tests.controller.pipelines import parsed

SLACK = {"webhookSecretRef": {"name": "slack", "key": "url"}}
TELLS = Context("image:1", slack_alerts={"SLACK_ALERT_WEBHOOK_URL": b"https://x"})
FOUND = Resolved({"SLACK_ALERT_WEBHOOK_URL": b"https://x"})
MISSING = Resolved(problems=[Problem(Reason.SECRET_NOT_FOUND, "there is no Secret slack")])


def labelled(context: Context, **alerts: Any) -> set[str]:
    """The alerts that a route can leave to Slack."""
    built = prometheus_rule.build(parsed(alerts=alerts), context)
    assert built is not None
    rules = [rule for group in built["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert len(rules) == 8
    return {rule["alert"] for rule in rules if rule["labels"].get("notifier") == "dispatcher"}


@pytest.mark.parametrize(("mode", "secrets", "mirrors"), [("InProcess", 1, 5), ("Alertmanager", 0, 0), ("Both", 1, 0)])
def test_each_mode_decides_who_is_given_what(mode: str, secrets: int, mirrors: int) -> None:
    wanted = alert_secrets(parsed(alerts={"mode": mode, "slack": SLACK}))
    assert len(wanted) == secrets
    assert len(labelled(TELLS if wanted else Context("image:1"), mode=mode, slack=SLACK)) == mirrors


def test_what_the_dispatcher_cannot_tell_is_left_to_alertmanager() -> None:
    nowhere = Context("image:1")
    assert labelled(nowhere, slack=SLACK) == set()
    assert labelled(nowhere) == set()
    spoken_for = labelled(TELLS, slack=SLACK)
    assert "NotificationFailureSpike" in spoken_for
    assert "NotificationDispatcherDown" not in spoken_for


@pytest.mark.parametrize(
    ("spec", "alerts"),
    [
        ({"replicas": 1}, 1),
        ({"replicas": 0}, 0),
        ({"monitoring": {"serviceMonitor": {"enabled": False}}}, 0),
        ({"monitoring": {"serviceMonitor": {"enabled": True}}}, 1),
    ],
    ids=["runs", "at rest", "scraped by others", "scraped by ours"],
)
def test_only_silence_that_means_something_is_an_alert(spec: dict[str, Any], alerts: int) -> None:
    built = prometheus_rule.build(parsed(**spec), Context("image:1"))
    assert built is not None
    found = [rule.get("alert") for group in built["spec"]["groups"] for rule in group["rules"]]
    assert found.count("NotificationDispatcherDown") == alerts


@pytest.mark.parametrize(
    ("alerts", "resolved", "absent", "status", "reason", "said"),
    [
        ({}, Resolved(), False, "False", Reason.DISABLED, "spec.alerts.slack is not set"),
        ({"slack": SLACK}, FOUND, True, "True", Reason.CONFIGURED, "Slack has a webhook for alerts."),
        ({"slack": SLACK}, MISSING, False, "False", Reason.SECRET_NOT_FOUND, "no Secret slack"),
        ({"mode": "Alertmanager"}, Resolved(), False, "True", Reason.CONFIGURED, "by the PrometheusRule booking"),
        ({"mode": "Alertmanager", "slack": SLACK}, Resolved(), False, "True", Reason.CONFIGURED, "slack is not used"),
        ({"mode": "Alertmanager"}, Resolved(), True, "False", Reason.MONITORING_API_ABSENT, "no PrometheusRule API"),
        ({"mode": "Both", "slack": SLACK}, FOUND, False, "True", Reason.CONFIGURED, "Alertmanager is told"),
        (
            {"mode": "Both", "slack": SLACK},
            FOUND,
            True,
            "False",
            Reason.MONITORING_API_ABSENT,
            "Alertmanager is not told",
        ),
        ({"mode": "Both", "slack": SLACK}, FOUND, True, "False", Reason.MONITORING_API_ABSENT, "Slack has a webhook"),
        ({"mode": "Both", "slack": SLACK}, MISSING, False, "False", Reason.SECRET_NOT_FOUND, "no Secret slack"),
    ],
)
def test_the_condition_says_who_is_told(
    alerts: dict[str, Any], resolved: Resolved, absent: bool, status: str, reason: Reason, said: str
) -> None:
    found = alerting_condition(parsed(alerts=alerts), resolved, rules_absent=absent)
    assert (found.status, found.reason) == (status, reason)
    assert said in found.message
