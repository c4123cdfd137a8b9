"""The commands that speak to a dispatcher, with one that runs: what they print, and how they end."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from notification_dispatcher import metric_names as names
from tests.dispatcher.dispatcher_process import DispatcherProcess, dispatcher
from tests.receivers import Receivers

TOKEN = "a-token-that-is-long-enough"


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    async with Receivers() as made:
        yield made


@pytest.fixture
async def process(tmp_path: Path, receivers: Receivers) -> AsyncIterator[DispatcherProcess]:
    """With three dead letters of one type, and one of another."""
    refusing = {"url": receivers.url("nothing-here"), "allowPrivateAddresses": True}
    async with dispatcher(tmp_path, {"channels": [{"name": "crm", "webhook": refusing}]}) as made:
        await made.post([{"type": "booking-created", "id": f"b/{number}", "payload": {}} for number in range(3)])
        await made.post([{"type": "instructor-rated", "id": "r", "payload": {}}])
        await made.until(names.DEAD_JOBS, 4)
        yield made


async def run(process: DispatcherProcess, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    command = [str(Path(sys.executable).with_name("notification-dispatcher")), *arguments, "--url", process.url]
    started = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await started.communicate(stdin)
    assert started.returncode is not None
    return started.returncode, output.decode(), errors.decode()


async def test_a_responder_cleans_up_after_an_outage(process: DispatcherProcess) -> None:
    code, output, _ = await run(process, "dead", "list")
    header, first, *others = output.splitlines()
    assert (code, len(others), header.split()[:2]) == (0, 3, ["ID", "TYPE"])
    assert first.startswith("r ")
    assert "crm: answered 404" in first

    code, output, _ = await run(process, "dead", "list", "--type", "booking-created", "--limit", "2", "-o", "json")
    assert [one["id"] for one in json.loads(output)["notifications"]] == ["b/2", "b/1"]
    assert (await run(process, "dead", "list", "--reason", "timeout"))[1] == "There are none.\n"

    code, output, _ = await run(process, "status", "b/1")
    assert code == 0
    assert [line.split()[1] for line in output.splitlines() if line.startswith(("state", "reason"))] == [
        "dead",
        "http_4xx",
    ]

    assert await run(process, "dead", "replay", "b/1", "-o", "json") == (0, '{\n  "replayed": 1\n}\n', "")
    await process.until(names.JOBS_TOTAL, 5, result="failed")
    assert (await run(process, "dead", "replay", "--type", "instructor-rated"))[:2] == (0, "1 queued again.\n")

    code, output, errors = await run(process, "dead", "delete", "--type", "booking-created", stdin=b"n\n")
    assert (code, output) == (1, "")
    assert "Delete them for good? [y/N]" in errors
    assert (await run(process, "dead", "delete", "--type", "booking-created", "--yes"))[:2] == (0, "3 deleted.\n")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["dead", "replay"], 2, "say which: ids, or --type, --channel and --reason, or --all"),
        (["dead", "delete", "--yes"], 2, "say which"),
        (["dead", "delete", "x", "--all", "--yes"], 2, "say which"),
        (["dead", "replay", "nothing"], 2, "answered 404: there is no such notification"),
        (["status", "nothing"], 2, "answered 404"),
        (["test-alert"], 2, "answered 409: no Slack webhook is configured"),
    ],
)
async def test_what_cannot_be_done_is_told(
    process: DispatcherProcess, arguments: list[str], code: int, words: str
) -> None:
    ended, output, errors = await run(process, *arguments)
    assert (ended, output) == (code, "")
    assert words in errors


async def test_a_token_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    async with dispatcher(tmp_path, {}, NOTIFICATION_API_TOKEN=TOKEN) as process:
        assert (await run(process, "dead", "list"))[0] == 2
        assert await run(process, "dead", "list", "--token-file", str(file)) == (0, "There are none.\n", "")
