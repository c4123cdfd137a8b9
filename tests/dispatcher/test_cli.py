"""The command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from notification_dispatcher import __version__
from notification_dispatcher.__main__ import main
from notification_dispatcher.variables import Variable


def run(*arguments: str, stdin: str | None = None, **variables: str) -> Result:
    environment: dict[str, str | None] = {**dict.fromkeys(Variable, None), **variables}
    return CliRunner().invoke(main, arguments, input=stdin, env=environment)


def test_help_teaches() -> None:
    told = run("--help").output
    for word in ("run", "check", "send", "curl -s localhost:4000/api/metrics/prometheus"):
        assert word in told
    assert run("--version").output == f"main, version {__version__}\n"


def test_runs_help_lists_every_variable_with_its_default() -> None:
    told = run("run", "--help").output
    for variable in Variable:
        assert f"\n    {variable.value}\n" in told
    assert "Default: 300000." in told
    assert "\b" not in told


def test_check_tells_what_would_be_in_force(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "channels: [{name: team, slack: {webhookSecretRef: {name: s, key: k}}}]\n"
        "jobTypes: [{name: booking-created, priority: High, channels: [team]}]"
    )
    variables = {
        "NOTIFICATION_PIPELINE_FILE": str(tmp_path / "p.yaml"),
        "SLACK_WEBHOOK_URL": "https://hooks.example/CANARY",
        "NOTIFICATION_PROT": "4001",
    }
    told = run("check", **variables)
    assert told.exit_code == 0
    assert "SLACK_WEBHOOK_URL                           set (secret)" in told.output
    assert "booking-created (High) → team" in told.output
    assert "warning: team.webhookSecretRef is not there yet" in told.output
    assert "warning: NOTIFICATION_PROT in the environment is no setting" in told.output
    shown = json.loads(run("check", "-o", "json", **variables).output)
    assert (shown["valid"], shown["missing"]) == (True, ["team.webhookSecretRef"])
    assert shown["variables"]["NOTIFICATION_ALERT_FAILURE_THRESHOLD"] == 20
    assert "CANARY" not in told.output + json.dumps(shown)


def test_check_of_wrong_settings_ends_with_2() -> None:
    told = run("check", NOTIFICATION_PORT="x")
    assert told.exit_code == 2
    assert "NOTIFICATION_PORT must be" in told.output
    shown = run("check", "-o", "json", NOTIFICATION_PORT="x")
    assert (shown.exit_code, json.loads(shown.output)["valid"]) == (2, False)


class Dispatcher:
    """Answers `send`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Any = None
        original = httpx.Client

        def client(**options: Any) -> httpx.Client:
            return original(**options, transport=httpx.MockTransport(self._handle))

        monkeypatch.setattr(httpx, "Client", client)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.answer, httpx.Response):
            return self.answer
        items = json.loads(request.content)["notifications"]
        statuses = self.answer or ["queued"] * len(items)
        results = [
            {"id": item.get("id", "new"), "status": status} for item, status in zip(items, statuses, strict=True)
        ]
        return httpx.Response(202, json={"results": results})

    @property
    def sent(self) -> list[Any]:
        return [item for request in self.requests for item in json.loads(request.content)["notifications"]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Dispatcher:
    return Dispatcher(monkeypatch)


def test_send_one(server: Dispatcher) -> None:
    told = run("send", "--type", "booking-created", "--payload", '{"a": 1}', "--id", "b-1", "--token", "secret-token")
    assert (told.exit_code, told.output) == (0, "queued b-1\n")
    assert server.sent == [{"type": "booking-created", "payload": {"a": 1}, "id": "b-1"}]
    assert server.requests[0].headers["Authorization"] == "Bearer secret-token"


@pytest.mark.parametrize(
    "text",
    [
        '{"notifications": [{"type": "a", "payload": {}}, {"type": "b", "payload": {}}]}',
        '[{"type": "a", "payload": {}}, {"type": "b", "payload": {}}]',
        '{"type": "a", "payload": {}}\n\n{"type": "b", "payload": {}}\n',
    ],
)
def test_send_a_file(server: Dispatcher, text: str) -> None:
    assert run("send", "--file", "-", stdin=text).exit_code == 0
    assert [item["type"] for item in server.sent] == ["a", "b"]


def test_a_long_file_is_sent_in_batches(server: Dispatcher) -> None:
    assert run("send", "--file", "-", stdin='{"type": "a", "payload": {}}\n' * 1200).exit_code == 0
    assert (len(server.requests), len(server.sent)) == (3, 1200)


def test_exit_codes_say_what_came_of_it(server: Dispatcher) -> None:
    server.answer = ["dropped"]
    assert run("send", "--type", "a").exit_code == 1
    server.answer = ["deduplicated"]
    assert run("send", "--type", "a").exit_code == 0
    server.answer = httpx.Response(401, json={"detail": "a bearer token is needed"})
    told = run("send", "--type", "a")
    assert (told.exit_code, "answered 401: a bearer token is needed" in told.output) == (2, True)
    server.answer = httpx.Response(200, text="<html>")
    assert "answered 200, and not as a dispatcher does" in run("send", "--type", "a").output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "say what to send: --type and --payload, or --file"),
        (["--type", "a", "--payload", "{"], "--payload is not JSON"),
        (["--file", "-"], "--file has no notifications in it"),
    ],
)
def test_what_cannot_be_sent_is_told(server: Dispatcher, arguments: list[str], sentence: str) -> None:
    told = run("send", *arguments, stdin="")
    assert (told.exit_code, server.requests) == (2, [])
    assert sentence in told.output


def test_a_line_that_is_no_json_is_told(server: Dispatcher) -> None:
    assert "--file, line 2 is not JSON" in run("send", "--file", "-", stdin='{"type": "a"}\n{').output


def test_nobody_there_is_told() -> None:
    told = run("send", "--url", "http://127.0.0.1:1", "--type", "a")
    assert (told.exit_code, "http://127.0.0.1:1 cannot be reached" in told.output) == (2, True)
