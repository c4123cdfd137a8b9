"""What the disk does to the queue: an acknowledgement follows an fsync, and a disk that fails or is full costs no job.

strace stands between the process and the disk: it shows the order of the system's calls, and makes some of them fail.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from notification_dispatcher import metric_names as names
from tests.dispatcher.dispatcher_process import DispatcherProcess, dispatcher
from tests.faults.ledger import JOB_TYPE
from tests.faults.tools import strace

POSTS = 20
IDLE = {"NOTIFICATION_QUEUE_CAPACITY": "100000", "NOTIFICATION_LOG_LEVEL": "info"}
"""Nothing runs: the jobs of these tests are for tomorrow."""


def traced(trace: Path) -> tuple[str, ...]:
    """strace, for a command to follow. It stays out of the way: the process keeps its number and its signals."""
    calls = "trace=fdatasync,fsync,pwrite64,read,write,writev,sendto,sendmsg,recvfrom"
    return (strace(), "-D", "-f", "-q", "-s", "40", "-o", str(trace), "-e", calls)


def unsynced(trace: str) -> tuple[int, int]:
    """How many 202 were sent, and how many of them without an fsync between the request and the answer."""
    answers = missing = 0
    synced = False
    for line in trace.splitlines():
        if '"POST /api/notifications' in line:
            synced = False
        elif re.search(r"(fdatasync|fsync)(\(\d+\)| resumed>\)) += 0", line):
            synced = True
        elif '"HTTP/1.1 202' in line:
            answers += 1
            missing += not synced
    return answers, missing


async def scheduled(process: DispatcherProcess, name: str) -> int:
    """Post a job that stays in the queue; the answer's status."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    item = {"type": JOB_TYPE, "id": name, "payload": {}, "deliverAt": tomorrow.isoformat()}
    return (await process.post([item])).status_code


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
async def test_every_202_follows_an_fdatasync(tmp_path: Path, synchronous: str) -> None:
    trace = tmp_path / "trace"
    launcher = (*traced(trace), sys.executable, "-m", "tests.faults.launcher", "run")
    async with dispatcher(tmp_path, {}, command=launcher, SYNCHRONOUS=synchronous, **IDLE) as process:
        for number in range(POSTS):
            assert await scheduled(process, f"j-{number}") == 202
        assert await process.end() == 0
    answers, missing = unsynced(trace.read_text())
    assert answers == POSTS
    # Without it, the same reading of the trace finds them: this check can fail.
    assert (missing == 0) is (synchronous == "FULL"), f"{missing} of {answers} without an fdatasync"


@asynccontextmanager
async def failing(process: DispatcherProcess, fault: str) -> AsyncIterator[None]:
    """Make calls of a process that runs fail while the block runs."""
    call = fault.partition(":")[0]
    tracer = await asyncio.create_subprocess_exec(
        *(strace(), "-f", "-p", str(process.process.pid), "-o", os.devnull, "-e", f"trace={call}"),
        *("-e", f"inject={fault}"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert tracer.stderr is not None
    assert b"attached" in await tracer.stderr.readline()
    try:
        yield
    finally:
        tracer.terminate()
        # What it says is read to its end: it would wait for somebody to.
        await tracer.communicate()


@pytest.mark.parametrize(
    "fault",
    ["fdatasync:error=EIO:when=3+", "pwrite64:error=ENOSPC:when=20+", "pwrite64:error=EIO:when=20+"],
    ids=["fdatasync-EIO", "disk-full", "write-EIO"],
)
async def test_what_could_not_be_stored_is_never_acknowledged(tmp_path: Path, fault: str) -> None:
    acknowledged: set[str] = set()
    refused: set[str] = set()
    async with dispatcher(tmp_path, {}, **IDLE) as process:
        async with failing(process, fault):
            for name in map("j-{}".format, range(100)):
                status = await scheduled(process, name)
                assert status in {202, 503}
                (acknowledged if status == 202 else refused).add(name)
            # Reading works as before, and doesn't make it ready: neither a scrape nor a look at a job.
            for path in ("/api/metrics/prometheus", f"/api/notifications/{min(acknowledged)}", "/healthz"):
                assert await process.status(path) == 200
                assert await process.status("/readyz") == 503
        assert acknowledged
        assert refused
        assert "nothing can be stored" in {line["event"] for line in process.lines()}
        # The disk is well again: it finds out by itself, and nothing of what was refused is there.
        await process.until_status("/readyz", 200)
        scrape = await process.until(names.QUEUE_DEPTH, len(acknowledged))
        assert scrape.total(names.JOBS_TOTAL, result="queued") == len(acknowledged)
        assert await scheduled(process, "after") == 202
        # What was in memory only would not outlive this.
        await process.end(signal.SIGKILL)
        await process.start()
        for name in (*acknowledged, "after"):
            assert await process.status(f"/api/notifications/{name}") == 200
        for name in refused:
            assert await process.status(f"/api/notifications/{name}") == 404


async def test_a_torn_tail_of_the_log_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    async with dispatcher(tmp_path, {}, **IDLE) as process:
        for number in range(POSTS):
            assert await scheduled(process, f"j-{number}") == 202
        await process.end(signal.SIGKILL)
        log = tmp_path / "queue.db-wal"
        whole = log.read_bytes()
        # The power went in the middle of the next transaction: half a page of it arrived.
        log.write_bytes(whole + whole[-2000:])
        await process.start()
        await process.until(names.QUEUE_DEPTH, POSTS)


async def test_a_file_with_a_flipped_bit_is_refused_with_what_to_do(tmp_path: Path) -> None:
    async with dispatcher(tmp_path, {}, **IDLE) as process:
        for number in range(400):
            assert await scheduled(process, f"j-{number}") == 202
        assert await process.end() == 0
        file = tmp_path / "queue.db"
        content = bytearray(file.read_bytes())
        # The header of a page in the middle: not a row's text, which SQLite has no checksum for.
        content[len(content) // 2 // 4096 * 4096] ^= 0x40
        file.write_bytes(content)
        await process.launch()
        assert await process.process.wait() == 1
        last = process.log.read_text().splitlines()[-1]
        assert "is damaged" in last
        assert "Move it away and start again" in last
