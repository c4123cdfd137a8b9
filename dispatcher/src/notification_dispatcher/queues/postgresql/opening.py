"""The shared engine from the settings. `run` imports it only where a pipeline has that engine."""

from __future__ import annotations

from notification_dispatcher.clock import Clock
from notification_dispatcher.queues.base import JobQueue
from notification_dispatcher.queues.postgresql.database_clock import DatabaseClock
from notification_dispatcher.queues.postgresql.engine import PostgresqlQueue
from notification_dispatcher.queues.postgresql.links import Access
from notification_dispatcher.queues.postgresql.tables import Tenancy
from notification_dispatcher.routes import InForce


def make_queue(in_force: InForce, clock: Clock) -> JobQueue:
    """The queue that the settings name. A changed secret is used for the connections that are made from then on."""

    def access() -> Access:
        live = in_force.live
        # The settings were checked: with this engine there is one.
        dsn = "" if live.queue_dsn is None else live.queue_dsn.get_secret_value()
        return Access(dsn, None if live.queue_ca is None else live.queue_ca.get_secret_value())

    fixed = in_force.settings.fixed
    tenancy = Tenancy(fixed.queue_schema, f"{fixed.namespace}/{fixed.name}")
    return PostgresqlQueue(access, tenancy, fixed.queue_pool_size, DatabaseClock(clock))
