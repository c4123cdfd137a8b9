"""Runs one pipeline's dispatcher on this machine, and follows its file as the operator would. `dev_command` starts it.

The dispatcher is the real one, in a process of its own. An edit of the file reaches it as in the cluster: settings that
it takes up while it runs are swapped under it, and where pods would be replaced it is started again.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from notification_operator.errors import SettingsError
from notification_operator.offline import laptop, manifests, settings_folder
from notification_operator.offline.given_secrets import GivenSecrets
from notification_operator.offline.laptop import Layout, Machine
from notification_operator.pipeline import Pipeline

_LOOK_SECONDS = 0.3
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What `dev` was asked for."""

    file: str
    name: str | None
    """Which pipeline, where the file has several."""
    namespace: str | None
    port: int | None
    """None: the pipeline's own."""
    environment: Mapping[str, str]
    """What the dispatcher is given beside its settings."""


class Dev:
    """One pipeline on this machine."""

    def __init__(self, wishes: Wishes, given: GivenSecrets, machine: Machine, say: Callable[[str], None]) -> None:
        self._wishes = wishes
        self._given = given
        self._machine = machine
        self._say = say
        self._stop = asyncio.Event()
        self._restart = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> int:
        """Run until a signal comes or the dispatcher ends by itself. Returns the exit code.

        Raises SettingsError when there is nothing to run.
        """
        self._given.load()
        seen = self._fingerprint()
        self._pipeline = self._read()
        self._layout = self._laid_out()
        for folder in self._machine.folders:
            folder.mkdir(parents=True, exist_ok=True)
        settings_folder.swap(self._machine.volume(laptop.SETTINGS_VOLUME), self._layout.files)
        self._tell_missing(())
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._asked_to_stop)
        follow = asyncio.create_task(self._follow(seen), name="follow")
        try:
            return await self._keep_running(follow)
        finally:
            follow.cancel()

    async def _keep_running(self, follow: asyncio.Task[None]) -> int:
        while True:
            self._restart.clear()
            layout = self._layout
            process = self._process = await _start(layout, self._wishes.environment)
            tell = asyncio.create_task(self._tell_ready(), name="ready")
            occasions = (process.wait(), self._stop.wait(), self._restart.wait())
            waits = [asyncio.ensure_future(occasion) for occasion in occasions]
            try:
                await asyncio.wait([*waits, follow], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (tell, *waits):
                    task.cancel()
                code = await _end(process, layout.grace_seconds)
            if follow.done():
                await follow
            if self._stop.is_set():
                return _shell_code(code)
            if not self._restart.is_set():
                self._say(f"The dispatcher ended by itself with exit code {code}: its last lines above say why.")
                return _shell_code(code)

    def _asked_to_stop(self) -> None:
        if self._stop.is_set() and self._process is not None and self._process.returncode is None:
            self._say("Asked twice: ended at once, with what was being delivered.")
            self._process.kill()
        self._stop.set()

    async def _follow(self, seen: list[bytes | None]) -> None:
        """Look at the files for ever, and take up what changes in them."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            found = await asyncio.to_thread(self._fingerprint)
            # A file may be gone for a moment while an editor replaces it.
            if found == seen or None in found:
                continue
            seen = found
            try:
                self._take_up()
            except SettingsError as error:
                self._say(f"{error}\nThe settings before this edit stay in force.")

    def _fingerprint(self) -> list[bytes | None]:
        return [_content(Path(self._wishes.file)), *map(_content, self._given.files)]

    def _take_up(self) -> None:
        self._given.load()
        pipeline = self._read()
        before, self._pipeline = self._layout, pipeline
        layout = self._layout = self._laid_out()
        changed = settings_folder.swap(self._machine.volume(laptop.SETTINGS_VOLUME), layout.files)
        self._tell_missing(before.missing)
        if layout.environment != before.environment:
            self._say("This edit replaces the pods in a cluster: the dispatcher is started again.")
            self._restart.set()
        elif layout.template != before.template:
            self._say("This edit replaces the pods in a cluster, and changes nothing here.")
        if changed:
            self._say("The changed settings are in force within two seconds, without a restart.")

    def _read(self) -> Pipeline:
        found = manifests.read([self._wishes.file], self._wishes.namespace)
        if found.wrong:
            raise SettingsError("\n".join(map(str, found.wrong)))
        names = [pipeline.name for _, pipeline in found.pipelines]
        wanted = self._wishes.name or self._running()
        if wanted is None and len(names) > 1:
            raise SettingsError(f"{self._wishes.file} has several pipelines, choose one: --name {' or '.join(names)}")
        chosen = [pipeline for _, pipeline in found.pipelines if wanted in (None, pipeline.name)]
        if not chosen:
            raise SettingsError(f"{self._wishes.file} has no pipeline {wanted}: there is {', '.join(names)}.")
        return chosen[0]

    def _running(self) -> str | None:
        return self._pipeline.name if self._process is not None else None

    def _laid_out(self) -> Layout:
        port = self._pipeline.spec.api.port if self._wishes.port is None else self._wishes.port
        self._machine = replace(self._machine, port=port)
        return laptop.lay_out(self._pipeline, self._given, self._machine)

    def _tell_missing(self, told: Sequence[str]) -> None:
        for one in self._layout.missing:
            if one not in told:
                self._say(f"{one}. It runs without, as it would in a cluster.")

    async def _tell_ready(self) -> None:
        """Say where it listens, once it does."""
        machine, url = self._machine, f"{laptop.endpoint(self._machine)}/readyz"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while not await _answers(session, url):  # noqa: ASYNC110  the state is another process's
                await asyncio.sleep(0.05)
        self._say(
            f"{self._pipeline.name} listens on {laptop.endpoint(machine)}; edits of {self._wishes.file} are followed; "
            f"Ctrl-C ends it. Try:\n{laptop.how_to_call(self._pipeline, machine)}"
        )


async def _start(layout: Layout, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    name, *arguments = layout.command
    beside = Path(sys.executable).with_name(name)
    command = str(beside) if beside.exists() else shutil.which(name)
    if command is None:
        raise SettingsError(f"{name} is not installed beside this command: install the package plannivo-notifications")
    return await asyncio.create_subprocess_exec(
        command, *arguments, env={**environment, **layout.environment}, stdin=asyncio.subprocess.DEVNULL
    )


async def _end(process: asyncio.subprocess.Process, grace_seconds: float) -> int:
    """SIGTERM, then SIGKILL after the grace period, as a kubelet does. Returns the exit code."""
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), grace_seconds)
        except TimeoutError:
            process.kill()
    return await process.wait()


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _shell_code(code: int) -> int:
    """As a shell would report it: 128 and the signal's number where one ended it."""
    return code if code >= 0 else 128 - code
