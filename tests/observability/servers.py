"""Prometheus and Alertmanager as processes of this machine, and what they answer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.binaries import Places, ensure
from tests.cluster.progress import Progress
from tests.controller.pipelines import eventually
from tests.observability.product import Groups
from tests.pod import free_port

_SECONDS = 60.0
_NO_PEERS = "--cluster.listen-address="


@dataclass(frozen=True)
class Series:
    """One series of an answer."""

    labels: Mapping[str, str]
    values: Sequence[float]
    """One for an instant query."""


class Server:
    """A server of the Prometheus project."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            return self._client.get("/-/ready").is_success
        except httpx.TransportError:
            return False


class Prometheus(Server):
    """Its HTTP API, as Grafana uses it."""

    def instant(self, query: str, at: float | None = None) -> list[Series]:
        """The values of a query at one time; now if none is given."""
        when = {} if at is None else {"time": f"{at:.3f}"}
        data = self._get("query", {"query": query, **when})
        if data["resultType"] == "scalar":
            return [Series({}, [float(data["result"][1])])]
        return [Series(one["metric"], [float(one["value"][1])]) for one in data["result"]]

    def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """The values of a query over time."""
        data = self._get("query_range", {"query": query, "start": start, "end": end, "step": step})
        return [Series(one["metric"], [float(value) for _, value in one["values"]]) for one in data["result"]]

    def label_values(self, label: str, selector: str, start: float, end: float) -> list[str]:
        """The values of a label among some series."""
        found = self._get(f"label/{label}/values", {"match[]": selector, "start": start, "end": end})
        values: list[str] = found
        return values

    def rules(self) -> list[dict[str, Any]]:
        """Every rule that it has, with how its last evaluation went."""
        return [rule for group in self._get("rules", {})["groups"] for rule in group["rules"]]

    def value(self, query: str, at: float | None = None) -> float:
        """The one value of a query."""
        (only,) = self.instant(query, at)
        return only.values[0]

    def firing(self, at: float | None = None) -> set[tuple[str, str, str]]:
        """The alerts that fire: name, namespace and pipeline."""
        found = self.instant('ALERTS{alertstate="firing"}', at)
        return {(one.labels["alertname"], one.labels["namespace"], one.labels["pipeline"]) for one in found}

    def _get(self, path: str, parameters: Mapping[str, Any]) -> Any:
        answer = self._client.get(f"/api/v1/{path}", params=parameters)
        body = answer.json()
        assert body["status"] == "success", f"{parameters}: {body}"
        assert body.keys() == {"status", "data"}, f"{parameters}: {body}"
        return body["data"]


def built(name: str) -> Path:
    """The program that is built of its Go module."""
    return ensure([name], Places.from_environment(), Progress())[name]


@contextmanager
def prometheus(
    program: Path,
    folder: Path,
    scrapes: Iterable[Mapping[str, Any]],
    rules: Iterable[Groups],
    alertmanager: Server | None = None,
) -> Iterator[Prometheus]:
    """A Prometheus of one's own, which looks at everything once a second."""
    folder.mkdir()
    for number, groups in enumerate(rules):
        (folder / f"{number}.rules").write_text(json.dumps({"groups": groups}))
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["*.rules"],
        "scrape_configs": list(scrapes),
    }
    if alertmanager is not None:
        address = alertmanager.url.removeprefix("http://")
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [address]}]}]}
    (folder / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    options = [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    running = Prometheus(f"http://127.0.0.1:{port}", folder / "prometheus.log")
    with _running([program, f"--config.file={folder / 'prometheus.yml'}", *options], running):
        yield running


@contextmanager
def alertmanager(folder: Path, config: Mapping[str, Any]) -> Iterator[Server]:
    """An Alertmanager of one's own, which knows no peers."""
    folder.mkdir()
    (folder / "alertmanager.yml").write_text(json.dumps(config))
    port = free_port()
    options = [f"--storage.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    running = Server(f"http://127.0.0.1:{port}", folder / "alertmanager.log")
    with _running(
        [built("alertmanager"), f"--config.file={folder / 'alertmanager.yml'}", *options, _NO_PEERS], running
    ):
        yield running


@contextmanager
def _running(command: Sequence[str | Path], server: Server) -> Iterator[None]:
    with server.log.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:

        def ready() -> bool:
            assert process.poll() is None, server.log.read_text()
            return server.ready()

        eventually(ready, f"{command[0]} answers", _SECONDS)
        yield
    finally:
        server.close()
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
