"""Vacuums the tables that rows come and go in, as soon as many have gone. `engine` lets it run.

The server's autovacuum looks once a minute, and by then a million and a half jobs may have gone: each claim walks past
what is left of them in its index, and the tables have grown to hold them. Where autovacuum is quicker, there is nothing
left to do here.
"""

from __future__ import annotations

from notification_dispatcher.queues.postgresql.links import Links

MOST_DEAD = 50_000
"""Versions of rows, two for each job that went; and, in a table that holds many, as many as `SHARE` of those.

All of a table's indexes are read to clean it, so it is to be worth it."""
SHARE = 0.2
_LONGEST_SECONDS = 3600.0
_TABLES = ("job", "dedup", "request")
_GONE = "SELECT n_dead_tup, n_live_tup FROM pg_stat_user_tables WHERE relid = $1::text::regclass"
# Not the end of the file: that locks everybody out. All indexes, since they are what it is about, and one after the
# other: deliveries come first.
_VACUUM = "VACUUM (SKIP_LOCKED, TRUNCATE OFF, INDEX_CLEANUP ON, PARALLEL 0)"


class Cleaning:
    """Looks, and cleans."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._left = dict.fromkeys(_TABLES, 0)
        """What a vacuum could not clean, for somebody looks at it still, or did not, for another was at it."""

    async def step(self) -> None:
        """Clean each table that needs it. Raises QueueUnavailableError."""
        for name in _TABLES:
            async with self._links.link() as link:
                dead, live = await link.fetchrow(_GONE, name) or (0, 0)
                self._left[name] = min(self._left[name], dead)
                if dead - self._left[name] >= MOST_DEAD + SHARE * live:
                    await link.execute(f"{_VACUUM} {name}", timeout=_LONGEST_SECONDS)
                    self._left[name], _ = await link.fetchrow(_GONE, name) or (0, 0)
