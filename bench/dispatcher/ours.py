"""Our dispatcher as a process of this bench: the real one, durable, every feature on; on SQLite or on PostgreSQL.

Metrics and alerts are on, alerts go to a receiver, dedup and dead letters keep their defaults. What differs from the
defaults: the capacity, so that a backlog fits, and the limit for one delivery, so that held jobs aren't cut off.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.dispatcher.processes import BenchError, Child, Mailbox, free_port, python_module, run_json
from bench.dispatcher.record import rss_mib

_SETTLE_SECONDS = 30.0
SCHEMA = "booking"
"""On PostgreSQL."""
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Variant:
    """How to run it."""

    no_op: bool = True
    """In place of its webhook, a channel that does nothing."""
    monitor: bool = True
    """Metrics and alerts of each event."""
    concurrency: int = 32
    dsn: str = ""
    """Of the PostgreSQL that its queue is in, in place of a SQLite file."""
    dedup_window_ms: int = 600_000


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """A process that is ready."""

    child: Child
    port: int
    mailbox: Mailbox
    control: Mailbox

    def load(self, jobs: int, **plan: Any) -> dict[str, Any]:
        """Post jobs from another process; returns how that went. Raises BenchError unless all are queued."""
        wanted = {"port": self.port, "jobs": jobs, "prefix": f"{os.getpid()}-{next(_numbers)}", **plan}
        result = run_json(python_module("bench.dispatcher.loader", json.dumps(wanted)))
        if result["jobs"] != jobs:
            raise BenchError(f"of {jobs} jobs, {result['jobs']} were queued")
        return result

    def order(self, **order: Any) -> None:
        """Tell the no-op channel something."""
        with self.control.path.open("w") as pipe:
            pipe.write(json.dumps(order) + "\n")

    def started(self, seconds: float = 120) -> dict[str, Any]:
        """What the no-op channel wrote down, when all that was expected has come."""
        return self.mailbox.receive(self.child, seconds)

    def rss_mib(self) -> float:
        """Its memory."""
        return rss_mib(self.child.pid)

    def until_settled(self, processed: int) -> None:
        """Wait until so many are processed and nothing is left: exactly."""
        until = time.monotonic() + _SETTLE_SECONDS
        while True:
            counted, left = self.counted()
            if counted == processed and left == 0:
                return
            self.child.check()
            if time.monotonic() > until:
                raise BenchError(f"{counted} jobs were processed, {left} are left; {processed} and 0 were expected")
            time.sleep(0.05)

    def counted(self) -> tuple[int, int]:
        """How many jobs it processed, and how many are left: of them all on PostgreSQL."""
        found = {"result=processed": 0, "left": 0}
        for line in get(self.port, "/api/metrics/prometheus")[1].splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith("plannivo_notification_jobs_total{") and 'result="processed"' in name:
                found["result=processed"] += int(float(value))
            elif name in {"plannivo_notification_queue_depth", "plannivo_notification_active_jobs"}:
                found["left"] += int(float(value))
        return found["result=processed"], found["left"]


def get(port: int, path: str) -> tuple[int, str]:
    """A GET: status and body. Raises OSError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@contextmanager
def dispatcher(scratch: Path, variant: Variant, receiver: int) -> Iterator[Dispatcher]:
    """Run it until the block ends. `receiver` is the port that webhooks and alerts go to."""
    folder = scratch / f"ours-{next(_numbers)}"
    folder.mkdir()
    port = free_port()
    with Mailbox(folder / "mailbox") as mailbox, Mailbox(folder / "control") as control:
        command: list[str] = python_module("bench.dispatcher.launcher", mailbox.path, control.path)
        if not variant.no_op:
            command = [str(Path(sys.executable).with_name("notification-dispatcher")), "run"]
        elif not variant.monitor:
            command.append("without-monitor")
        try:
            with Child(command, folder / "log", _variables(folder, port, receiver, variant)) as child:
                child.until(lambda: get(port, "/readyz")[0] == 200)
                yield Dispatcher(child, port, mailbox, control)
        finally:
            # A run makes a dozen of them, of tens of megabytes.
            for file in folder.glob("queue.db*"):
                file.unlink()


def _variables(folder: Path, port: int, receiver: int, variant: Variant) -> dict[str, str]:
    webhook = {"url": f"http://127.0.0.1:{receiver}/jobs", "allowPrivateAddresses": True}
    routing = {
        "channels": [{"name": "crm", "webhook": webhook}],
        "jobTypes": [{"name": "booking-created", "channels": ["crm"]}],
    }
    (folder / "pipeline.json").write_text(json.dumps(routing))
    queue = {"NOTIFICATION_QUEUE_PATH": str(folder / "queue.db")}
    if variant.dsn:
        queue = {
            "NOTIFICATION_QUEUE_ENGINE": "postgresql",
            "NOTIFICATION_QUEUE_DSN": variant.dsn,
            "NOTIFICATION_QUEUE_SCHEMA": SCHEMA,
        }
    return {
        **queue,
        "NOTIFICATION_PORT": str(port),
        "NOTIFICATION_QUEUE_CAPACITY": "1000000",
        "NOTIFICATION_DEDUP_WINDOW_MS": str(variant.dedup_window_ms),
        "NOTIFICATION_WORKER_CONCURRENCY": str(variant.concurrency),
        "NOTIFICATION_JOB_TIMEOUT_MS": "600000",
        "NOTIFICATION_PIPELINE_FILE": str(folder / "pipeline.json"),
        "NOTIFICATION_LOG_FORMAT": "json",
        "SLACK_ALERT_WEBHOOK_URL": f"http://127.0.0.1:{receiver}/alerts",
        "NOTIFICATION_ALERT_ALLOW_PRIVATE_ADDRESSES": "true",
    }
