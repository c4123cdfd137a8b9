"""Changed settings are taken up whole, or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.types import EventDict

from notification_dispatcher import metric_names as names
from notification_dispatcher import settings_source
from notification_dispatcher.channels.base import Channel
from notification_dispatcher.reload import Reload
from notification_dispatcher.settings import Live, Settings
from notification_dispatcher.variables import Variable
from notification_operator.offline.settings_folder import swap
from tests.dispatcher.rig import ROUTING, Rig, rigged

FILES = {Variable.ALERT_FAILURE_THRESHOLD: b"20", "pipeline.json": json.dumps(ROUTING).encode()}


class Watched:
    """A rig whose folder is watched."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.rig = rig
        self.folder = folder

    async def swap(self, files: dict[str, bytes]) -> list[EventDict]:
        """Change the folder as a kubelet does, and let it be seen. Returns what was logged."""
        swap(self.folder, files)
        return await self.look()

    async def look(self) -> list[EventDict]:
        with capture_logs() as logs:
            self.rig.clock.advance(1)
            # The look itself is made in a thread.
            for _ in range(200):
                await asyncio.sleep(0.001)
                if any(line["action"].startswith("reload") for line in logs):
                    break
        return [line for line in logs if line["action"] in {"reload_applied", "reload_rejected", "restart_needed"}]

    def reloads(self, result: str) -> float:
        return self.rig.scrape().total(names.CONFIG_RELOADS_TOTAL, result=result)

    @property
    def threshold(self) -> float:
        return self.rig.scrape().total(names.THRESHOLD, threshold="failure")


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    folder = tmp_path / "settings"
    folder.mkdir()
    swap(folder, FILES)
    async with rigged(tmp_path, NOTIFICATION_CONFIG_DIR=str(folder)) as rig:
        channels: dict[str, Channel] = {"crm": rig.crm, "team": rig.team}

        def make(live: Live) -> dict[str, Channel]:
            return {one.name: channels[one.name] for one in live.routing.channels}

        def read() -> Settings:
            return settings_source.read({"NOTIFICATION_CONFIG_DIR": str(folder)})

        reload = Reload(read, make, rig.parts.in_force, rig.parts.metrics)
        rig.running.append(asyncio.create_task(reload.run(rig.clock)))
        made = Watched(rig, folder)
        await made.look()
        yield made


async def test_a_change_is_in_force_without_a_restart(watched: Watched) -> None:
    before = watched.rig.parts.in_force.settings.hash
    (line,) = await watched.swap({**FILES, Variable.ALERT_FAILURE_THRESHOLD: b"7"})
    assert (watched.threshold, watched.reloads("applied")) == (7, 1)
    assert (line["action"], line["before"]) == ("reload_applied", before)
    assert watched.rig.scrape().total(names.CONFIG_INFO, hash=line["hash"]) == 1


async def test_a_latency_threshold_is_a_bound_of_the_histograms_without_a_restart(watched: Watched) -> None:
    await watched.swap({**FILES, Variable.ALERT_LATENCY_THRESHOLD_MS: b"7200000"})
    watched.rig.start()
    await watched.rig.put("a", job_type="booking-created")
    await watched.rig.settle()
    scrape = watched.rig.scrape()
    for histogram in (names.JOB_WAIT_DURATION_MS, names.JOB_DURATION_MS):
        for job_type, counted in (("booking-created", 1), ("refund-requested", 0)):
            assert scrape.total(f"{histogram}_bucket", job_type=job_type, le="7.2e+06") == counted


async def test_routes_change_too(watched: Watched) -> None:
    routing = {**ROUTING, "jobTypes": [{"name": "brand-new", "channels": ["team"], "timeout": "3s"}]}
    await watched.swap({**FILES, "pipeline.json": json.dumps(routing).encode()})
    assert watched.rig.scrape().total(names.JOBS_TOTAL, job_type="brand-new") == 0
    watched.rig.start()
    await watched.rig.put("a", job_type="brand-new")
    await watched.rig.settle()
    assert (len(watched.rig.crm.taken), len(watched.rig.team.taken)) == (0, 1)


async def test_a_wrong_change_is_refused_whole(watched: Watched) -> None:
    wrong = {**FILES, Variable.ALERT_FAILURE_THRESHOLD: b"7", Variable.ALERT_BACKLOG_THRESHOLD: b"many"}
    (line,) = await watched.swap(wrong)
    assert (watched.threshold, watched.reloads("applied"), watched.reloads("rejected")) == (20, 0, 1)
    assert line["problems"][0].startswith("NOTIFICATION_ALERT_BACKLOG_THRESHOLD must be a whole number")
    assert await watched.look() == [], "it is told once"
    assert watched.reloads("rejected") == 1
    await watched.swap({**FILES, Variable.ALERT_FAILURE_THRESHOLD: b"8"})
    assert watched.threshold == 8


async def test_no_change_is_no_reload(watched: Watched) -> None:
    swap(watched.folder, {**FILES, "unrelated": b"x"})
    assert await watched.look() == []
    assert (watched.reloads("applied"), watched.reloads("rejected")) == (0, 0)


async def test_what_takes_a_restart_is_told_and_left(watched: Watched) -> None:
    lines = await watched.swap({**FILES, Variable.PORT: b"4999", Variable.ALERT_FAILURE_THRESHOLD: b"9"})
    assert [line["action"] for line in lines] == ["reload_applied", "restart_needed"]
    assert lines[1]["settings"] == ["port"]
    assert watched.rig.parts.in_force.settings.fixed.port == 4000
    assert watched.threshold == 9


async def test_a_rotated_secret_is_taken_up_and_not_shown(watched: Watched) -> None:
    lines = await watched.swap({**FILES, Variable.SLACK_ALERT_WEBHOOK_URL: b"https://hooks.example/CANARY"})
    assert watched.rig.parts.in_force.live.alert_url == "https://hooks.example/CANARY"
    assert "CANARY" not in str(lines)


async def test_plain_files_are_watched_too(watched: Watched, tmp_path: Path) -> None:
    path = watched.folder / "..data" / Variable.ALERT_FAILURE_THRESHOLD
    path.write_text("77")
    await watched.look()
    assert watched.threshold == 77
