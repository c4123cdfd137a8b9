"""A real PgBouncer of Debian's before a PostgreSQL server, which keeps a session for each client."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.debian import unpacked
from tests.pod import free_port
from tests.postgres import PostgresServer

_SECONDS = 30.0


@contextmanager
def pgbouncer(server: PostgresServer, mode: str) -> Iterator[int]:
    """One with this `pool_mode`, until the block ends. Yields its port."""
    port = free_port()
    folder = server.folder / f"pgbouncer-{port}"
    folder.mkdir()
    (folder / "users").write_text(f'"{server.role}" "{server.password}"')
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": folder / "users",
        "pool_mode": mode,
    }
    lines = ("[databases]", f"* = host=127.0.0.1 port={server.port}", "[pgbouncer]")
    text = "\n".join((*lines, *(f"{name} = {value}" for name, value in settings.items())))
    (folder / "pgbouncer.ini").write_text(text + "\n")
    for package in ("pgbouncer", "libc-ares2"):
        # Whom it runs as may not see the cache.
        shutil.copytree(unpacked(package) / "usr", folder / "usr", symlinks=True, dirs_exist_ok=True)
    command = [str(folder / "usr" / "sbin" / "pgbouncer"), str(folder / "pgbouncer.ini")]
    (libraries,) = (library.parent for library in folder.glob("usr/lib/*/libcares.so.2"))
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, user=server.user, env=environment)
    try:
        until = time.monotonic() + _SECONDS
        while b"process up" not in (folder / "log").read_bytes():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait(_SECONDS)
