"""What becomes of a job whose lease ends: said once, for all engines. Each of them writes it down in its own words.

A job that was processed is not here: it is deleted.
"""

from __future__ import annotations

from typing import NamedTuple

from notification_dispatcher.job import Settlement, Settling
from notification_dispatcher.queues.base import State
from notification_dispatcher.queues.jumps import Moment


class Change(NamedTuple):
    """Out of running: to where, and what else is written down. None leaves a field as it is."""

    state: State
    refund: int = 0
    """So many attempts were none."""
    due_ms: int | None = None
    ready_ms: int | None = None
    dead_ms: int | None = None
    reason: str | None = None
    detail: str | None = None


def change_of(one: Settlement, now: Moment) -> Change:
    """The transition that ends this lease."""
    match one.settling:
        case Settling.FAILED:
            return Change(State.DEAD, dead_ms=now.wall_ms, reason=one.reason, detail=one.detail)
        case Settling.RETRY:
            again = now.to_wall_ms(one.again_at)
            return Change(State.SCHEDULED, due_ms=again, ready_ms=again, reason=one.reason, detail=one.detail)
        case Settling.POSTPONED:
            return Change(State.SCHEDULED, refund=1, ready_ms=now.to_wall_ms(one.again_at))
        case _:
            return Change(State.READY, refund=1)
