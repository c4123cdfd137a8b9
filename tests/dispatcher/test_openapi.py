"""The OpenAPI document holds: schemathesis calls everything in it, with what fits and what does not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.dispatcher.dispatcher_process import dispatcher

# What a schema cannot say: that one of several parameters must be there, that a key belongs to one body, that 73.0 is
# no whole number here, and that an invalid item is told so beside the valid ones, in a 202. Which notification there
# is to be found again is nothing that schemathesis can guess.
CONFIG = """
[checks]
ensure_resource_availability.enabled = false

[[operations]]
include-name = "DELETE /api/dead-letters"
[operations.checks]
positive_data_acceptance.expected-statuses = ["2xx", 400, 401]

[[operations]]
include-name = "POST /api/dead-letters/replay"
[operations.checks]
positive_data_acceptance.expected-statuses = ["2xx", 400, 401]

[[operations]]
include-name = "POST /api/notifications"
[operations.checks]
positive_data_acceptance.expected-statuses = ["2xx", 401, 422, 429]
negative_data_rejection.enabled = false
"""


async def test_the_document_holds_under_schemathesis(tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    async with dispatcher(tmp_path, {"channels": []}) as process:
        command = [
            *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{process.url}/openapi.json"),
            *("--max-examples", "40", "--seed", "2026", "--no-color"),
            *("--generation-database", "none"),
        ]
        ended = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=False, timeout=240, cwd=tmp_path
        )
        assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
