"""When alerts fire, are held back, are repeated, and end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from notification_dispatcher import settings_source
from notification_dispatcher.alerts import Alerts, Load
from notification_dispatcher.clock import VirtualClock
from notification_dispatcher.metric_names import Alert, DropReason, FailureReason
from notification_dispatcher.metrics import Metrics
from notification_dispatcher.monitor import Monitor
from notification_dispatcher.notices import Notice, Occurrence, Status, message_of
from notification_dispatcher.routes import InForce, Routes
from notification_dispatcher.settings import Settings
from tests.dispatcher.block_kit import check_message
from tests.dispatcher.destination import lease
from tests.dispatcher.rig import REFUSED, rigged

VARIABLES = {
    "NOTIFICATION_ALERT_FAILURE_THRESHOLD": "3",
    "NOTIFICATION_ALERT_FAILURE_WINDOW_MS": "60000",
    "NOTIFICATION_ALERT_BACKLOG_THRESHOLD": "10",
    "NOTIFICATION_ALERT_LATENCY_THRESHOLD_MS": "5000",
    "NOTIFICATION_ALERT_COOLDOWN_MS": "120000",
}


class Desk:
    """Alerts, and what came of them."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        settings = settings_source.read(VARIABLES)
        self.in_force = InForce(settings, Routes(settings.live), {})
        self.load = Load(0, 0)
        self.notices: list[Notice] = []
        self.kept_back: Counter[Alert] = Counter()
        self.alerts = Alerts(self.clock, self.in_force, lambda: self.load, self)
        self.monitor = Monitor(Metrics(CollectorRegistry(), self.in_force), self.alerts, self.in_force)

    def send(self, notice: Notice) -> None:
        self.notices.append(notice)

    def suppressed(self, alert: Alert, times: int) -> None:
        self.kept_back[alert] += times

    def set(self, **variables: str) -> None:
        self.in_force.replace(settings_source.read({**VARIABLES, **variables}), {})

    def fail(self, times: int = 1, reason: FailureReason = FailureReason.HTTP_5XX) -> None:
        for number in range(times):
            self.alerts.failed("booking-created", f"b-{number}", reason)

    def wait(self, job_type: str, job_id: str, milliseconds: float) -> None:
        self.monitor.started(replace(lease(), type=job_type, id=job_id), milliseconds)

    def run(self, job_type: str, job_id: str, milliseconds: float) -> None:
        self.monitor.ran(replace(lease(), type=job_type, id=job_id), milliseconds)

    def depth(self, depth: int) -> None:
        self.load = Load(depth, 4)
        self.alerts.look_at_backlog()

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.alerts.tick()

    @property
    def told(self) -> list[tuple[Alert, Status]]:
        return [(notice.alert, notice.status) for notice in self.notices]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_spike_fires_at_the_threshold_and_not_before(desk: Desk) -> None:
    desk.fail(2)
    assert desk.told == []
    desk.load = Load(7, 2)
    desk.fail(1, FailureReason.TIMEOUT)
    (notice,) = desk.notices
    assert (notice.alert, notice.status) == (Alert.FAILURE_SPIKE, Status.FIRING)
    assert notice.occurrence == Occurrence("3 permanent failures", "booking-created", "b-0")
    assert (notice.depth, notice.active) == (7, 2)
    assert notice.reasons == (("http_5xx", 2), ("timeout", 1))


def test_the_window_slides(desk: Desk) -> None:
    for _ in range(10):
        desk.fail()
        desk.pass_time(31)
    assert desk.told == [], "never three within a minute"
    desk.fail(2)
    assert desk.told == [(Alert.FAILURE_SPIKE, Status.FIRING)]


def test_failures_at_the_windows_edge_count(desk: Desk) -> None:
    desk.fail()
    desk.clock.advance(59.9)
    desk.fail(2)
    assert len(desk.told) == 1


def test_failures_beyond_it_do_not(desk: Desk) -> None:
    desk.fail()
    desk.clock.advance(60)
    desk.fail(2)
    assert desk.told == []


def test_within_the_cooldown_it_is_told_once_and_the_rest_is_counted(desk: Desk) -> None:
    desk.fail(3)
    for _ in range(119):
        desk.pass_time(1)
        desk.fail()
    assert len(desk.told) == 1
    assert desk.kept_back == {Alert.FAILURE_SPIKE: 119}
    desk.pass_time(1)
    desk.fail()
    assert desk.told == [(Alert.FAILURE_SPIKE, Status.FIRING)] * 2
    assert (desk.notices[0].suppressed, desk.notices[1].suppressed) == (0, 119)


def test_it_is_resolved_when_it_is_over_but_not_within_the_cooldown(desk: Desk) -> None:
    desk.fail(3)
    desk.pass_time(119)
    assert len(desk.told) == 1
    desk.pass_time(1)
    assert desk.told == [(Alert.FAILURE_SPIKE, Status.FIRING), (Alert.FAILURE_SPIKE, Status.RESOLVED)]
    assert desk.notices[1].seconds == 120
    desk.pass_time(500)
    assert len(desk.told) == 2


def test_after_it_was_resolved_it_fires_again_at_once(desk: Desk) -> None:
    desk.fail(3)
    desk.pass_time(130)
    desk.fail(3)
    assert desk.told[-1] == (Alert.FAILURE_SPIKE, Status.FIRING)
    assert len(desk.told) == 3


def test_a_lowered_threshold_fires_for_what_has_happened(desk: Desk) -> None:
    desk.fail(2)
    desk.set(NOTIFICATION_ALERT_FAILURE_THRESHOLD="2")
    desk.pass_time(1)
    assert desk.told == [(Alert.FAILURE_SPIKE, Status.FIRING)]


def test_a_backlog_fires_when_it_is_reached_and_reminds(desk: Desk) -> None:
    desk.depth(9)
    desk.depth(10)
    desk.depth(11)
    assert desk.told == [(Alert.BACKLOG_GROWTH, Status.FIRING)]
    assert desk.notices[0].occurrence.value == "10 jobs waiting"
    desk.pass_time(120)
    assert desk.told == [(Alert.BACKLOG_GROWTH, Status.FIRING)] * 2
    assert desk.notices[1].occurrence.value == "11 jobs waiting"
    desk.depth(3)
    desk.pass_time(120)
    assert desk.told[-1] == (Alert.BACKLOG_GROWTH, Status.RESOLVED)


def test_a_backlog_that_comes_and_goes_is_told_once_in_a_cooldown(desk: Desk) -> None:
    for _ in range(50):
        desk.depth(10)
        desk.depth(0)
        desk.pass_time(1)
    assert len(desk.told) == 1
    assert desk.kept_back == {Alert.BACKLOG_GROWTH: 49}
    desk.pass_time(70)
    assert desk.told == [(Alert.BACKLOG_GROWTH, Status.FIRING), (Alert.BACKLOG_GROWTH, Status.RESOLVED)]
    assert desk.notices[1].suppressed == 49


def test_wait_and_duration_are_two_alerts(desk: Desk) -> None:
    desk.wait("booking-created", "b-1", 4999)
    desk.run("booking-created", "b-1", 4999)
    assert desk.told == []
    desk.wait("booking-created", "b-2", 5000)
    desk.run("lesson-completed", "l-1", 6120.4)
    assert desk.told == [(Alert.HIGH_WAIT, Status.FIRING), (Alert.HIGH_DURATION, Status.FIRING)]
    assert desk.notices[1].occurrence == Occurrence("6,120 ms", "lesson-completed", "l-1")


def test_after_a_restart_a_backlog_names_a_job_that_waited(desk: Desk) -> None:
    desk.alerts.claimed("booking-created", "b-1")
    desk.alerts.claimed("booking-created", "b-2")
    desk.depth(10)
    assert desk.notices[0].occurrence == Occurrence("10 jobs waiting", "booking-created", "b-1")


def test_slow_jobs_are_over_when_none_came_for_a_cooldown(desk: Desk) -> None:
    desk.run("t", "1", 5000)
    desk.pass_time(60)
    desk.run("t", "2", 5000)
    desk.pass_time(119)
    assert len(desk.told) == 1
    desk.pass_time(1)
    assert desk.told[-1] == (Alert.HIGH_DURATION, Status.RESOLVED)


def test_drops_fire_at_the_first(desk: Desk) -> None:
    desk.alerts.dropped("booking-created", "b-1", DropReason.CAPACITY)
    desk.alerts.dropped("booking-created", "b-2", DropReason.REJECTED)
    (notice,) = desk.notices
    assert (notice.alert, notice.occurrence.value) == (Alert.CAPACITY_DROPS, "1 jobs dropped")
    desk.pass_time(120)
    desk.alerts.dropped("booking-created", "b-3", DropReason.CAPACITY)
    assert desk.notices[-1].reasons == (("capacity", 1),)


def test_one_alerts_cooldown_is_no_others(desk: Desk) -> None:
    desk.fail(3)
    desk.depth(10)
    desk.run("t", "1", 5000)
    assert len(desk.told) == 3


def test_the_wall_clock_may_jump(desk: Desk) -> None:
    desk.fail(3)
    desk.clock.jump(86_400)
    desk.fail()
    desk.clock.jump(-2 * 86_400)
    desk.fail()
    desk.pass_time(10)
    assert len(desk.told) == 1


# What Slack is sent.


def notice(**more: object) -> Notice:
    values: dict[str, object] = {
        "alert": Alert.FAILURE_SPIKE,
        "status": Status.FIRING,
        "occurrence": Occurrence("20 permanent failures", "booking-created", "<!channel>"),
        "depth": 412,
        "active": 32,
        "reasons": (("http_5xx", 18), ("timeout", 2)),
        **more,
    }
    return Notice(**values)  # type: ignore[arg-type]


SETTINGS = settings_source.read(
    {
        "NOTIFICATION_PIPELINE_NAMESPACE": "plannivo",
        "NOTIFICATION_PIPELINE_NAME": "booking",
        "NOTIFICATION_ALERT_DASHBOARD_URL": "https://grafana.example/d/1",
        "NOTIFICATION_ALERT_RUNBOOK_URL": "https://runbooks.example/{alert}",
    }
)


def test_the_message_has_what_a_responder_needs() -> None:
    message = message_of(notice(suppressed=5), SETTINGS)
    title = "[FIRING] Failure spike \N{EN DASH} plannivo/booking"
    assert message["text"] == f"{title}: 20 permanent failures"
    (attachment,) = message["attachments"]
    header, facts, buttons, context = attachment["blocks"]
    assert header["text"]["text"] == title
    assert [field["text"] for field in facts["fields"]] == [
        "*Value*\n20 permanent failures",
        "*Threshold*\n20 failures",
        "*Window*\n5 min",
        "*Queue depth*\n412",
        "*Active jobs*\n32",
        "*Job type*\nbooking-created",
        "*Example job*\n&lt;!channel&gt;",
        "*Top reasons*\nhttp_5xx 18, timeout 2",
    ]
    assert [button["url"] for button in buttons["elements"]] == [
        "https://grafana.example/d/1",
        "https://runbooks.example/failure_spike",
    ]
    assert context["elements"][0]["text"] == "5 more since the last message. At most one such message in 5 min."


def test_without_links_there_are_no_buttons() -> None:
    message = message_of(notice(), settings_source.read({}))
    assert [block["type"] for block in message["attachments"][0]["blocks"]] == ["header", "section", "context"]


LONGEST = settings_source.read(
    {
        "NOTIFICATION_PIPELINE_NAMESPACE": "n" * 253,
        "NOTIFICATION_PIPELINE_NAME": "p" * 253,
        "NOTIFICATION_ALERT_DASHBOARD_URL": "https://grafana.example/" + "d" * 1000,
        "NOTIFICATION_ALERT_RUNBOOK_URL": "https://runbooks.example/{alert}" + "r" * 992,
    }
)


@pytest.mark.parametrize("alert", Alert)
@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("settings", [SETTINGS, LONGEST], ids=["usual", "longest"])
def test_slack_takes_every_alert(alert: Alert, status: Status, settings: Settings) -> None:
    occurrence = Occurrence("9" * 500, "t" * 63, "<&>" * 42)
    reasons = tuple((reason, 10**9) for reason in FailureReason)
    long = notice(
        alert=alert, status=status, occurrence=occurrence, reasons=reasons, suppressed=10**12, seconds=10.0**9
    )
    check_message(message_of(notice(alert=alert, status=status), settings))
    check_message(message_of(long, settings))


async def test_every_alert_says_how_much_waits_and_names_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Notice] = []
    low: dict[str, Any] = {
        "NOTIFICATION_ALERT_FAILURE_THRESHOLD": "1",
        "NOTIFICATION_ALERT_BACKLOG_THRESHOLD": "3",
        "NOTIFICATION_ALERT_LATENCY_THRESHOLD_MS": "100",
        "NOTIFICATION_QUEUE_CAPACITY": "3",
        "NOTIFICATION_WORKER_CONCURRENCY": "1",
    }
    async with rigged(tmp_path, **low) as rig:
        monkeypatch.setattr(rig.parts.slack, "send", told.append)
        rig.crm.script = [1.0, REFUSED]
        await rig.put("a", "b", "c")
        await rig.put("d")
        rig.start()
        await rig.pass_time(3)
    assert {one.alert for one in told} == set(Alert) - {Alert.TEST}
    for one in told:
        assert one.occurrence.job_type == "booking-created", one
        assert one.occurrence.job_id in {"a", "b", "c", "d"}, one
        assert "*Queue depth*" in str(message_of(one, SETTINGS)), one


@pytest.mark.parametrize("alert", Alert)
@pytest.mark.parametrize("status", Status)
def test_every_alert_has_its_words(alert: Alert, status: Status) -> None:
    text = message_of(notice(alert=alert, status=status, seconds=75.0), SETTINGS)["text"]
    assert text.startswith(f"[{status.upper()}] ")
    assert "_" not in text
