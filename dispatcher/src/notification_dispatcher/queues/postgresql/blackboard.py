"""The row that all dispatchers on a schema remember things in together. `engine` makes it, `fleet_alerts` uses it."""

from __future__ import annotations

from collections.abc import Callable

from notification_dispatcher.queues.postgresql import statements
from notification_dispatcher.queues.postgresql.links import Links, transaction

_READ = f"SELECT content, ({statements.NOW_MS}) FROM board FOR UPDATE"  # noqa: S608
_WRITE = "UPDATE board SET content = $1"


class Blackboard:
    """A board in the database, on the database's time."""

    def __init__(self, links: Links) -> None:
        self._links = links

    async def change(self, by: Callable[[bytes, int], bytes]) -> None:
        """Replace what is written. Raises QueueUnavailableError; then it may be replaced all the same."""
        async with self._links.link() as link, transaction(link):
            row = await link.fetchrow(_READ)
            assert row is not None  # noqa: S101  made with the table
            written, now_ms = row
            changed = by(written, now_ms)
            if changed != written:
                await link.execute(_WRITE, changed)
