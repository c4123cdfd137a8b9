"""One kind of a member's work, a transaction at a time: `door`, `claims` and `settling` have one each.

A transaction begins with a lock on the member's own share of the counts, and so finds out whether it is a member still;
it ends with what it changed there. That is two round trips beside the work itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from notification_dispatcher.queue_names import TALLY
from notification_dispatcher.queues.base import State
from notification_dispatcher.queues.postgresql.links import FailedError, Links
from notification_dispatcher.queues.postgresql.members import Member

if TYPE_CHECKING:
    from notification_dispatcher.queues.postgresql.links import Link

T = TypeVar("T")

_BURIED = "22012"
"""Division by zero: there is no such share, so there is no such member."""
_ONCE_MORE = {"40001", "40P01"}
"""A deadlock was broken up, or two could not go side by side."""
_TRIES = 5


class Work:
    """A transaction under way."""

    def __init__(self, link: Link, member: int, begun: str) -> None:
        self.link = link
        self.member = member
        self.begun = begun
        """How the last statement ended that it began with, `UPDATE 3` for one."""
        self.changes = [0] * len(State)
        """By how much the counts change, in the order of `State`."""


class Track:
    """Runs functions inside a transaction, one after the other."""

    def __init__(self, lane: int, links: Links, member: Member) -> None:
        self._lane = lane
        self._links = links
        self._member = member
        self._turn = asyncio.Lock()

    async def run(self, do: Callable[[Work], Awaitable[T]], before: str = "", after: str = "") -> T:
        """Run one; its result is returned when it is committed.

        `before` and `after` are statements that travel with the beginning, on either side of the member's lock. Raises
        QueueUnavailableError: then none of it holds, unless the commit was under way.
        """
        async with self._turn:
            for left in reversed(range(_TRIES)):
                member = self._member.id
                try:
                    return await self._run(member, do, before, after)
                except FailedError as error:
                    if not left or error.code not in {_BURIED, *_ONCE_MORE}:
                        raise
                    if error.code == _BURIED:
                        async with self._links.link() as link:
                            await self._member.join(link, member)
        raise AssertionError  # the last try returns or raises

    async def _run(self, member: int, do: Callable[[Work], Awaitable[T]], before: str, after: str) -> T:
        where = f"WHERE member = {member} AND lane = {self._lane}"
        async with self._links.link() as link:
            begun = await link.execute(
                f"BEGIN; {before} SELECT 1 / count(*) FROM (SELECT FROM {TALLY} {where} FOR UPDATE) AS mine; {after}"  # noqa: S608
            )
            share = self._member.share(self._lane)
            if share is None:
                share = list(await link.fetchrow(f"SELECT ready, scheduled, running, dead FROM {TALLY} {where}") or ())  # noqa: S608
            self._member.doubt(member, self._lane)
            work = Work(link, member, begun)
            result = await do(work)
            changed = [
                f"{state.name.lower()} = {state.name.lower()} + {change}"
                for state, change in zip(State, work.changes, strict=True)
                if change
            ]
            await link.execute(f"UPDATE {TALLY} SET {', '.join(changed)} {where}; COMMIT" if changed else "COMMIT")  # noqa: S608
            share = [was + change for was, change in zip(share, work.changes, strict=True)]
            self._member.keep(member, self._lane, share)
        return result
