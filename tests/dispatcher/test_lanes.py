"""Jobs that may not run now wait at no cost, a bounded number of writes, and in nobody's way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from notification_dispatcher import metric_names as names
from notification_dispatcher.channels.base import DELIVERED, Delivery, Outcome
from notification_dispatcher.job import Lease, Settlement, Settling
from notification_dispatcher.metric_names import FailureReason
from notification_dispatcher.queues.base import DeadFilter
from tests.dispatcher.rig import AGAIN, CHANNELS, JOB_TYPES, REFUSED, Rig, SharedQueue, rigged


def routing(crm: Mapping[str, Any] | None = None, booking: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The rig's, with something more for the channel crm and the type booking-created."""
    first, *others = CHANNELS
    one, *types = JOB_TYPES
    team = [{**other, "concurrency": 2} for other in others]
    kinds = [{"name": "team-news", "channels": ["team"]}, {**one, **(booking or {})}, *types]
    return {"channels": [{**first, **(crm or {})}, *team], "jobTypes": kinds}


def names_of(count: int, prefix: str = "j") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


async def put_many(rig: Rig, count: int, prefix: str = "j", job_type: str = "booking-created") -> None:
    for start in range(0, count, 500):
        await rig.put(*names_of(count, prefix)[start : start + 500], job_type=job_type)


def counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[Settlement]:
    """Everything that is settled from now on."""
    settled: list[Settlement] = []
    settle = rig.parts.queue.settle

    async def counting(batch: Sequence[Settlement]) -> Sequence[Lease]:
        settled.extend(batch)
        return await settle(batch)

    monkeypatch.setattr(rig.parts.queue, "settle", counting)
    return settled


async def test_a_type_runs_no_more_at_once_than_it_may(tmp_path: Path) -> None:
    async with rigged(tmp_path, routing(booking={"concurrency": 2}), NOTIFICATION_WORKER_CONCURRENCY="8") as rig:
        rig.crm.always = 1.0
        await rig.put(*names_of(6))
        await rig.put("x", "y", job_type="instructor-rated")
        rig.start()
        await rig.settle()
        assert sorted(lease.id for lease in rig.crm.taken) == ["j0", "j1", "x", "y"]
        await rig.pass_time(4, step=0.1)
        assert (len(rig.crm.taken), rig.scrape().total(names.JOBS_TOTAL, result="processed")) == (8, 8)


async def test_a_channel_that_hangs_leaves_the_others_their_places(tmp_path: Path) -> None:
    async with rigged(tmp_path, routing({"concurrency": 2}), NOTIFICATION_WORKER_CONCURRENCY="4") as rig:
        rig.crm.always = 1_000.0
        await put_many(rig, 50)
        await put_many(rig, 50, "team", "team-news")
        rig.start()
        await rig.pass_time(1, step=0.1)
        assert len(rig.team.taken) == 50
        assert len(rig.crm.taken) == 2
        assert rig.parts.worker.active == 2
        assert rig.scrape().total(names.QUEUE_DEPTH) == 48


async def test_a_rate_is_kept_and_costs_no_attempt(tmp_path: Path) -> None:
    limited = routing({"rateLimit": {"perSecond": 5, "burst": 2}})
    async with rigged(tmp_path, limited, NOTIFICATION_WORKER_CONCURRENCY="4") as rig:
        await rig.put(*names_of(30))
        rig.start()
        await rig.settle()
        assert len(rig.crm.taken) == 2
        await rig.pass_time(4, step=0.05)
        assert 21 <= len(rig.crm.taken) <= 22
        await rig.pass_time(3, step=0.05)
        assert [lease.id for lease in rig.crm.taken] == names_of(30), "in their order"
        assert {lease.attempt for lease in rig.crm.taken} == {1}
        assert rig.scrape().total(names.POSTPONED_TOTAL, reason="rate_limit") == 28


async def test_many_that_wait_for_a_rate_are_there_for_others_and_cost_a_bounded_number_of_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = routing({"rateLimit": {"perSecond": 5, "burst": 1}})
    async with rigged(
        tmp_path, limited, SharedQueue, NOTIFICATION_WORKER_CONCURRENCY="4", NOTIFICATION_QUEUE_CAPACITY="20000"
    ) as rig:
        await put_many(rig, 10_000)
        rig.start()
        while rig.parts.queue.counts().ready:
            await rig.settle()
        settled = counted(rig, monkeypatch)
        # However long it would take here, each is there again soon for others to take.
        assert max(entry.ready_ms for entry in rig.parts.queue._entries.values()) < rig.clock.wall_ms() + 40_000  # type: ignore[attr-defined]
        began = len(rig.crm.taken)
        await rig.pass_time(10, step=0.05)
        assert 49 <= len(rig.crm.taken) - began <= 51
        assert len([one for one in settled if one.settling is Settling.POSTPONED]) <= 10 * 600


async def test_while_a_circuit_is_open_jobs_wait_and_spend_nothing(tmp_path: Path) -> None:
    async with rigged(tmp_path, routing(), NOTIFICATION_WORKER_CONCURRENCY="4") as rig:
        rig.crm.always = AGAIN
        await put_many(rig, 100)
        rig.start()
        await rig.pass_time(20, step=0.1)
        assert rig.scrape().total(names.CIRCUIT_OPEN, channel="crm") == 1
        assert len(rig.crm.taken) < 10 + 4 + 6, "ten to open it, those under way, and probes"
        await put_many(rig, 20, "team", "team-news")
        await rig.settle()
        assert len(rig.team.taken) == 20
        rig.crm.always = DELIVERED
        await rig.pass_time(60, step=0.1)
        scrape = rig.scrape()
        assert scrape.total(names.CIRCUIT_OPEN, channel="crm") == 0
        assert scrape.total(names.JOBS_TOTAL, result="processed") == 120
        assert scrape.total(names.JOBS_TOTAL, result="failed") == 0


async def test_a_probe_that_is_not_even_tried_leaves_the_circuit_to_the_next(tmp_path: Path) -> None:
    async with rigged(tmp_path, routing(), NOTIFICATION_WORKER_CONCURRENCY="1") as rig:
        rig.crm.always = AGAIN
        await rig.put(*names_of(11))
        for entry in list(rig.parts.queue._entries.values())[10:]:  # type: ignore[attr-defined]
            entry.crashes = 100
        rig.start()
        await rig.settle()
        assert rig.scrape().total(names.CIRCUIT_OPEN, channel="crm") == 1
        rig.crm.always = DELIVERED
        await rig.pass_time(120, step=0.1)
        scrape = rig.scrape()
        assert scrape.total(names.JOB_FAILURES_TOTAL, reason="interrupted") == 1
        assert scrape.total(names.JOBS_TOTAL, result="processed") == 10


async def test_many_that_wait_cost_a_bounded_number_of_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rigged(
        tmp_path, routing({"concurrency": 2}), NOTIFICATION_WORKER_CONCURRENCY="4", NOTIFICATION_QUEUE_CAPACITY="20000"
    ) as rig:
        rig.crm.always = 1_000_000.0
        await put_many(rig, 10_000)
        rig.start()
        while rig.parts.queue.counts().ready:
            await rig.settle()
        settled = counted(rig, monkeypatch)
        await put_many(rig, 100, "team", "team-news")
        await rig.pass_time(10, step=0.05)
        postponed = [one for one in settled if one.settling is Settling.POSTPONED]
        assert len(postponed) <= 10 * 600
        assert len(rig.team.taken) == 100


@pytest.mark.parametrize(("seconds", "most"), [pytest.param(1_000_000.0, 300, id="hangs"), (1.0, 250), (0.1, 100)])
async def test_a_few_that_wait_for_one_place_cost_few_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, most: int
) -> None:
    async with rigged(tmp_path, routing(booking={"concurrency": 1}), NOTIFICATION_WORKER_CONCURRENCY="32") as rig:
        rig.crm.always = seconds
        settled = counted(rig, monkeypatch)
        await put_many(rig, 47)
        rig.start()
        await rig.pass_time(20, step=0.01)
        postponed = [one for one in settled if one.settling is Settling.POSTPONED]
        assert len(postponed) <= most
        # No place stays free for long while somebody waits for it.
        assert len(rig.crm.taken) >= min(47, int(20 / seconds))


async def test_a_pause_that_is_asked_for_holds_for_everybody(tmp_path: Path) -> None:
    async with rigged(tmp_path, routing(), NOTIFICATION_WORKER_CONCURRENCY="4") as rig:
        rig.crm.script = [Delivery(Outcome.RETRY, FailureReason.HTTP_4XX, "answered 429", retry_after_ms=30_000)]
        await rig.put("a")
        rig.start()
        await rig.settle()
        await rig.put("b", "c")
        await rig.pass_time(29)
        assert [lease.id for lease in rig.crm.taken] == ["a"]
        await rig.pass_time(4)
        assert sorted(lease.id for lease in rig.crm.taken) == ["a", "a", "b", "c"]


async def test_the_channels_that_have_room_are_served_first_and_once(tmp_path: Path) -> None:
    async with rigged(tmp_path, routing({"concurrency": 1}), NOTIFICATION_WORKER_CONCURRENCY="4") as rig:
        rig.crm.script = [5.0]
        await rig.put("long")
        rig.start()
        await rig.settle()
        await rig.put("both", job_type="refund-requested")
        await rig.settle()
        assert [lease.id for lease in rig.team.taken] == ["both"]
        assert [lease.id for lease in rig.crm.taken] == ["long"]
        await rig.pass_time(8, step=0.1)
        assert [lease.id for lease in rig.crm.taken] == ["long", "both"]
        assert len(rig.team.taken) == 1
        assert rig.scrape().total(names.JOBS_TOTAL, result="processed") == 2


async def test_a_dead_letter_names_every_channel_that_did_not_get_it(tmp_path: Path) -> None:
    async with rigged(tmp_path, NOTIFICATION_RETRY_MAX_ATTEMPTS="2") as rig:
        rig.crm.always, rig.team.always = REFUSED, AGAIN
        await rig.put("a", job_type="refund-requested")
        rig.start()
        await rig.pass_time(10)
        for channel in ("crm", "team"):
            found = await rig.parts.queue.dead_letters(DeadFilter(channel=channel), None, 10)
            assert [letter.report.id for letter in found] == ["a"], channel


async def test_other_limits_are_taken_up_while_it_runs(tmp_path: Path) -> None:
    async with rigged(tmp_path, routing({"concurrency": 1}), NOTIFICATION_WORKER_CONCURRENCY="4") as rig:
        rig.crm.always = 1.0
        await rig.put(*names_of(8))
        rig.start()
        await rig.settle()
        assert rig.crm.most == 1
        async with rigged(tmp_path, routing({"concurrency": 4}), NOTIFICATION_WORKER_CONCURRENCY="4") as other:
            rig.parts.in_force.replace(other.parts.in_force.settings, rig.parts.in_force.channels)
        await rig.pass_time(4, step=0.1)
        assert rig.crm.most == 4
        assert len(rig.crm.taken) == 8


async def test_a_job_that_wakes_a_slot_too_many_is_run_by_another(tmp_path: Path) -> None:
    async with rigged(tmp_path, routing(), NOTIFICATION_WORKER_CONCURRENCY="4") as rig:
        rig.start()
        await rig.settle()
        async with rigged(tmp_path, routing(), NOTIFICATION_WORKER_CONCURRENCY="1") as other:
            rig.parts.in_force.replace(other.parts.in_force.settings, rig.parts.in_force.channels)
        for name in names_of(4):
            await rig.put(name)
            await rig.settle()
        assert [lease.id for lease in rig.crm.taken] == names_of(4)


async def test_what_is_held_back_goes_back_on_a_stop(tmp_path: Path) -> None:
    async with rigged(tmp_path, routing({"concurrency": 1}), NOTIFICATION_WORKER_CONCURRENCY="4") as rig:
        rig.crm.always = 1.0
        await rig.put(*names_of(4))
        working = rig.start(drain_seconds=5)
        await rig.settle()
        rig.parts.worker.stop()
        await rig.pass_time(2)
        await working
        counts = rig.parts.queue.counts()
        assert (counts.depth, counts.running, len(rig.crm.taken)) == (3, 0, 1)
