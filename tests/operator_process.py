"""The operator as a process, for the demo and the tests: started, stopped or killed at will, its log at hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.cluster import Cluster, ClusterError
from tests.in_pod import Account
from tests.pod import free_port

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 30.0


class OperatorProcess:
    """`notification-operator run` on one namespace of a cluster, or (None) on all. Use as a context manager."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str | None,
        log: Path,
        *,
        level: str = "info",
        options: Sequence[str] = (),
        kubeconfig: Path | None = None,
        account: Account | None = None,
    ) -> None:
        """With `account` it runs as in a pod; else with a kubeconfig, the cluster's own if none is named."""
        self.log = log
        self.port = free_port()
        # Nothing of the user's: what it needs comes by flags.
        self._variables = {"PATH": os.environ["PATH"], **(account.variables if account else {})}
        if account is None:
            program = [str(Path(sys.executable).with_name("notification-operator")), "run"]
            program += ["--kubeconfig", str(kubeconfig or cluster.kubeconfig)]
        else:
            program = [sys.executable, "-m", "tests.in_pod", str(account.folder), "run"]
        self._command = [
            *program,
            *(() if namespace is None else ("--namespace", namespace)),
            *("--metrics-host", "127.0.0.1", "--metrics-port", str(self.port)),
            *("--log-format", "json", "--log-level", level),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        process = self.launch()
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if self.ready():
                return
            time.sleep(0.05)
        raise ClusterError(f"the operator did not become ready; its last words: {self.log.read_text()[-2000:]}")

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, whatever becomes of it."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, env=self._variables, cwd=ROOT
            )
        return self._process

    def ready(self) -> bool:
        """What its readiness probe says."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=20)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Any other signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def requests(self, *verbs: str) -> float:
        """How many requests it made with these HTTP methods, whatever the answer."""
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in self._requests()
            if any(f'verb="{verb}"' in line for verb in verbs)
        )

    def reconciles(self) -> float:
        """How many reconciliations it has brought to an end, whatever came of them."""
        name = "notification_operator_reconciles_total{"
        return sum(float(line.rsplit(" ", 1)[1]) for line in self._metrics() if line.startswith(name))

    def refusals(self) -> list[str]:
        """Its requests that the API server forbade, as its metrics have them."""
        return [line for line in self._requests() if 'code="403"' in line]

    def leads(self) -> bool:
        """Whether it says so."""
        return "notification_operator_leader 1.0" in self._metrics()

    def actions(self) -> list[str]:
        """The `action` of each line that it logged."""
        return [str(line.get("action", "")) for line in self._lines()]

    def applied(self) -> list[str]:
        """The children that it says it has written, each as often as it did, as `Kind name`."""
        return [child for line in self._lines() for child in line.get("applied", ())]

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def _requests(self) -> list[str]:
        return [line for line in self._metrics() if line.startswith("notification_operator_api_requests_total{")]

    def _metrics(self) -> list[str]:
        return httpx.get(f"http://127.0.0.1:{self.port}/metrics", trust_env=False).text.splitlines()
