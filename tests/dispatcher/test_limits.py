"""A rate limit gives each job its turn, once; a circuit opens, probes, and closes."""

from __future__ import annotations

import heapq
import random

import pytest

from notification_dispatcher.channels.base import DELIVERED, Delivery, Outcome
from notification_dispatcher.circuit import Circuit
from notification_dispatcher.limits import RateLimit
from notification_dispatcher.metric_names import FailureReason

DOWN = Delivery(Outcome.RETRY, FailureReason.CONNECTION, "no connection")
REFUSED = Delivery(Outcome.FAILED, FailureReason.HTTP_4XX, "answered 410")
SHARED = 1000.0
"""Turns that far ahead are given, where others share the jobs: to all of them here."""


def turn_of(limit: RateLimit, name: str, now: float) -> float:
    turn = limit.reserve(name, now)
    assert turn is not None
    return turn


def test_a_burst_passes_and_the_rest_goes_at_the_rate() -> None:
    limit = RateLimit(10, 3)
    turns = [limit.reserve(f"j{number}", 100.0) for number in range(6)]
    assert turns == pytest.approx([100, 100, 100, 100.1, 100.2, 100.3])


def test_a_turn_is_kept_for_who_asks_again() -> None:
    limit = RateLimit(10, 1)
    assert [limit.reserve(name, 100.0) for name in ("a", "b", "b")] == pytest.approx([100, 100.1, 100.1])
    assert turn_of(limit, "c", 100.1) == pytest.approx(100.2), "b's turn is not given away"
    assert turn_of(limit, "b", 100.1) <= 100.1


def test_a_turn_that_was_used_is_not_used_twice() -> None:
    limit = RateLimit(10, 1)
    limit.reserve("a", 100.0)
    limit.start("a")
    assert turn_of(limit, "a", 100.0) == pytest.approx(100.1)


def test_turns_that_passed_in_an_outage_are_not_all_taken_at_its_end() -> None:
    limit = RateLimit(10, 1)
    for number in range(600):
        limit.reserve(f"j{number}", 100.0)
    passing = [number for number in range(600) if turn_of(limit, f"j{number}", 160.0) <= 160.0]
    assert len(passing) <= 51, "those of the last five seconds, and no more"


def test_a_quiet_time_saves_up_no_more_than_the_burst() -> None:
    limit = RateLimit(10, 5)
    limit.reserve("a", 100.0)
    assert sum(turn_of(limit, f"j{number}", 200.0) <= 200.0 for number in range(20)) == 5


def test_the_place_of_one_that_does_not_come_back_is_taken_by_another() -> None:
    limit = RateLimit(10, 1, SHARED)
    for number in range(10):
        limit.reserve(f"j{number}", 100.0)
    limit.start("j0")
    assert turn_of(limit, "a", 100.55) == pytest.approx(101.0), "j1 may be on its way still"
    assert turn_of(limit, "b", 100.65) <= 100.65
    assert turn_of(limit, "c", 100.65) == pytest.approx(101.1), "one place is for one"
    assert turn_of(limit, "b", 100.7) <= 100.7, "it is kept for it"
    limit.start("b")
    assert turn_of(limit, "j1", 100.75) <= 100.75, "that of j2, in turn"


def test_where_all_come_back_nobody_takes_the_place_of_one_that_is_late() -> None:
    limit = RateLimit(10, 1)
    for number in range(600):
        limit.reserve(f"j{number}", 100.0)
    limit.start("j0")
    assert turn_of(limit, "new", 104.5) == pytest.approx(160.0)
    assert turn_of(limit, "j1", 104.5) <= 104.5, "it has its own still, and not the last of the line"


@pytest.mark.parametrize("replicas", [2, 3, 8])
def test_dispatchers_that_share_their_jobs_have_the_rate_of_all_of_them(replicas: int) -> None:
    dice = random.Random(1)
    limits = [RateLimit(20, 1, SHARED) for _ in range(replicas)]
    waiting = [(100.0, f"j{number}") for number in range(20 * replicas * 40)]
    started = postponed = 0
    for step in range(3000):
        now = 100 + step / 100
        while waiting[0][0] <= now:
            _, name = heapq.heappop(waiting)
            # Whoever claims it first: not the one, as a rule, that told it when to come back.
            limit = dice.choice(limits)
            if (turn := turn_of(limit, name, now)) > now:
                heapq.heappush(waiting, (turn, name))
                postponed += 1
                continue
            limit.start(name)
            started += 1
    assert 0.9 <= started / (20 * replicas * 30) <= 1.01
    assert postponed <= 20 * replicas * 40 * 1.2, "hardly one is sent away twice"


def test_where_turns_may_not_be_far_ahead_one_asks_again_when_the_line_is_through() -> None:
    limit = RateLimit(10, 2, 1.0)
    turns = [limit.reserve(f"j{number}", 100.0) for number in range(30)]
    assert turns[:12] == pytest.approx([100, 100, *(100 + number / 10 for number in range(1, 11))])
    assert set(turns[12:]) == {None}
    assert limit.through(100.0) == pytest.approx(101.1)
    assert turn_of(limit, "j20", 101.1) == pytest.approx(101.1)


def test_over_a_long_time_the_rate_is_what_was_asked_for() -> None:
    limit, started, waiting = RateLimit(50, 10), 0, {f"j{number}" for number in range(2000)}
    for step in range(1000):
        now = 100 + step / 100
        for name in sorted(waiting):
            if turn_of(limit, name, now) <= now:
                limit.start(name)
                waiting.discard(name)
                started += 1
    assert 500 <= started <= 510 + 1


def circuit() -> Circuit:
    return Circuit(random.Random(1))


def fail(one: Circuit, times: int, now: float) -> None:
    for _ in range(times):
        one.start(now)
        one.ended(DOWN, now)


def test_it_opens_after_ten_failures_in_a_row() -> None:
    one = circuit()
    fail(one, 9, 100.0)
    assert (one.open, one.wait(100.0)) == (False, 0)
    fail(one, 1, 100.0)
    assert one.open
    assert 1 <= one.wait(100.0) <= 1.25


def test_a_service_that_tells_no_reason_can_be_down_too() -> None:
    one = circuit()
    for _ in range(10):
        one.ended(Delivery(Outcome.RETRY, FailureReason.UNKNOWN, "the service did not take it"), 100.0)
    assert one.open


@pytest.mark.parametrize("answer", [DELIVERED, REFUSED])
def test_an_answer_in_between_starts_the_count_again(answer: Delivery) -> None:
    one = circuit()
    fail(one, 9, 100.0)
    one.ended(answer, 100.0)
    fail(one, 9, 100.0)
    assert not one.open


def test_one_probe_passes_and_closes_it() -> None:
    one = circuit()
    fail(one, 10, 100.0)
    assert one.wait(102.0) == 0
    one.start(102.0)
    assert one.wait(102.0) > 0, "a second one has to wait"
    one.ended(DELIVERED, 102.0)
    assert (one.open, one.wait(102.0)) == (False, 0)


def test_a_probe_that_fails_doubles_the_wait_up_to_a_minute() -> None:
    one, now, waits = circuit(), 100.0, []
    fail(one, 10, now)
    for _ in range(9):
        waits.append(one.wait(now))
        now += waits[-1]
        fail(one, 1, now)
    expected = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert all(least <= wait <= least * 1.25 for least, wait in zip(expected, waits, strict=True)), waits


def test_what_was_under_way_when_it_opened_does_not_count_as_a_probe() -> None:
    one = circuit()
    fail(one, 10, 100.0)
    before = one.wait(100.5)
    one.ended(DOWN, 100.5)
    assert one.wait(100.5) == before


def test_the_longer_a_probe_takes_the_later_others_ask_again_up_to_a_bound() -> None:
    one = circuit()
    fail(one, 10, 100.0)
    one.start(102.0)
    assert [one.wait(now) for now in (102.0, 102.5, 104.0, 130.0)] == [0.25, 0.5, 2.0, 5.0]


def test_a_probe_that_is_broken_off_makes_room_for_another() -> None:
    one = circuit()
    fail(one, 10, 100.0)
    one.start(102.0)
    one.abandoned()
    assert (one.open, one.wait(102.0)) == (True, 0)


def test_who_asks_for_a_pause_gets_it_from_everybody_up_to_a_bound() -> None:
    one = circuit()
    one.ended(Delivery(Outcome.RETRY, FailureReason.HTTP_4XX, "answered 429", 7_000), 100.0)
    assert (one.open, one.wait(100.0)) == (False, 7)
    one.ended(Delivery(Outcome.RETRY, FailureReason.HTTP_4XX, "answered 429", 3_600_000), 100.0)
    assert one.wait(100.0) == 300
