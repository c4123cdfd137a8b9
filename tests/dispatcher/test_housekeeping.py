"""Dead letters do not pile up for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from notification_dispatcher import metric_names as names
from notification_dispatcher.housekeeping import tidy_up
from tests.dispatcher.rig import REFUSED, rigged


async def test_dead_letters_that_are_too_many_or_too_old_are_dropped_and_counted(tmp_path: Path) -> None:
    limits: dict[str, Any] = {
        "NOTIFICATION_DEAD_LETTER_LIMIT": "3",
        "NOTIFICATION_DEAD_LETTER_RETENTION_MS": "3600000",
    }
    async with rigged(tmp_path, **limits) as rig:
        rig.crm.always = REFUSED
        await rig.put(*(f"j{number}" for number in range(5)))
        rig.start()
        await rig.settle()
        parts = rig.parts
        tidying = asyncio.create_task(tidy_up(parts.queue, parts.monitor, rig.clock, parts.in_force))
        rig.running.append(tidying)
        await rig.settle()
        assert rig.scrape().total(names.DEAD_JOBS) == 3
        await rig.pass_time(3610, step=5)
        scrape = rig.scrape()
        assert scrape.total(names.DEAD_JOBS) == 0
        assert scrape.total(names.DEAD_LETTERS_REMOVED_TOTAL, reason="retention") == 5
