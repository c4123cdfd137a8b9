"""A real PostgreSQL server of this machine's, for tests and benchmarks: Debian's package, in a folder of its own.

It is installed where it is missing and may be. PostgreSQL refuses to run as root, so there it runs as the user that
the package makes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg

from tests.certificates import Certificate
from tests.faults.tools import installed
from tests.pod import free_port

PACKAGE = "postgresql-15"
_USER = "dispatcher"
PASSWORD = "canary-pAssw0rd"
_SECONDS = 30.0


def programs() -> Path:
    """The folder of initdb, postgres and the like; the newest there is."""
    if not (found := folders()):
        installed(PACKAGE)
        found = folders()
    return found[-1]


def folders() -> list[Path]:
    """That of each version which is installed, the newest last."""
    return sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"))


class PostgresServer:
    """One server; its data outlives its processes."""

    def __init__(self, folder: Path) -> None:
        """`folder` is empty, and may be given to another user."""
        self.port = free_port()
        self.password = PASSWORD
        self._data = folder / "data"
        self.log = folder / "log"
        self._programs = programs()
        self._process: subprocess.Popen[bytes] | None = None
        self.variables: Mapping[str, str] = {}
        """Of its environment, from its next start on."""
        self.user = "postgres" if os.geteuid() == 0 else None
        """Of the machine: whom its programs run as, where they may not run as this one."""
        if self.user:
            shutil.chown(folder, self.user, self.user)

    @property
    def role(self) -> str:
        """Whom the DSN names."""
        return _USER

    @property
    def dsn(self) -> str:
        return self.dsn_by(self.port)

    def dsn_by(self, *ports: int) -> str:
        """A DSN that leads over ports of 127.0.0.1, whichever of them works."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        return f"postgresql://{_USER}:{self.password}@{hosts}/postgres"

    @asynccontextmanager
    async def administrator(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A connection of the superuser's, for the block."""
        link = await asyncpg.connect(f"{self.dsn}?sslmode=prefer", timeout=_SECONDS)
        try:
            yield link
        finally:
            link.terminate()

    async def until(self, query: str, value: object, seconds: float = _SECONDS) -> None:
        """Ask the server until it answers so."""
        async with self.administrator() as link, asyncio.timeout(seconds):
            while (found := await link.fetchval(query)) != value:
                assert found is not None, query
                await asyncio.sleep(0.02)

    def initialize(self) -> None:
        """Make the data folder."""
        self._run("initdb", "-D", str(self._data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
        hosts = "".join(f"host {what} all 127.0.0.1/32 scram-sha-256\n" for what in ("all", "replication"))
        (self._data / "pg_hba.conf").write_text(hosts)
        alter = f"ALTER ROLE {_USER} PASSWORD '{PASSWORD}'"
        self._run("postgres", "--single", "-D", str(self._data), "postgres", text=alter)

    def follow(self, dsn: str) -> None:
        """Make the data folder that of a streaming standby, which takes no writes until it is promoted."""
        self._run("pg_basebackup", "-D", str(self._data), "-d", dsn, "-R", "-c", "fast", "--no-sync")

    def secure(self, by: Certificate) -> None:
        """Take nobody without TLS, from the start or the next connection on, with this certificate."""
        for path, name in zip(by, ("server.crt", "server.key"), strict=True):
            shutil.copy(path, self._data / name)
            if self.user:
                shutil.chown(self._data / name, self.user, self.user)
            (self._data / name).chmod(0o600)
        hosts = self._data / "pg_hba.conf"
        hosts.write_text(hosts.read_text().replace("host ", "hostssl "))
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def admit_others(self) -> None:
        """Take whoever has the password, from wherever, from the start or the next connection on."""
        with (self._data / "pg_hba.conf").open("a") as hosts:
            hosts.write("host all all all scram-sha-256\n")
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def start(self, *options: str) -> None:
        """Start it with `-c` options beside its own, and wait until it answers."""
        ours = (f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=")
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        for option in (*ours, *options):
            command += ["-c", option]
        until = time.monotonic() + _SECONDS
        while not self._answers():
            # Just after a SIGKILL, its shared memory may still be in use for a moment.
            if self._process is None or self._process.poll() is not None:
                with self.log.open("ab") as log:
                    environment = {**os.environ, **self.variables}
                    self._process = subprocess.Popen(command, stdout=log, stderr=log, user=self.user, env=environment)
            assert time.monotonic() < until, self.log.read_text()[-2000:]
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as an administrator would who does not wait for anybody."""
        self._end(signal.SIGINT)

    @property
    def folder(self) -> Path:
        """A folder that it can read."""
        return self._data.parent

    @property
    def pids(self) -> list[int]:
        """Its own process first."""
        assert self._process is not None
        pid = self._process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def kill(self) -> None:
        """SIGKILL to the server and to each of its processes."""
        _, *children = self.pids
        self._end(signal.SIGKILL)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(number)
            process.wait(_SECONDS)
        self._process = None

    def _answers(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return self._process is not None and subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *arguments: str, text: str = "") -> None:
        command = [str(self._programs / program), *arguments]
        with self.log.open("ab") as log:
            subprocess.run(command, check=True, user=self.user, input=text.encode(), stdout=log, stderr=log)


@contextmanager
def postgres_server(
    *options: str, certificate: Certificate | None = None, base: Path | None = None
) -> Iterator[PostgresServer]:
    """A server that runs until the block ends; with a certificate, for TLS alone. Its folder is made in `base`."""
    with _server(base) as server:
        server.initialize()
        if certificate is not None:
            server.secure(certificate)
            options += ("ssl=on",)
        server.start(*options)
        yield server


@contextmanager
def standby_of(primary: PostgresServer, by: int | None = None) -> Iterator[PostgresServer]:
    """A streaming standby that runs until the block ends; `by` is the port of a way to the primary."""
    with _server() as server:
        server.follow(primary.dsn_by(by or primary.port))
        server.start()
        yield server


@contextmanager
def _server(base: Path | None = None) -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="notifications-postgres-", dir=base))
    try:
        server = PostgresServer(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
