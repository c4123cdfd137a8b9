"""The sender of alerts: Slack's moods touch neither jobs nor each other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from notification_dispatcher import metric_names as names
from notification_dispatcher.channels.base import DELIVERED, Delivery, Outcome
from notification_dispatcher.channels.http import Request
from notification_dispatcher.metric_names import Alert, FailureReason
from notification_dispatcher.notices import Notice, Occurrence, Status
from tests.dispatcher.rig import Rig, rigged

URL = "https://hooks.slack.com/services/T0CANARY"


class FakeSlack:
    """Answers as it is told, and notes when it was asked."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.script: list[Delivery] = []
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []

    async def post(self, request: Request) -> Delivery:
        assert request.url == URL
        self.bodies.append(json.loads(request.body))
        self.times.append(self._rig.clock.monotonic())
        return self.script.pop(0) if self.script else DELIVERED


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rigged(tmp_path, SLACK_WEBHOOK_URL=URL) as made:
        made.running.append(asyncio.create_task(made.parts.slack.run()))
        yield made


@pytest.fixture
def slack(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> FakeSlack:
    fake = FakeSlack(rig)
    monkeypatch.setattr(rig.parts.slack, "_client", fake)
    return fake


def notice(alert: Alert = Alert.FAILURE_SPIKE, value: str = "20 failures", suppressed: int = 0) -> Notice:
    return Notice(alert, Status.FIRING, Occurrence(value), depth=1, active=1, suppressed=suppressed)


def outcomes(rig: Rig, alert: Alert) -> dict[str, float]:
    scrape = rig.scrape()
    return {
        outcome: scrape.total(names.ALERTS_TOTAL, alert=alert.value, outcome=outcome)
        for outcome in ("sent", "suppressed", "failed")
    }


async def test_a_notice_is_sent(rig: Rig, slack: FakeSlack) -> None:
    rig.parts.slack.send(notice())
    await rig.settle()
    assert len(slack.bodies) == 1
    assert outcomes(rig, Alert.FAILURE_SPIKE) == {"sent": 1, "suppressed": 0, "failed": 0}


async def test_at_most_one_a_second(rig: Rig, slack: FakeSlack) -> None:
    for alert in (Alert.FAILURE_SPIKE, Alert.HIGH_WAIT, Alert.BACKLOG_GROWTH):
        rig.parts.slack.send(notice(alert))
    await rig.pass_time(5, step=0.5)
    assert slack.times == [0, 1, 2]


async def test_retry_after_is_obeyed_and_nothing_is_lost(rig: Rig, slack: FakeSlack) -> None:
    slack.script = [Delivery(Outcome.RETRY, FailureReason.HTTP_4XX, "answered 429", retry_after_ms=30_000)]
    rig.parts.slack.send(notice())
    await rig.pass_time(29)
    assert len(slack.bodies) == 1
    await rig.pass_time(2)
    assert slack.times == [0, 30]
    assert outcomes(rig, Alert.FAILURE_SPIKE) == {"sent": 1, "suppressed": 0, "failed": 1}


async def test_while_it_waits_only_the_latest_of_each_alert_is_kept(rig: Rig, slack: FakeSlack) -> None:
    slack.script = [Delivery(Outcome.RETRY, FailureReason.CONNECTION, "no connection")]
    rig.parts.slack.send(notice(value="first"))
    await rig.settle()
    for number in range(1000):
        rig.parts.slack.send(notice(value=f"later {number}", suppressed=2))
    await rig.pass_time(10)
    assert len(slack.bodies) == 2
    assert slack.bodies[1]["text"].endswith("later 999")
    assert "3000 more since the last message" in json.dumps(slack.bodies[1])


async def test_pauses_grow_while_slack_is_down(rig: Rig, slack: FakeSlack) -> None:
    slack.script = [Delivery(Outcome.RETRY, FailureReason.CONNECTION, "no connection")] * 9
    rig.parts.slack.send(notice())
    await rig.pass_time(400)
    assert slack.times == [0, 2, 6, 14, 30, 62, 122, 182, 242, 302]
    assert outcomes(rig, Alert.FAILURE_SPIKE) == {"sent": 1, "suppressed": 0, "failed": 9}


async def test_a_webhook_that_is_gone_is_not_asked_again(rig: Rig, slack: FakeSlack) -> None:
    slack.script = [Delivery(Outcome.FAILED, FailureReason.HTTP_4XX, "answered 404")]
    with capture_logs() as logs:
        rig.parts.slack.send(notice())
        await rig.pass_time(100)
    assert len(slack.bodies) == 1
    assert [line["action"] for line in logs] == ["alert_not_sent"]
    assert "CANARY" not in str(logs)


async def test_without_a_webhook_nothing_is_kept(rig: Rig, slack: FakeSlack) -> None:
    rig.parts.in_force.replace(
        type(rig.parts.in_force.settings)(
            rig.parts.in_force.settings.fixed,
            rig.parts.in_force.live.model_copy(update={"slack_url": None}),
            None,
            "0",
        ),
        {},
    )
    rig.parts.slack.send(notice())
    await rig.pass_time(5)
    assert slack.bodies == []


async def test_what_is_pending_is_sent_before_the_end(rig: Rig, slack: FakeSlack) -> None:
    rig.running[0].cancel()
    rig.parts.slack.send(notice())
    await rig.parts.slack.flush()
    assert len(slack.bodies) == 1


async def test_what_could_not_be_sent_before_the_end_is_logged(rig: Rig, slack: FakeSlack) -> None:
    slack.script = [Delivery(Outcome.RETRY, FailureReason.HTTP_4XX, "answered 429", retry_after_ms=30_000)]
    rig.parts.slack.send(notice())
    await rig.settle()
    rig.running[0].cancel()
    with capture_logs() as logs:
        await rig.parts.slack.flush()
    assert [(line["action"], line["alert"]) for line in logs] == [("alert_left", "failure_spike")]


async def test_a_test_alert_tells_what_came_back(rig: Rig, slack: FakeSlack) -> None:
    slack.script = [Delivery(Outcome.FAILED, FailureReason.HTTP_4XX, "answered 403")]
    assert (await rig.parts.slack.test(1, 2)) == Delivery(Outcome.FAILED, FailureReason.HTTP_4XX, "answered 403")
    assert (await rig.parts.slack.test(1, 2)) == DELIVERED
    assert slack.bodies[0]["text"].startswith("[TEST] Test alert")
    assert outcomes(rig, Alert.TEST) == {"sent": 1, "suppressed": 0, "failed": 1}


async def test_failures_of_jobs_reach_slack(rig: Rig, slack: FakeSlack) -> None:
    rig.crm.always = Delivery(Outcome.FAILED, FailureReason.HTTP_4XX, "answered 410")
    await rig.put(*(f"j{number}" for number in range(25)))
    rig.start()
    await rig.settle()
    assert "Failure spike" in slack.bodies[0]["text"]
    assert outcomes(rig, Alert.FAILURE_SPIKE) == {"sent": 1, "suppressed": 5, "failed": 0}
