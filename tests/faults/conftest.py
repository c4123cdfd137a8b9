"""Fixtures for the tests that break what is between processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.toxiproxy import Toxiproxy, running_toxiproxy


@pytest.fixture
async def toxiproxy(tmp_path: Path) -> AsyncIterator[Toxiproxy]:
    async with running_toxiproxy(tmp_path) as running:
        yield running
