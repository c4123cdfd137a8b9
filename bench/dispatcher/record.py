"""What a worker writes down about the jobs it runs, ours and every peer's alike: so that they are measured alike.

The standard library alone: it runs in the peers' Python too. A rate is that from the first job's start to the last's;
a wait is that from the time a job was sent (or became due) to its start.
"""

from __future__ import annotations

import json
import os
import threading
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Record:
    """Starts of jobs. When as many have come as are expected, the summary goes into the mailbox; a new one begins."""

    def __init__(self, mailbox: str) -> None:
        self._mailbox = mailbox
        self._lock = threading.Lock()
        self._waits = array("d")
        self._first = 0.0

    def started(self, total: int, sent: float) -> None:
        """A job of `total` starts that was sent at this time, in seconds since 1970."""
        now = time.time()
        with self._lock:
            if not self._waits:
                self._first = now
            self._waits.append((now - sent) * 1000)
            if len(self._waits) < total:
                return
            waits, self._waits = self._waits, array("d")
        seconds = now - self._first
        post(self._mailbox, {"jobs": len(waits), "seconds": seconds, "rss_mib": rss_mib("self"), **waited(waits)})


def waited(waits: Sequence[float]) -> dict[str, float]:
    """The middle and the slow end of waits in milliseconds."""
    ordered = sorted(waits)
    return {"p50_ms": quantile(ordered, 0.5), "p99_ms": quantile(ordered, 0.99), "max_ms": ordered[-1]}


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that such a share of all does not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def rss_mib(pid: int | str) -> float:
    """Memory that a process has in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/{pid}/status has no VmRSS: it ended")


def post(mailbox: str, message: dict[str, Any]) -> None:
    """One line into a named pipe; the reader has it open already, and a short line arrives whole."""
    pipe = os.open(mailbox, os.O_WRONLY)
    try:
        os.write(pipe, json.dumps(message).encode() + b"\n")
    finally:
        os.close(pipe)
