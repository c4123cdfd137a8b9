"""What the watch of the pipelines told of, against a list of our own; and what liveness makes of it."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from notification_operator.handlers import Watchers
from notification_operator.metrics import OperatorMetrics
from notification_operator.roster import Roster
from notification_operator.server import serving
from notification_operator.settings import Settings
from notification_operator.workqueue import Key

A, B = Key("one", "a"), Key("two", "b")


def test_what_the_watch_told_of_is_not_missed() -> None:
    roster = Roster([None])
    roster.seen(A, 5)
    roster.seen(B, 9)
    assert roster.check(None, {A: 5, B: 7}, 8) == set()
    assert set(roster) == {A, B}
    assert not lost(roster)


def test_what_only_the_list_knows_was_missed_and_is_known_from_then_on() -> None:
    roster = Roster([None])
    roster.seen(A, 5)
    assert roster.check(None, {A: 6, B: 7}, 8) == {A, B}
    assert B in roster
    assert roster.check(None, {A: 6, B: 7}, 9) == set()


def test_a_deletion_may_be_missed_too_and_one_that_was_told_of_is_not_taken_back() -> None:
    roster = Roster([None])
    roster.seen(A, 5)
    roster.seen(B, 6)
    roster.gone(B, 12)
    assert roster.check(None, {B: 6}, 10) == {A}
    assert set(roster) == set()


def test_what_was_made_since_the_list_is_left_alone() -> None:
    roster = Roster([None])
    roster.seen(A, 11)
    assert roster.check(None, {}, 10) == set()
    assert A in roster


def lost(roster: Roster) -> bool:
    return roster.lost


def test_a_watch_that_missed_something_twice_is_lost_unless_it_tells_of_something_newer() -> None:
    roster = Roster(["one", "two"])
    roster.check("one", {A: 5}, 10)
    assert not lost(roster)
    # A list that shows nothing new proves nothing, and neither does the other namespace's watch.
    roster.check("one", {A: 5}, 11)
    roster.seen(B, 12)
    roster.check("one", {A: 13}, 14)
    assert lost(roster)
    roster.seen(A, 13)
    assert lost(roster), "that is no news"
    roster.seen(A, 15)
    assert not lost(roster)


async def test_a_watcher_that_ended_by_itself_is_told_from_one_that_was_ended() -> None:
    async def fail() -> None:
        raise RuntimeError

    watchers = Watchers()
    name = "watcher for notificationpipelines.v1alpha1.notifications.plannivo.io@one"
    ended = asyncio.create_task(asyncio.Event().wait(), name=name)
    assert not watchers.died()
    ended.cancel()
    await asyncio.wait((ended,))
    assert not watchers.died()
    failing = asyncio.create_task(fail(), name=name)
    assert not watchers.died()
    await asyncio.wait((failing,))
    assert watchers.died()
    with pytest.raises(RuntimeError):
        failing.result()


async def test_liveness_says_what_only_a_restart_can_heal() -> None:
    ailments: list[str] = []
    settings = Settings(http_host="127.0.0.1", http_port=0)
    metrics = OperatorMetrics(CollectorRegistry())
    async with (
        serving(settings, metrics, lambda: None, lambda: next(iter(ailments), None)) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        async with session.get("/healthz") as answer:
            assert answer.status == HTTPStatus.OK
        ailments.append("the watch is lost")
        async with session.get("/healthz") as answer:
            assert (answer.status, await answer.text()) == (HTTPStatus.SERVICE_UNAVAILABLE, "the watch is lost\n")
