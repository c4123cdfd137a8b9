"""The sample configuration of Alertmanager: one alert is one page. amtool routes, as Alertmanager would."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from notification_operator.resources import prometheus_rule
from notification_operator.resources.base import Context
from notification_operator.spec.alert_rules import AlertName
from notification_operator.wanted_secrets import alert_secrets
from tests.controller.pipelines import parsed
from tests.debian import program

SAMPLE = Path(__file__).parents[2] / "docs" / "alertmanager.yaml"
MIRRORED = set(AlertName) - {
    AlertName.DISPATCHER_DOWN,
    AlertName.ERROR_BUDGET_BURN_FAST,
    AlertName.ERROR_BUDGET_BURN_SLOW,
}
CRITICAL = {
    AlertName.FAILURE_SPIKE,
    AlertName.CAPACITY_DROPS,
    AlertName.DISPATCHER_DOWN,
    AlertName.ERROR_BUDGET_BURN_FAST,
}
SLACK = {"webhookSecretRef": {"name": "slack", "key": "url"}}


def amtool(*arguments: str) -> str:
    answer = subprocess.run(
        [program("prometheus-alertmanager", "amtool"), *arguments], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout.strip()


def alerts(mode: str) -> dict[AlertName, Mapping[str, str]]:
    """Labels of each alert in this mode, with a webhook as the operator would give the dispatcher one."""
    pipeline = parsed(alerts={"mode": mode, "slack": SLACK})
    context = Context("image:1")
    if alert_secrets(pipeline):
        context = replace(context, slack_alerts={"SLACK_ALERT_WEBHOOK_URL": b"https://x"})
    built: dict[str, Any] | None = prometheus_rule.build(pipeline, context)
    assert built is not None
    rules = [rule for group in built["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    return {AlertName(rule["alert"]): rule["labels"] for rule in rules}


def receivers(alert: AlertName, labels: Mapping[str, str]) -> list[str]:
    """Who is told by Alertmanager."""
    matchers = [f"{name}={value}" for name, value in {"alertname": alert.value, **labels}.items()]
    told = amtool("config", "routes", "test", f"--config.file={SAMPLE}", *matchers).split(",")
    return [receiver for receiver in told if receiver != "nobody"]


def test_amtool_accepts_it() -> None:
    assert "SUCCESS" in amtool("check-config", str(SAMPLE))


@pytest.mark.parametrize("name", AlertName)
@pytest.mark.parametrize("mode", ["InProcess", "Alertmanager", "Both"])
def test_one_alert_is_one_page(mode: str, name: AlertName) -> None:
    dispatcher_tells = mode != "Alertmanager" and name in MIRRORED
    told = receivers(name, alerts(mode)[name])
    if mode == "InProcess" and dispatcher_tells:
        assert told == []
    else:
        assert told == ["pager" if name in CRITICAL else "team"]


def test_who_is_paged_for_the_budget_gets_no_ticket_for_it() -> None:
    (rule,) = yaml.safe_load(SAMPLE.read_text())["inhibit_rules"]
    assert rule["equal"] == ["namespace", "pipeline"]
    named = (*rule["source_matchers"], *rule["target_matchers"])
    assert named == tuple(
        f'alertname = "{name}"' for name in (AlertName.ERROR_BUDGET_BURN_FAST, AlertName.ERROR_BUDGET_BURN_SLOW)
    )
