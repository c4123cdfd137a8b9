"""The real dispatcher as a process of this machine, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.metrics import Scrape
from tests.pod import free_port

COMMAND = str(Path(sys.executable).with_name("notification-dispatcher"))
ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 20.0


class DispatcherProcess:
    """One process, its log and its port."""

    def __init__(self, folder: Path, variables: Mapping[str, str], command: Sequence[str] = (COMMAND, "run")) -> None:
        """`command` starts it; another than the usual one puts something in its way (`tests.faults`)."""
        self.command = command
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "dispatcher.log"
        self._environment = {
            "PATH": os.defpath,
            "NOTIFICATION_PORT": str(self.port),
            "NOTIFICATION_QUEUE_PATH": str(folder / "queue.db"),
            "NOTIFICATION_LOG_FORMAT": "json",
            "NOTIFICATION_LOG_LEVEL": "debug",
            **variables,
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        await self.launch()
        async with asyncio.timeout(_SECONDS):
            while await self.status("/readyz") != 200:
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.02)

    async def launch(self, **variables: str) -> None:
        """Start it, with these variables too, and don't wait."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command, env={**self._environment, **variables}, cwd=ROOT, stdout=log, stderr=log
            )

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it with a signal. Returns its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(_SECONDS):
            return await self.process.wait()

    async def status(self, path: str) -> int:
        """The status of a GET; 0 when nobody answers."""
        with contextlib.suppress(httpx.TransportError):
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.get(self.url + path)).status_code
        return 0

    async def post(self, items: list[dict[str, Any]]) -> httpx.Response:
        """Post a batch."""
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.post(f"{self.url}/api/notifications", json={"notifications": items})

    async def until(self, name: str, value: float, **labels: str) -> Scrape:
        """Scrape until a metric has this value."""
        async with asyncio.timeout(_SECONDS):
            while True:
                scrape = await Scrape.of(self.url)
                if scrape.total(name, **labels) == value:
                    return scrape
                await asyncio.sleep(0.02)

    async def until_status(self, path: str, status: int) -> None:
        """Ask until a GET is answered so."""
        async with asyncio.timeout(_SECONDS):
            while await self.status(path) != status:  # noqa: ASYNC110  the state is another process's
                await asyncio.sleep(0.01)

    async def until_logged(self, action: str, seconds: float = _SECONDS) -> None:
        """Wait for a line of the log."""
        async with asyncio.timeout(seconds):
            while action not in {line.get("action") for line in self.lines()}:  # noqa: ASYNC110  another process's log
                await asyncio.sleep(0.05)

    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@asynccontextmanager
async def dispatcher(
    folder: Path, routing: Mapping[str, Any], *, command: Sequence[str] = (COMMAND, "run"), **variables: str
) -> AsyncIterator[DispatcherProcess]:
    """A process that is ready; it ends with the block."""
    (folder / "routing.json").write_text(json.dumps(routing))
    settings = {"NOTIFICATION_PIPELINE_FILE": str(folder / "routing.json"), **variables}
    made = DispatcherProcess(folder, settings, command)
    await made.start()
    try:
        yield made
    finally:
        await made.end(signal.SIGKILL)
