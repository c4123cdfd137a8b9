"""A PostgreSQL server for the measurements that need one: durable, as its package has it by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.dispatcher.processes import MissingError
from tests.postgres import PACKAGE, PostgresServer, folders, postgres_server

_ON_DISK = Path("/var/tmp")  # noqa: S108  its own folder below is private
"""Not /tmp: that may be memory, where an fsync costs nothing. And where the user that it runs as may go."""


@contextmanager
def postgresql() -> Iterator[PostgresServer]:
    """A new server, until the block ends."""
    if not folders():
        raise MissingError(f"PostgreSQL is missing: apt-get install {PACKAGE}")
    with postgres_server(base=_ON_DISK) as server:
        yield server
