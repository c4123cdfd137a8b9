"""Deletes the dead letters that are too old or too many, a bounded number at a time. `run` lets it run."""

from __future__ import annotations

import structlog

from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import QueueUnavailableError
from notification_dispatcher.metric_names import RemovalReason
from notification_dispatcher.monitor import Monitor
from notification_dispatcher.queues.base import MOST_TIDIED, JobQueue
from notification_dispatcher.routes import InForce

logger = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 10.0
_BREATH_SECONDS = 0.1
"""Between two bounded steps: deliveries come first."""


async def tidy_up(queue: JobQueue, monitor: Monitor, clock: Clock, in_force: InForce) -> None:
    """Tidy up, for ever."""
    while True:
        removed = 0
        try:
            removed = await queue.tidy(in_force.live.dead_limits)
        except QueueUnavailableError as error:
            logger.error("nothing can be tidied up", action="queue_unavailable", why=str(error))  # noqa: TRY400
        if removed:
            monitor.discarded(removed, RemovalReason.RETENTION)
            logger.info("dead letters were dropped", action="dead_letters_dropped", jobs=removed)
        await clock.sleep(_BREATH_SECONDS if removed >= MOST_TIDIED else _INTERVAL_SECONDS)
