"""The real operator, as a process: from its start to the last report, at rest, for one pipeline more, and restarted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.dispatcher.processes import BenchError, cpu_seconds
from bench.dispatcher.record import rss_mib, waited
from bench.operator.api import Api
from bench.operator.work import ACCOUNT, EACH, IMAGE, KINDS, NAME, children
from notification_operator.kinds import PIPELINE, Kind
from notification_operator.naming import PIPELINE_LABEL
from tests import in_pod
from tests.cluster import Cluster
from tests.controller.pipelines import manifest
from tests.operator_process import OperatorProcess

Figures = dict[str, float]

_WRITES = ("POST", "PATCH", "PUT", "DELETE")
_QUIET_SECONDS = 5.0
"""Nothing was asked of the API server for so long: there is nothing left to do."""
_STEADY_SECONDS = 20.0
_LONGEST_SECONDS = 900.0
_BETWEEN_SECONDS = 0.5
"""Between two single pipelines, so that the rollout of the one doesn't slow the other down."""


def measure(cluster: Cluster, scratch: Path, pipelines: int, singles: int) -> Figures:
    """Everything about an operator that finds so many pipelines which nobody has looked at."""
    log = scratch / "operator.log"
    log.unlink(missing_ok=True)
    # One at a time, and nobody to agree with: what it writes is for the pipelines alone.
    options = ("--dispatcher-image", IMAGE, "--no-leader-elect")
    account = in_pod.account(cluster, NAME, ACCOUNT, scratch / "account")
    operator = OperatorProcess(cluster, NAME, log, options=options, account=account)
    with _running(operator) as process:
        figures = _cold(cluster, operator, process, pipelines)
        _until_quiet(operator)
        figures["rss_mib"] = rss_mib(process.pid)
        figures["requests"] = operator.requests("GET", *_WRITES) / pipelines
        began, used = time.monotonic(), cpu_seconds(process.pid)
        time.sleep(_STEADY_SECONDS)
        figures["steady_cpu_percent"] = (cpu_seconds(process.pid) - used) / (time.monotonic() - began) * 100
        if singles:
            slow = waited(asyncio.run(_singles(cluster, singles)))
            figures |= {"single_p50_ms": slow["p50_ms"], "single_p99_ms": slow["p99_ms"]}
            _until_quiet(operator)
    return figures | _restarted(operator)


def _cold(cluster: Cluster, operator: OperatorProcess, process: subprocess.Popen[bytes], pipelines: int) -> Figures:
    launched = time.time()
    ready = _until(process, lambda: _first(operator.log, "ready"), "it was not ready")
    done = _until(process, lambda: _reported(operator.log, pipelines), "not every pipeline got a status")
    used = cpu_seconds(process.pid)
    found = asyncio.run(_count(cluster))
    if found != pipelines * EACH:
        raise BenchError(f"there are {found} children of {pipelines} pipelines")
    return {
        "start_seconds": ready - launched,
        "per_s": pipelines / (done - ready),
        "cpu_ms": used / pipelines * 1000,
    }


def _restarted(operator: OperatorProcess) -> Figures:
    """A new process finds everything as it should be."""
    launched = time.monotonic()
    with _running(operator) as process:
        _until(process, operator.ready, "it was not ready")
        quiet = _until_quiet(operator)
        return {
            "restart_seconds": quiet - launched,
            "restart_requests": operator.requests("GET", *_WRITES),
            "restart_writes": operator.requests(*_WRITES),
            "restart_rss_mib": rss_mib(process.pid),
        }


@contextlib.contextmanager
def _running(operator: OperatorProcess) -> Iterator[subprocess.Popen[bytes]]:
    process = operator.launch()
    try:
        yield process
    finally:
        operator.stop()


def _until(process: subprocess.Popen[bytes], look: Callable[[], float], complaint: str) -> float:
    """What is seen once there is something to see."""
    until = time.monotonic() + _LONGEST_SECONDS
    while not (found := look()):
        if process.poll() is not None:
            raise BenchError(f"{complaint}: the operator ended with {process.returncode}")
        if time.monotonic() > until:
            raise BenchError(f"{complaint} within {_LONGEST_SECONDS:g} s")
        time.sleep(0.1)
    return found


def _until_quiet(operator: OperatorProcess) -> float:
    """Wait until it asks for nothing any longer; returns when (of the monotonic clock) it asked for the last time."""
    last, since = -1.0, time.monotonic()
    while time.monotonic() - since < _QUIET_SECONDS:
        requests = operator.requests("GET", *_WRITES)
        if requests != last:
            last, since = requests, time.monotonic()
        time.sleep(0.1)
    return since


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    if log.exists():
        for line in log.read_text().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                yield json.loads(line)


def _at(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def _first(log: Path, action: str) -> float:
    """When it first said so, in seconds since 1970; 0 while it didn't."""
    return next((_at(line) for line in _lines(log) if line["action"] == action), 0.0)


def _reported(log: Path, pipelines: int) -> float:
    """When the last of so many pipelines got its first status, after all of its children; 0 while one has none."""
    # A line is cheap to count, and a thousand of them are dear to decode again and again.
    if log.read_bytes().count(b'"status_written"') < pipelines:
        return 0.0
    first: dict[str, float] = {}
    for line in _lines(log):
        if line["action"] == "status_written":
            first.setdefault(line["pipeline"], _at(line))
    return max(first.values()) if len(first) == pipelines else 0.0


async def _count(cluster: Cluster) -> int:
    async with Api(cluster.kubeconfig, connections=4) as api:
        return await children(api)


async def _singles(cluster: Cluster, count: int) -> list[float]:
    """Milliseconds from sending a pipeline until a watch tells of the last of its children, one pipeline at a time."""
    made: Counter[str] = Counter()
    changed = asyncio.Event()

    async def follow(api: Api, kind: Kind, since: str) -> None:
        async for name in api.made(kind, NAME, PIPELINE_LABEL, since):
            made[name] += 1
            changed.set()

    async def one(api: Api, name: str) -> float:
        began = time.perf_counter()
        await api.create(PIPELINE, NAME, manifest(name))
        async with asyncio.timeout(_LONGEST_SECONDS):
            while made[name] < EACH:
                changed.clear()
                await changed.wait()
        return (time.perf_counter() - began) * 1000

    waits = []
    async with Api(cluster.kubeconfig, connections=32) as api:
        followers = [
            asyncio.create_task(follow(api, kind, await api.version(kind, NAME)), name=kind.plural) for kind in KINDS
        ]
        for number in range(count):
            waits.append(await one(api, f"single-{number:04}"))
            await asyncio.sleep(_BETWEEN_SECONDS)
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
    return waits
