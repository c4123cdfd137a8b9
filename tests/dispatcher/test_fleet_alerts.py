"""A pipeline of several dispatchers alerts once: what one of them has seen counts for all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from notification_dispatcher import settings_source
from notification_dispatcher.alerts import Load
from notification_dispatcher.clock import VirtualClock
from notification_dispatcher.errors import QueueUnavailableError
from notification_dispatcher.fleet_alerts import FleetAlerts
from notification_dispatcher.metric_names import Alert, FailureReason
from notification_dispatcher.notices import Notice, Occurrence, Status
from notification_dispatcher.routes import InForce, Routes
from tests.dispatcher.rig import ROUTING, FakeBoard, SharedQueue, rigged

VARIABLES = {
    "NOTIFICATION_ALERT_FAILURE_THRESHOLD": "20",
    "NOTIFICATION_ALERT_FAILURE_WINDOW_MS": "60000",
    "NOTIFICATION_ALERT_BACKLOG_THRESHOLD": "500",
    "NOTIFICATION_ALERT_COOLDOWN_MS": "30000",
}


class Slack:
    """What one dispatcher has to send: it is sent at once, unless Slack is down."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.waiting: dict[Alert, Notice] = {}

    def replace(self, notice: Notice) -> None:
        if self._fleet.slack_down:
            self.waiting[notice.alert] = notice
        else:
            self._fleet.notices.append(notice)

    def drop(self, alert: Alert) -> None:
        self.waiting.pop(alert, None)

    def waits(self, alert: Alert) -> bool:
        return alert in self.waiting

    def suppressed(self, alert: Alert, times: int) -> None:
        self._fleet.kept_back[alert] += times

    def come_back(self) -> None:
        self._fleet.notices += self.waiting.values()
        self.waiting.clear()


class Fleet:
    """Dispatchers' alerts, and what came of all of them."""

    def __init__(self, size: int) -> None:
        self.board = FakeBoard()
        settings = settings_source.read(VARIABLES)
        in_force = InForce(settings, Routes(settings.live), {})
        self.depth = 0
        self.notices: list[Notice] = []
        self.kept_back: Counter[Alert] = Counter()
        self.slack_down = False
        self.slacks = [Slack(self) for _ in range(size)]
        self.alerts = [
            FleetAlerts(self.board, VirtualClock(), in_force, lambda: Load(self.depth, 1), slack)
            for slack in self.slacks
        ]

    async def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.board.now_ms += 1000
            for one in self.alerts:
                await one.exchange()

    def told(self) -> list[tuple[Alert, Status]]:
        return [(notice.alert, notice.status) for notice in self.notices]


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(8)


def fail(one: FleetAlerts, times: int) -> None:
    for number in range(times):
        one.failed("booking-created", f"b-{number}", FailureReason.HTTP_5XX)


async def test_failures_of_all_make_one_spike(fleet: Fleet) -> None:
    for one in fleet.alerts:
        fail(one, 2)
    await fleet.pass_time(1)
    assert fleet.told() == []
    for one in fleet.alerts:
        fail(one, 2)
    await fleet.pass_time(1)
    assert fleet.told() == [(Alert.FAILURE_SPIKE, Status.FIRING)]
    (notice,) = fleet.notices
    assert notice.reasons == (("http_5xx", 20),)
    # Those that came after it within the cooldown are counted, by whoever saw them.
    assert fleet.kept_back == {Alert.FAILURE_SPIKE: 12}


async def test_slow_jobs_are_counted_and_not_kept(fleet: Fleet) -> None:
    one = fleet.alerts[0]
    for number in range(30_000):
        one.slow(Alert.HIGH_WAIT, "booking-created", f"b-{number}", 5000.0 + number)
    one.slow(Alert.HIGH_DURATION, "booking-created", "b-1", 7000.0)
    # However many there are, they push nothing else out.
    fail(one, 20)
    fleet.board.broken = True
    await one.flush()
    one.slow(Alert.HIGH_WAIT, "instructor-rated", "r-1", 9000.0)
    fleet.board.broken = False
    await fleet.pass_time(1)
    firing = {notice.alert: notice for notice in fleet.notices}
    assert firing.keys() == {Alert.HIGH_WAIT, Alert.HIGH_DURATION, Alert.FAILURE_SPIKE}
    assert firing[Alert.HIGH_WAIT].occurrence == Occurrence("9,000 ms", "instructor-rated", "r-1")
    assert fleet.kept_back == {Alert.HIGH_WAIT: 30_000}


async def test_it_is_repeated_and_resolved_once(fleet: Fleet) -> None:
    fail(fleet.alerts[0], 20)
    await fleet.pass_time(31)
    fail(fleet.alerts[3], 1)
    fail(fleet.alerts[5], 1)
    await fleet.pass_time(120)
    firing, resolved = (Alert.FAILURE_SPIKE, Status.FIRING), (Alert.FAILURE_SPIKE, Status.RESOLVED)
    assert fleet.told() == [firing, firing, resolved]


async def test_a_clock_that_is_set_back_silences_nothing(fleet: Fleet) -> None:
    fail(fleet.alerts[0], 20)
    await fleet.pass_time(1)
    fleet.board.now_ms -= 3_600_000
    await fleet.pass_time(31)
    fail(fleet.alerts[1], 1)
    await fleet.pass_time(1)
    assert fleet.told() == [(Alert.FAILURE_SPIKE, Status.FIRING)] * 2
    await fleet.pass_time(120)
    assert fleet.told()[2:] == [(Alert.FAILURE_SPIKE, Status.RESOLVED)]


async def test_one_that_dies_takes_nothing_along(fleet: Fleet) -> None:
    fail(fleet.alerts[0], 20)
    # A second more, or the others could not know that it was sent.
    await fleet.pass_time(2)
    del fleet.alerts[:7]
    fail(fleet.alerts[0], 1)
    await fleet.pass_time(20)
    assert fleet.told() == [(Alert.FAILURE_SPIKE, Status.FIRING)], "the cooldown was the dead one's"
    await fleet.pass_time(120)
    assert fleet.told()[1:] == [(Alert.FAILURE_SPIKE, Status.RESOLVED)]


async def test_what_one_that_dies_could_not_send_another_does(fleet: Fleet) -> None:
    fleet.slack_down = True
    fail(fleet.alerts[0], 20)
    await fleet.pass_time(10)
    assert [len(slack.waiting) for slack in fleet.slacks] == [1, 0, 0, 0, 0, 0, 0, 0], "it is one's to send"
    del fleet.alerts[0]
    await fleet.pass_time(15)
    assert sum(len(slack.waiting) for slack in fleet.slacks[1:]) == 0, "it may be there still"
    await fleet.pass_time(16)
    assert sum(len(slack.waiting) for slack in fleet.slacks[1:]) == 1
    await fleet.pass_time(100)
    for slack in fleet.slacks[1:]:
        slack.come_back()
    await fleet.pass_time(100)
    # Over meanwhile: that is what is told, with the one before it counted.
    assert fleet.told() == [(Alert.FAILURE_SPIKE, Status.RESOLVED)]
    assert fleet.notices[0].suppressed == 1
    assert b"resolved" not in fleet.board.written


async def spike_without_slack(fleet: Fleet) -> None:
    """The first has a notice to send, and Slack doesn't take it."""
    fleet.slack_down = True
    fail(fleet.alerts[0], 20)
    await fleet.pass_time(1)


async def cut_off_with_a_notice(fleet: Fleet) -> FleetAlerts:
    """The same, and it is away for so long that another takes over. Returns it."""
    await spike_without_slack(fleet)
    away = fleet.alerts.pop(0)
    await fleet.pass_time(31)
    return away


async def test_one_that_leaves_hands_over_what_it_could_not_send(fleet: Fleet) -> None:
    await spike_without_slack(fleet)
    await fleet.alerts[0].leave()
    del fleet.alerts[0]
    fleet.slack_down = False
    await fleet.pass_time(1)
    assert fleet.told() == [(Alert.FAILURE_SPIKE, Status.FIRING)]
    assert not fleet.slacks[0].waiting


async def test_one_that_was_away_too_long_leaves_it_to_the_one_that_took_over(fleet: Fleet) -> None:
    away = await cut_off_with_a_notice(fleet)
    fleet.alerts.append(away)
    await fleet.pass_time(1)
    assert [len(slack.waiting) for slack in fleet.slacks] == [0, 1, 0, 0, 0, 0, 0, 0]


async def test_one_that_was_away_does_not_tell_what_another_has_told_since(fleet: Fleet) -> None:
    away = await cut_off_with_a_notice(fleet)
    fleet.slack_down = False
    for slack in fleet.slacks[1:]:
        slack.come_back()
    await fleet.pass_time(120)
    assert fleet.told() == [(Alert.FAILURE_SPIKE, Status.FIRING), (Alert.FAILURE_SPIKE, Status.RESOLVED)]
    fleet.alerts.append(away)
    await fleet.pass_time(1)
    assert not fleet.slacks[0].waiting


async def test_what_a_program_that_knows_no_notices_has_erased_is_told(fleet: Fleet) -> None:
    await spike_without_slack(fleet)
    fleet.board.written = msgspec.json.encode({**msgspec.json.decode(fleet.board.written), "notices": {}})
    await fleet.pass_time(20)
    fleet.slacks[0].come_back()
    assert fleet.told() == [(Alert.FAILURE_SPIKE, Status.FIRING)]


async def test_what_holds_though_no_answer_came_is_not_told_again(fleet: Fleet) -> None:
    one = fleet.alerts[0]
    fail(one, 12)
    fleet.board.unheard = True
    await one.flush()
    fail(one, 7)
    await one.flush()
    fleet.board.unheard = False
    await fleet.pass_time(1)
    assert fleet.told() == []
    fail(one, 5)
    fleet.board.unheard = True
    await one.flush()
    assert fleet.told() == []
    fleet.board.unheard = False
    await fleet.pass_time(40)
    assert fleet.told() == [(Alert.FAILURE_SPIKE, Status.FIRING)]
    assert fleet.notices[0].reasons == (("http_5xx", 20),)
    assert fleet.kept_back == {Alert.FAILURE_SPIKE: 4}


async def test_a_backlog_is_told_once(fleet: Fleet) -> None:
    fleet.depth = 500
    for one in fleet.alerts:
        one.arrived("booking-created", "b-1")
    await fleet.pass_time(5)
    assert fleet.told() == [(Alert.BACKLOG_GROWTH, Status.FIRING)]
    assert fleet.notices[0].occurrence.job_id == "b-1"
    fleet.depth = 0
    await fleet.pass_time(60)
    assert fleet.told()[1:] == [(Alert.BACKLOG_GROWTH, Status.RESOLVED)]


async def test_a_backlog_is_what_all_of_them_see(tmp_path: Path) -> None:
    variables = {"NOTIFICATION_ALERT_BACKLOG_THRESHOLD": "10", "NOTIFICATION_WORKER_CONCURRENCY": "4"}
    async with rigged(tmp_path, ROUTING, SharedQueue, **variables) as rig:
        rig.crm.always = 3600.0
        await rig.put(*(f"b-{number}" for number in range(17)))
        rig.start()
        await rig.settle()
        # What this one has claimed and not started, the others know nothing of.
        assert (rig.parts.queue.counts().depth, rig.parts.worker.waiting) == (9, 4)
        with capture_logs() as logs:
            await rig.parts.alerts.flush()
            assert logs == []
            await rig.put("b-17")
            await rig.parts.alerts.flush()
        assert [(line["action"], line["depth"]) for line in logs] == [("alert_firing", 10)]


async def test_while_the_board_cannot_be_reached_nothing_is_told_and_nothing_forgotten(fleet: Fleet) -> None:
    one = fleet.alerts[0]
    fail(one, 20)
    fleet.board.broken = True
    for _ in range(3):
        with pytest.raises(QueueUnavailableError):
            await one.exchange()
    await one.flush()
    assert fleet.told() == []
    fleet.board.broken = False
    await one.flush()
    assert fleet.told() == [(Alert.FAILURE_SPIKE, Status.FIRING)]
    assert fleet.notices[0].reasons == (("http_5xx", 20),)


async def test_what_another_program_wrote_otherwise_is_begun_anew(fleet: Fleet) -> None:
    fleet.board.written = b'{"states": 7}'
    fail(fleet.alerts[0], 20)
    await fleet.pass_time(1)
    assert fleet.told() == [(Alert.FAILURE_SPIKE, Status.FIRING)]


async def test_what_is_written_stays_small(fleet: Fleet) -> None:
    for _ in range(120):
        for one in fleet.alerts:
            fail(one, 3)
        await fleet.pass_time(1)
    assert len(fleet.board.written) < 10_000


async def test_nothing_new_is_nothing_written(fleet: Fleet) -> None:
    await fleet.pass_time(1)
    written = fleet.board.written
    await fleet.pass_time(10)
    assert fleet.board.written == written
