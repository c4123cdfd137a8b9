"""The OpenAPI document holds: schemathesis calls everything in it, with what fits and what does not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.dispatcher.dispatcher_process import dispatcher


async def test_the_document_holds_under_schemathesis(tmp_path: Path) -> None:
    routing = {"channels": [], "unknownJobTypes": "Accept"}
    async with dispatcher(tmp_path, routing) as process:
        command = [
            *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{process.url}/openapi.json"),
            *(
                "--checks",
                "all",
                "--max-examples",
                "40",
                "--seed",
                "2026",
                "--no-color",
                "--generation-database",
                "none",
            ),
        ]
        ended = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=False, timeout=240, cwd=tmp_path
        )
        assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
