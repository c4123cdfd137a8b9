"""Takes up changed settings while the dispatcher runs: whole, or not at all. `run` lets it run.

It looks at the folder's links, sizes and times once a second. That works on every file system, and the kubelet's swap
of `..data` is one change to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from notification_dispatcher.channels.registry import Channels
from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import SettingsError
from notification_dispatcher.metric_names import ReloadResult
from notification_dispatcher.metrics import Metrics
from notification_dispatcher.routes import InForce
from notification_dispatcher.settings import Live, Settings

logger = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 1.0

Fingerprint = tuple[tuple[str, int, int, int], ...]


class Reload:
    """Watches the folder of settings."""

    def __init__(
        self,
        read: Callable[[], Settings],
        make_channels: Callable[[Live], Channels],
        in_force: InForce,
        metrics: Metrics,
    ) -> None:
        self._read = read
        self._make_channels = make_channels
        self._in_force = in_force
        self._metrics = metrics
        self._seen: Fingerprint | None = None

    async def run(self, clock: Clock) -> None:
        """Look, for ever."""
        folder = self._in_force.settings.config_dir
        if folder is None:
            return
        while True:
            # Seen before it is read: what changes in between is read once more.
            seen = await asyncio.to_thread(_fingerprint, folder)
            if seen != self._seen:
                self._seen = seen
                await self.look()
            await clock.sleep(_INTERVAL_SECONDS)

    async def look(self) -> None:
        """Read the settings, and put them in force if they are others than those that are, and good."""
        try:
            settings = await asyncio.to_thread(self._read)
        except SettingsError as error:
            self._metrics.reloaded(ReloadResult.REJECTED)
            logger.error(  # noqa: TRY400  the sentences say all there is
                "the changed settings are not taken; the old ones stay in force",
                action="reload_rejected",
                problems=error.problems,
                hash=self._in_force.settings.hash,
            )
            return
        if settings.hash == self._in_force.settings.hash:
            return
        before = self._in_force.settings
        self._in_force.replace(settings, self._make_channels(settings.live))
        self._metrics.take_up()
        self._metrics.reloaded(ReloadResult.APPLIED)
        logger.info("changed settings are in force", action="reload_applied", before=before.hash, hash=settings.hash)
        for warning in set(settings.warnings) - set(before.warnings):
            logger.warning(warning, action="setting_ignored")
        names = [name for name, value in settings.fixed if value != getattr(before.fixed, name)]
        if names:
            logger.warning("a restart is needed for some settings", action="restart_needed", settings=names)


def _fingerprint(folder: Path) -> Fingerprint:
    """What the folder looks like from outside; another one when any of it has changed."""
    found = []
    try:
        for path in sorted(folder.iterdir()):
            stat = path.stat()
            found.append((path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    except OSError:
        # Swapped while it was looked at: the next look sees it whole.
        found.append(("incomplete", 0, 0, 0))
    return tuple(found)
