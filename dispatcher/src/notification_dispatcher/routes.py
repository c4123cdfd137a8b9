"""What the settings mean for one job: which channels, how long, how often. Compiled once for each set of settings.

`intake` asks it at the door, `worker` before each attempt: a job follows the routes of the moment, not of its arrival.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from notification_dispatcher.channels.registry import Channels
from notification_dispatcher.job import RANKS, Rank
from notification_dispatcher.pipeline import JobType, UnknownJobTypes
from notification_dispatcher.retry import RetryPolicy
from notification_dispatcher.settings import Live, Settings


@dataclass(frozen=True, slots=True)
class Route:
    """How jobs of one type are run."""

    rank: Rank
    channels: tuple[str, ...]
    timeout: float
    """Seconds for one attempt."""
    retry: RetryPolicy


class Routes:
    """The routes of all job types."""

    def __init__(self, live: Live) -> None:
        self.channels = tuple(channel.name for channel in live.routing.channels)
        self.usual = Route(
            Rank.NORMAL,
            self.channels,
            live.timeout_ms / 1000,
            RetryPolicy(live.max_attempts, live.initial_backoff_ms, live.max_backoff_ms),
        )
        self._by_type = {one.name: self._route(one) for one in live.routing.job_types}
        self._accepts_unknown = live.routing.unknown_job_types is UnknownJobTypes.ACCEPT

    @property
    def job_types(self) -> tuple[str, ...]:
        """The configured job types."""
        return tuple(self._by_type)

    def of(self, job_type: str) -> Route:
        """The route of a type; one that isn't configured takes the defaults."""
        return self._by_type.get(job_type, self.usual)

    def accepts(self, job_type: str) -> bool:
        """Whether jobs of this type are let in."""
        return self._accepts_unknown or job_type in self._by_type

    def _route(self, one: JobType) -> Route:
        default = self.usual.retry
        initial, longest, attempts = default.initial_backoff_ms, default.max_backoff_ms, default.max_attempts
        if one.retry is not None:
            initial = one.retry.initial_backoff.milliseconds if one.retry.initial_backoff else initial
            longest = one.retry.max_backoff.milliseconds if one.retry.max_backoff else longest
            attempts = one.retry.max_attempts or attempts
        return Route(
            RANKS[one.priority],
            self.channels if one.channels is None else one.channels,
            self.usual.timeout if one.timeout is None else one.timeout.seconds,
            # One of the two may come from the pipeline, and the other not fit.
            RetryPolicy(attempts, min(initial, longest), longest),
        )


@dataclass(slots=True)
class InForce:
    """The settings in force, and what is made of them. `reload` puts new ones in their place, all at once."""

    settings: Settings
    routes: Routes
    channels: Channels
    live: Live = field(init=False)
    """What can change while the dispatcher runs. It is asked for several times for each job."""

    def __post_init__(self) -> None:
        self.live = self.settings.live

    def replace(self, settings: Settings, channels: Channels) -> None:
        """Put new settings in force, but for those that are read at the start alone."""
        self.settings, self.live = replace(settings, fixed=self.settings.fixed), settings.live
        self.routes, self.channels = Routes(settings.live), channels
