"""Runs a Deployment's container as a process of this machine, the way a kubelet would.

Its command, its environment, its mounted ConfigMaps and Secrets, kept current. The demo and the end-to-end tests use it
where no node runs containers.

What differs from a node, and nothing else: mount paths are folders of the machine, the port is a free one of 127.0.0.1,
and the log can tell more, so these are translated in the container's environment.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import httpx

from notification_operator.offline.settings_folder import swap
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError

_SYNC_SECONDS = 1.0
_READY_SECONDS = 30.0


class Pod:
    """One container of one Deployment."""

    def __init__(
        self, cluster: Cluster, namespace: str, deployment: str, folder: Path, *, log_level: str = "info"
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._folder = folder
        self._log_level = log_level
        self._template = cluster.get_json("deployment", deployment, "-n", namespace)["spec"]["template"]["spec"]
        self._container: dict[str, Any] = self._template["containers"][0]
        self._mounts = {mount["mountPath"]: folder / mount["name"] for mount in self._container["volumeMounts"]}
        self._process: asyncio.subprocess.Process | None = None
        self._sync: asyncio.Task[None] | None = None
        self._log: IO[bytes] | None = None
        self.port = free_port()
        self.log = folder / "container.log"

    @property
    def url(self) -> str:
        """Where the container listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The container's process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Lay out the volumes, start the process, and wait until its readiness probe succeeds."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for path in self._mounts.values():
            path.mkdir(parents=True)
        await asyncio.to_thread(self._lay_out)
        command = [*self._container["command"], *self._container.get("args", [])]
        self._log = self.log.open("wb")
        self._process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name(command[0])),
            *command[1:],
            env=self._environment(),
            cwd=self._folder,
            stdout=self._log,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._sync = asyncio.create_task(self._keep_current(), name="volumes")
        await self._ready()

    async def stop(self) -> int:
        """SIGTERM, then SIGKILL after the grace period, as a kubelet does. Returns the exit code."""
        if self._sync is not None:
            self._sync.cancel()
            await asyncio.gather(self._sync, return_exceptions=True)
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), self._template["terminationGracePeriodSeconds"])
            except TimeoutError:
                self._process.kill()
        code = await self._process.wait()
        if self._log is not None:
            self._log.close()
        return code

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await self.stop()

    async def _ready(self) -> None:
        probe = self._container["readinessProbe"]["httpGet"]
        deadline = time.monotonic() + _READY_SECONDS
        async with httpx.AsyncClient(trust_env=False) as client:
            while time.monotonic() < deadline:
                if self._process is not None and self._process.returncode is not None:
                    break
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(self.url + probe["path"])).is_success:
                        return
                await asyncio.sleep(0.05)
        await self.stop()
        raise ClusterError(f"the dispatcher did not become ready; its last words: {self.log.read_text()[-2000:]}")

    def _environment(self) -> dict[str, str]:
        declared = {entry["name"]: entry.get("value", "") for entry in self._container["env"]}
        translated = {name: self._translated(value) for name, value in declared.items()}
        own = {"NOTIFICATION_HOST": "127.0.0.1", "NOTIFICATION_PORT": str(self.port)}
        own["NOTIFICATION_LOG_LEVEL"] = self._log_level
        return {"PATH": os.defpath, **translated, **own}

    def _translated(self, value: str) -> str:
        for mount_path, folder in self._mounts.items():
            if value == mount_path or value.startswith(f"{mount_path}/"):
                return str(folder) + value.removeprefix(mount_path)
        return value

    async def _keep_current(self) -> None:
        """As a kubelet's sync loop does, but once a second instead of about once a minute."""
        while True:
            await asyncio.sleep(_SYNC_SECONDS)
            await asyncio.to_thread(self._lay_out)

    def _lay_out(self) -> None:
        for volume in self._template["volumes"]:
            if "projected" in volume:
                sources = volume["projected"]["sources"]
                names = [f"{kind}/{wanted['name']}" for source in sources for kind, wanted in source.items()]
                found = self._cluster.run_kubectl(
                    "get", "-n", self._namespace, *names, "--ignore-not-found", "-o", "json"
                )
                objects = json.loads(found)["items"] if found else []
                swap(self._folder / volume["name"], {name: data for one in objects for name, data in _files(one)})


def _files(found: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    for name, value in (found.get("data") or {}).items():
        yield name, value.encode() if found["kind"] == "ConfigMap" else base64.b64decode(value)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
