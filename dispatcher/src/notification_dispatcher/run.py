"""Puts the dispatcher together and runs it until it is told to stop. Called by `__main__`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack

import structlog
import uvicorn
from prometheus_client import CollectorRegistry

from notification_dispatcher import __version__
from notification_dispatcher.alerts import Alerts, Load, Watcher
from notification_dispatcher.app import Parts, make_app
from notification_dispatcher.channels.http import HttpClient
from notification_dispatcher.channels.registry import ChannelMaker
from notification_dispatcher.clock import Clock, SystemClock
from notification_dispatcher.errors import DispatcherError, SettingsError
from notification_dispatcher.fleet_alerts import FleetAlerts
from notification_dispatcher.housekeeping import tidy_up
from notification_dispatcher.http_protocol import BoundedProtocol
from notification_dispatcher.intake import Intake
from notification_dispatcher.metrics import Metrics
from notification_dispatcher.monitor import Monitor
from notification_dispatcher.queues.base import JobQueue
from notification_dispatcher.queues.memory import MemoryQueue
from notification_dispatcher.queues.sqlite import SqliteQueue
from notification_dispatcher.reload import Reload
from notification_dispatcher.routes import InForce, Routes
from notification_dispatcher.runtime_metrics import measure_loop_lag
from notification_dispatcher.settings import Fixed, Settings
from notification_dispatcher.slack_alerts import SlackAlerts
from notification_dispatcher.variables import Variable
from notification_dispatcher.worker import Worker

logger = structlog.get_logger(__name__)

# With what the worker and closing the queue may take, all of it fits into what a pod has beyond the drain.
_FLUSH_SECONDS = 2.0
_EXCHANGE_SECONDS = 0.5
"""Of the alerts, by way of a database that may hang: what is for Slack is not to wait for that."""


class _Server(uvicorn.Server):
    """uvicorn, without its signal handlers: it must go on answering while deliveries finish."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `run`."""
        yield


async def run(settings: Settings, read: Callable[[], Settings]) -> None:
    """Serve until SIGTERM or SIGINT. `read` reads the settings again."""
    clock = SystemClock()
    listener = _listen(settings.fixed)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        client = await stack.enter_async_context(HttpClient(clock))
        channels_of = ChannelMaker(client, clock)
        in_force = InForce(settings, Routes(settings.live), channels_of(settings.live))
        queue = _make_queue(in_force, clock)
        await queue.open()
        stack.push_async_callback(queue.close)
        parts = make_parts(in_force, queue, client, clock)
        reload = Reload(read, channels_of, in_force, parts.metrics)
        with _said_plainly():
            await _serve(parts, reload, listener)
    left = queue.counts()
    logger.info("stopped", action="stopped", waiting=left.depth, dead=left.dead)


@contextlib.contextmanager
def _said_plainly() -> Iterator[None]:
    """Raise what a task ended with on purpose as it is, out of the groups around it: `__main__` has words for it."""
    try:
        yield
    except ExceptionGroup as failed:
        error: Exception = failed
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, DispatcherError):
            raise error from None
        raise


def make_parts(in_force: InForce, queue: JobQueue, client: HttpClient, clock: Clock) -> Parts:
    """Everything, put together and not yet running."""

    def depth() -> int:
        # What is claimed and not started still waits.
        return queue.counts().depth + worker.waiting

    metrics = Metrics(CollectorRegistry(), in_force)
    slack = SlackAlerts(client, clock, in_force, metrics)

    alerts: Watcher
    if queue.board is None:
        alerts = Alerts(clock, in_force, lambda: Load(depth(), worker.active), slack)
    else:
        # By what all of them see: each judges in turn, and what it has claimed itself the others don't know.
        alerts = FleetAlerts(queue.board, clock, in_force, lambda: Load(queue.counts().depth, worker.active), slack)
    monitor = Monitor(metrics, alerts, in_force)
    worker = Worker(queue, monitor, clock, in_force)
    metrics.watch(queue.counts, depth, lambda: worker.active)
    intake = Intake(queue, monitor, clock, in_force)
    return Parts(in_force, queue, intake, worker, monitor, metrics, slack, alerts, clock)


async def _serve(parts: Parts, reload: Reload, listener: socket.socket) -> None:
    """Run everything; on a signal, drain: not ready at once, then the deliveries, then the server and the alerts."""
    server = _make_server(parts)
    stopped = _take_signals()
    fixed = parts.in_force.settings.fixed
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]), name="http")
        work = group.create_task(parts.worker.run(fixed.drain_timeout_ms / 1000), name="worker")
        background = [
            group.create_task(parts.alerts.run(), name="alerts"),
            group.create_task(parts.slack.run(), name="slack-alerts"),
            group.create_task(reload.run(parts.clock), name="reload"),
            group.create_task(tidy_up(parts.queue, parts.monitor, parts.clock, parts.in_force), name="housekeeping"),
            group.create_task(measure_loop_lag(parts.metrics.loop_lag.observe), name="loop-lag"),
        ]
        _say_started(parts, listener)
        await stopped.wait()
        parts.draining = True
        logger.info("stopping", action="stopping", running=parts.worker.active, waiting=parts.queue.counts().depth)
        parts.worker.stop()
        await work
        server.should_exit = True
        for task in background:
            task.cancel()
        await _within(_FLUSH_SECONDS, _flush(parts, background))
        await serving
        await _within(_EXCHANGE_SECONDS, parts.alerts.leave())


async def _flush(parts: Parts, background: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.wait(background)
    await _within(_EXCHANGE_SECONDS, parts.alerts.flush())
    await parts.slack.flush()


async def _within(seconds: float, step: Awaitable[None]) -> None:
    """Take a step, as far as it gets in that time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await step


def _make_server(parts: Parts) -> _Server:
    config = uvicorn.Config(
        make_app(parts),
        loop="none",
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    return _Server(config)


def _make_queue(in_force: InForce, clock: Clock) -> JobQueue:
    fixed = in_force.settings.fixed
    if fixed.queue_engine == "memory":
        return MemoryQueue(clock)
    if fixed.queue_engine == "postgresql":
        # Only here: nobody else needs its driver.
        from notification_dispatcher.queues.postgresql.opening import make_queue  # noqa: PLC0415

        return make_queue(in_force, clock)
    return SqliteQueue(fixed.queue_path, clock)


def _take_signals() -> asyncio.Event:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopped.set)
    return stopped


def _listen(fixed: Fixed) -> socket.socket:
    """The port, taken before anything else is touched."""
    try:
        family = socket.AF_INET6 if ":" in fixed.host else socket.AF_INET
        return socket.create_server((fixed.host, fixed.port), family=family, backlog=2048)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise SettingsError(
            [f"{Variable.HOST} {fixed.host}, {Variable.PORT} {fixed.port}: cannot listen there: {why}. Choose another."]
        ) from error


def _say_started(parts: Parts, listener: socket.socket) -> None:
    settings, counts = parts.in_force.settings, parts.queue.counts()
    host, port = listener.getsockname()[:2]
    for warning in settings.warnings:
        logger.warning(warning, action="setting_ignored")
    logger.info(
        "started",
        action="started",
        version=__version__,
        host=host,
        port=port,
        pipeline=f"{settings.fixed.namespace}/{settings.fixed.name}",
        engine=settings.fixed.queue_engine,
        waiting=counts.depth,
        channels=list(parts.in_force.routes.channels),
        slack_alerts=settings.live.alert_url is not None,
        hash=settings.hash,
    )
