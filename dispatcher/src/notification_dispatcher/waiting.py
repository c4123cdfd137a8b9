"""Waiting for whichever of several things comes first: `worker` and the queues' chores wait so."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def until_first(**waits: Coroutine[Any, Any, Any]) -> None:
    """Return when one of them has ended, in whatever way. The others are cancelled, and over. Names are the tasks'."""
    tasks = [asyncio.create_task(wait, name=name) for name, wait in waits.items()]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
