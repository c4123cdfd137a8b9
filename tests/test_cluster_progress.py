"""What the test cluster's tools say while they work, and that nothing they start outlives an interruption."""

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest

from tests.cluster.errors import ClusterError
from tests.cluster.locks import locked, private_dir
from tests.cluster.processes import _from_ps, end_below, running_below
from tests.cluster.progress import Progress, run


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def stepped(stream: StringIO, seconds: int) -> str:
    """Report a step that ticks once a second for so long, and return what was written."""
    now = itertools.count()
    with Progress(lambda: stream, lambda: float(next(now))).step("[2/7] building etcd 3.6.8") as step:
        for _ in range(seconds):
            step.tick()
    return stream.getvalue()


def test_short_step_is_silent() -> None:
    assert stepped(StringIO(), 1) == ""


def test_long_step_writes_a_line_every_ten_seconds() -> None:
    assert stepped(StringIO(), 25).splitlines() == [
        "[2/7] building etcd 3.6.8 ... 2 s",
        "[2/7] building etcd 3.6.8 ... 12 s",
        "[2/7] building etcd 3.6.8 ... 22 s",
        "[2/7] building etcd 3.6.8: done in 26 s",
    ]


def test_terminal_keeps_one_line() -> None:
    said = stepped(Terminal(), 4)
    assert said.count("\n") == 1
    assert said.split("\r\x1b[K")[1:] == [
        "[2/7] building etcd 3.6.8 ... 2 s",
        "[2/7] building etcd 3.6.8 ... 3 s",
        "[2/7] building etcd 3.6.8 ... 4 s",
        "[2/7] building etcd 3.6.8: done in 5 s\n",
    ]


def test_failed_step_says_so() -> None:
    stream, now = StringIO(), itertools.count(step=3)

    def fail() -> None:
        with Progress(lambda: stream, lambda: float(next(now))).step("starting") as step:
            step.tick()
            raise ClusterError("no")

    with pytest.raises(ClusterError, match="no"):
        fail()
    assert stream.getvalue().splitlines() == ["starting ... 3 s", "starting: failed after 6 s"]


def test_command_returns_its_output_or_raises_with_the_end_of_it() -> None:
    fails = "import sys\nfor n in range(27): print(n)\nsys.exit(4)"
    with Progress(StringIO).step("listing") as step:
        assert run(step, [sys.executable, "-c", "print('said')"], os.environ) == "said\n"
        with pytest.raises(ClusterError, match=r"^python\S* ended with exit code 4:\n2\n(\d+\n)+26$"):
            run(step, [sys.executable, "-c", fails], os.environ)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program in a folder that looks like a cluster's; it stays until it is killed."""
    path = tmp_path / "cluster" / "bin" / "etcd"
    path.parent.mkdir(parents=True)
    path.symlink_to("/bin/sleep")
    return path


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return a function that starts a program; whatever it started is ended after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def popen(*command: str | Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command)
        started.append(process)
        return process

    yield popen
    for process in started:
        process.kill()
        process.wait()


def test_interrupted_commands_children_end_too(program: Path) -> None:
    def clock() -> float:
        if running_below(program.parent):
            raise KeyboardInterrupt
        return 0.0

    with pytest.raises(KeyboardInterrupt), Progress(StringIO, clock).step("starting") as step:
        run(step, ["/bin/sh", "-c", f"{program} 600 & wait"], os.environ)
    # The kill is sent; its effect is the kernel's to bring about.
    deadline = time.monotonic() + 10
    while running_below(program.parent):
        assert time.monotonic() < deadline


def test_processes_are_told_by_the_program_they_run(
    program: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    ours = start(program, "600")
    bystander = start(sys.executable, "-c", "import time; time.sleep(600)", program)
    assert [process.name for process in running_below(program.parent)] == ["etcd"]
    # A sibling folder whose name begins alike is not ours.
    assert running_below(program.parent.with_name("bi")) == []

    reaper = threading.Thread(target=ours.wait)
    reaper.start()
    assert [process.pid for process in end_below(program.parent)] == [ours.pid]
    reaper.join()
    assert running_below(program.parent) == []
    assert bystander.poll() is None


def test_processes_are_found_without_proc(program: Path, start: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = start(program, "600")
    assert (process.pid, f"{program} 600") in list(_from_ps())


def test_lock_says_what_it_waits_for(tmp_path: Path) -> None:
    stream, ticks = StringIO(), itertools.count(step=3)
    release = threading.Event()

    def hold(ready: threading.Event) -> None:
        with locked(tmp_path / "lock", Progress(StringIO), "nothing"):
            ready.set()
            release.wait()

    def clock() -> float:
        if stream.getvalue():
            release.set()
        return float(next(ticks))

    ready = threading.Event()
    holder = threading.Thread(target=hold, args=(ready,))
    holder.start()
    ready.wait()
    with locked(tmp_path / "lock", Progress(lambda: stream, clock), "another process' build"):
        holder.join()
    assert stream.getvalue().startswith("waiting for another process' build ... 3 s\n")


def test_private_folder_cleans_up_after_dead_sessions_only(tmp_path: Path) -> None:
    for name in ("1000001", "1000002"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".session").touch()
    cleaned: list[str] = []
    quiet = Progress(StringIO)
    with (
        locked(tmp_path / "1000002" / ".session", quiet, "nothing"),
        private_dir(tmp_path, lambda path: cleaned.append(path.name), quiet) as folder,
    ):
        assert folder.parent == tmp_path
        assert folder.name == str(os.getpid())
    assert cleaned == ["1000001"]
