"""A live pipeline moves from the Embedded engine to PostgreSQL as docs/postgresql.md says, by its very commands."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from notification_dispatcher import metric_names as names
from tests.contract.shared import new_schema
from tests.dispatcher.dispatcher_process import ROOT, DispatcherProcess, dispatcher
from tests.faults.ledger import JOB_TYPE, SEED, SETTINGS, Ledger, Receiver, Sender
from tests.faults.tools import installed
from tests.metrics import Scrape
from tests.postgres import PostgresServer

_SECONDS = 90.0


def documented(first_word: str) -> str:
    """The one block of commands in that section that begins so."""
    text = (ROOT / "docs" / "postgresql.md").read_text()
    section = text.partition("## Moving a pipeline from Embedded to PostgreSQL")[2].partition("\n## ")[0]
    (block,) = re.findall(rf"```sh\n\s+({first_word}.*?)```", section, re.DOTALL)
    return str(block)


async def shell(script: str, process: DispatcherProcess) -> str:
    """What a script says that speaks to this dispatcher. It must end well."""
    if shutil.which("curl") is None:
        installed("curl")
    variables = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NOTIFICATION_URL": process.url,
    }
    command = script.replace("localhost:4000", process.url.removeprefix("http://")).replace("sleep 5", "sleep 0.2")
    started = await asyncio.create_subprocess_exec(
        "sh", "-ec", command, env=variables, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(started.communicate(), _SECONDS)
    except TimeoutError:
        started.kill()
        raise
    assert started.returncode == 0, output.decode()
    return output.decode()


async def test_nothing_is_lost_under_load(tmp_path: Path, postgres: PostgresServer) -> None:
    ledger, dice = Ledger(), random.Random(SEED)
    shared = {
        "NOTIFICATION_QUEUE_ENGINE": "postgresql",
        "NOTIFICATION_QUEUE_DSN": postgres.dsn,
        "NOTIFICATION_QUEUE_SCHEMA": new_schema(),
    }
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    async with Receiver(ledger, dice).listening() as receiver:
        routing = {"channels": [receiver.channel()]}
        async with (
            dispatcher(tmp_path / "old", routing, **SETTINGS) as old,
            dispatcher(tmp_path / "new", routing, **SETTINGS, **shared) as new,
        ):
            before = Sender(ledger, old.url, "before", random.Random(dice.random()))
            after = Sender(ledger, new.url, "after", random.Random(dice.random()))
            receiver.status = 410
            sending = asyncio.create_task(before.run(200))
            await until(old, names.DEAD_JOBS, 20)
            # The destination is mended, and slower than what comes.
            receiver.status, receiver.seconds = 204, 0.3
            await until(old, names.QUEUE_DEPTH, 50)
            ledger.attempted.add("later")
            ledger.acknowledged.add("later")
            assert (await old.post([later("later", 3)])).status_code == 202

            before.stop()
            await sending
            sending = asyncio.create_task(after.run(200))
            listing, replay, _ = documented("notification-dispatcher").splitlines()[:3]
            assert "http_4xx" in await shell(listing, old)
            assert "queued again" in await shell(replay, old)
            receiver.seconds = 0.0
            await shell(documented("empty"), old)
            assert not any(one.startswith("before") for one in ledger.lost)
            assert await old.end() == 0

            after.stop()
            await sending
            await shell(documented("empty"), new)
        assert "later" in ledger.delivered
        assert before.answers.keys() == after.answers.keys() == {202}
        ledger.check(crashes=0)


def later(job: str, seconds: float) -> dict[str, object]:
    """An item that is due then."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return {"type": JOB_TYPE, "id": job, "payload": {}, "deliverAt": moment.isoformat()}


async def until(process: DispatcherProcess, name: str, least: float) -> None:
    """Wait until a metric has at least this value."""
    async with asyncio.timeout(_SECONDS):
        while (await Scrape.of(process.url)).total(name) < least:  # noqa: ASYNC110  another process's
            await asyncio.sleep(0.05)


async def test_what_is_left_is_seen(tmp_path: Path) -> None:
    async with Receiver(Ledger(), random.Random(1)).listening() as receiver:
        routing = {"channels": [receiver.channel()]}
        async with dispatcher(tmp_path, routing) as process:
            receiver.status = 410
            await process.post([{"type": JOB_TYPE, "id": "dead", "payload": {}}])
            await process.until(names.DEAD_JOBS, 1)
            looked = documented("empty").replace("until empty && sleep 5 && empty; do sleep 5; done", "! empty")
            assert looked != documented("empty")
            await shell(looked, process)
            assert "1 deleted" in await shell(documented("notification-dispatcher").splitlines()[2], process)
            await shell(documented("empty"), process)
