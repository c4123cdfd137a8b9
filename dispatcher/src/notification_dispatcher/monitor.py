"""Where events are told: each goes to the metrics and to the alerts, so that the two can never disagree.

`intake` tells what arrived, `worker` what became of it, `app` what was done with dead letters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import structlog

from notification_dispatcher.alerts import Watcher
from notification_dispatcher.channels.base import Outcome
from notification_dispatcher.job import Job, Lease, Settlement, Settling
from notification_dispatcher.metric_names import Alert, DropReason, FailureReason, PostponeReason, RemovalReason, Result
from notification_dispatcher.metrics import Metrics
from notification_dispatcher.queues.base import Named
from notification_dispatcher.routes import InForce

logger = structlog.get_logger(__name__)

Dropped = tuple[DropReason, str, str]
"""Why, the job type, and the id (empty where there is none)."""


class Monitor:
    """Metrics and alerts, told together."""

    def __init__(self, metrics: Metrics, alerts: Watcher, in_force: InForce) -> None:
        self._metrics = metrics
        self._alerts = alerts
        self._in_force = in_force
        # Asked for twice by every attempt, where a call more is a percent more.
        self._times = metrics.times
        self._attempts = metrics.attempts

    def arrived(
        self, results: Counter[tuple[Result, str]], dropped: Sequence[Dropped], last: Job | None = None
    ) -> None:
        """A batch came in: how many were queued or deduplicated, by type, what was dropped, and the last one queued."""
        for (result, job_type), count in results.items():
            self._metrics.jobs(result, job_type, count)
        for reason, job_type, job_id in dropped:
            self._drop(reason, job_type, job_id)
        if last is not None:
            self._alerts.arrived(last.type, last.id)

    def evicted(self, jobs: Sequence[Named]) -> None:
        """Jobs that were queued gave way to newer ones."""
        for job in jobs:
            self._drop(DropReason.CAPACITY, job.type, job.id)

    def claimed(self, lease: Lease) -> None:
        """Some of what waits was taken out of the queue, this one first."""
        self._alerts.claimed(lease.type, lease.id)

    def started(self, lease: Lease, wait_ms: float) -> None:
        """An attempt begins."""
        times = self._times.get(lease.type) or self._metrics.times_of(lease.type)
        times.waits.observe(wait_ms)
        if wait_ms >= self._in_force.live.latency_threshold_ms:
            self._alerts.slow(Alert.HIGH_WAIT, lease.type, lease.id, wait_ms)

    def postponed(self, reason: PostponeReason) -> None:
        """A job goes back until its turn comes."""
        self._metrics.postponed(reason)

    def circuit(self, channel: str, is_open: bool) -> None:
        """A channel's circuit opened, or closed."""
        self._metrics.circuit(channel, is_open)
        if is_open:
            logger.warning("the destination is down: its jobs wait", action="circuit_opened", channel=channel)
        else:
            logger.info("the destination is back", action="circuit_closed", channel=channel)

    def replayed(self, jobs: Sequence[Named]) -> None:
        """Dead letters were queued again."""
        for job in jobs:
            self._metrics.jobs(Result.QUEUED, job.type)
        self._metrics.dead_letters_removed(RemovalReason.REPLAYED, len(jobs))
        if jobs:
            self._alerts.arrived(jobs[-1].type, jobs[-1].id)

    def discarded(self, count: int, reason: RemovalReason) -> None:
        """Dead letters were deleted."""
        self._metrics.dead_letters_removed(reason, count)

    def attempted(self, channel: str, outcome: Outcome) -> None:
        """One channel was tried."""
        self._attempts.count(channel, outcome)

    def ran(self, lease: Lease, duration_ms: float) -> None:
        """An attempt ended, however."""
        times = self._times.get(lease.type) or self._metrics.times_of(lease.type)
        times.durations.observe(duration_ms)
        if duration_ms >= self._in_force.live.latency_threshold_ms:
            self._alerts.slow(Alert.HIGH_DURATION, lease.type, lease.id, duration_ms)

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """What became of jobs is stored."""
        done = Settling.PROCESSED
        processed = Counter([one.lease.type for one in settlements if one.settling is done])
        for job_type, count in processed.items():
            self._metrics.jobs(Result.PROCESSED, job_type, count)
        if processed.total() < len(settlements):
            self._settled(settlements)
        self._alerts.look_at_backlog()

    def _settled(self, settlements: Sequence[Settlement]) -> None:
        for one in settlements:
            match one.settling:
                case Settling.RETRY:
                    self._metrics.retried(one.lease.type)
                case Settling.FAILED:
                    reason = FailureReason(one.reason)
                    self._metrics.failed(reason, one.lease.type)
                    self._alerts.failed(one.lease.type, one.lease.id, reason)
                case _:
                    # Processed is counted; released or postponed has spent no attempt, and nothing came of it.
                    continue

    def _drop(self, reason: DropReason, job_type: str, job_id: str) -> None:
        self._metrics.dropped(reason, job_type)
        if reason in {DropReason.CAPACITY, DropReason.REJECTED}:
            self._alerts.dropped(job_type, job_id, reason)
