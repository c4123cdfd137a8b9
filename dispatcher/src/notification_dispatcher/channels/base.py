"""The port to a channel. `worker` delivers through it; `registry` makes channels of what is configured.

Every channel keeps two promises, and the tests hold each of them to it: it never raises for what a destination does,
and nothing that it returns or logs has a secret in it. The time limit is the worker's: it cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from notification_dispatcher.job import Lease
from notification_dispatcher.metric_names import FailureReason


class Outcome(StrEnum):
    """What came of an attempt. Also the label `outcome` of its metric."""

    DELIVERED = "delivered"
    RETRY = "retry"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt's end."""

    outcome: Outcome
    reason: FailureReason | None = None
    detail: str = ""
    """For people: `answered 503`. Never a secret, never what the destination said."""
    retry_after_ms: int | None = None


DELIVERED = Delivery(Outcome.DELIVERED)


class Channel(Protocol):
    """One way out."""

    async def deliver(self, job: Lease) -> Delivery:
        """Try once to deliver."""
