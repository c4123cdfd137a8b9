"""The peers: where their programs come from, how each is run, and one round of each.

They live in virtual environments of their own, outside the repository, made from lock files which pin every file by
its hash: nothing of them is ever a dependency of the product. There are several, since arq holds back the Redis client
that taskiq needs, and procrastinate needs none. Redis runs without persistence, which is its fastest; PostgreSQL runs
with its defaults.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.dispatcher.database import postgresql
from bench.dispatcher.processes import ROOT, Child, Mailbox, MissingError, free_port, python_module, run_json

_APPS = "bench.dispatcher.peers"


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer, in the setting that its documentation has for production, one worker process."""

    name: str
    command: tuple[str, ...]
    setting: str
    """For the reader of the table."""
    at_once: str
    """How jobs are sent."""
    lock: str = "peers.txt"
    """Where its programs come from."""
    server: str = "redis"
    """What its queue is kept in."""


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "taskiq",
            ("taskiq", "worker", "--workers", "1", f"{_APPS}.taskiq_app:broker"),
            "RedisStreamBroker, acks, 100 async tasks, uvloop",
            "50 at once",
            "taskiq.txt",
        ),
        Peer(
            "dramatiq",
            ("dramatiq", "--processes", "1", "--threads", "8", f"{_APPS}.dramatiq_app"),
            "1 process, 8 threads",
            "one by one",
        ),
        Peer("saq", ("saq", f"{_APPS}.saq_app.settings"), "concurrency 100", "50 at once"),
        Peer("arq", ("arq", f"{_APPS}.arq_app.WorkerSettings"), "max_jobs 100", "50 at once"),
        Peer(
            "celery",
            ("celery", "-A", f"{_APPS}.celery_app", "worker", "--concurrency", "1", "--loglevel", "warning"),
            "prefork, concurrency 1, results ignored",
            "one by one",
        ),
        Peer(
            "procrastinate",
            ("procrastinate", f"--app={_APPS}.procrastinate_app.app", "worker", "--concurrency", "100"),
            "PostgreSQL, concurrency 100, done jobs deleted",
            "50 at once",
            "procrastinate.txt",
            "postgresql",
        ),
    )
}


def environment(lock_name: str) -> Path:
    """The folder of the peers' programs; made if it isn't there, and again when the lock file changes."""
    lock = Path(__file__).with_name(lock_name)
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plannivo-notifications"
    folder = base / f"bench-{digest}"
    if folder.is_dir():
        return folder / "bin"
    base.mkdir(parents=True, exist_ok=True)
    uv = Path(sys.executable).with_name("uv")
    # Made elsewhere and moved: a run that was broken off leaves nothing half made. Scripts name their place, so
    # it is made relocatable.
    with tempfile.TemporaryDirectory(dir=base) as made:
        place = Path(made) / "venv"
        for command in (
            [uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, place],
            [uv, "pip", "install", "--quiet", "--python", place, "--require-hashes", "-r", lock],
        ):
            if subprocess.run(command, check=False).returncode != 0:  # noqa: S603  the bench's own commands
                raise MissingError("the peers cannot be installed: uv says why above")
        place.rename(folder)
    return folder / "bin"


def redis_server() -> str:
    """The program."""
    found = shutil.which("redis-server")
    if found is None:
        raise MissingError("redis-server is missing, and the peers need it: apt-get install redis-server")
    return found


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [redis_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with Child(command, folder / "redis.log", {}) as child:
        child.until(lambda: "Ready to accept connections" in (folder / "redis.log").read_text())
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _postgresql(_: Path) -> Iterator[str]:
    with postgresql() as server:
        yield server.dsn


_SERVERS = {"redis": _redis, "postgresql": _postgresql}


def measure(peer: Peer, scratch: Path, jobs: int, seconds: float) -> dict[str, float]:
    """One round: fill, drain, then half of that rate for so many seconds."""
    programs = environment(peer.lock)
    folder = Path(tempfile.mkdtemp(prefix=f"{peer.name}-", dir=scratch))
    with _SERVERS[peer.server](folder) as url, Mailbox(folder / "mailbox") as mailbox:
        variables = {f"BENCH_{peer.server.upper()}": url, "BENCH_MAILBOX": str(mailbox.path)}

        def feed(count: int, rate: float) -> dict[str, Any]:
            command = python_module(f"{_APPS}.feeding", peer.name, count, rate, python=programs / "python")
            return run_json(command, variables)

        fed = feed(jobs, 0)
        command = [programs / peer.command[0], *peer.command[1:]]
        paths = f"{programs}{os.pathsep}{os.defpath}"
        with Child(command, folder / "log", {**variables, "PATH": paths, "PYTHONPATH": str(ROOT)}) as child:
            drained = mailbox.receive(child, 120)
            rate = drained["jobs"] / drained["seconds"]
            feed(int(rate / 2 * seconds), rate / 2)
            half = mailbox.receive(child, 60)
    return {
        "jobs_per_s": rate,
        "enqueued_per_s": fed["jobs"] / fed["seconds"],
        "wait_p50_ms": half["p50_ms"],
        "wait_p99_ms": half["p99_ms"],
        "rss_mib": drained["rss_mib"],
    }
