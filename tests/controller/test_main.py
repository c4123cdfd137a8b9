"""The command's settings: what is on without being asked for, and what is refused with a word on what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from notification_operator import __main__ as command
from notification_operator.credentials import Credentials, pod
from notification_operator.settings import Settings


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Settings]:
    """The settings that operators were started with, in place of operators; outside a pod."""
    settings: list[Settings] = []

    class Operator:
        def __init__(self, given: Settings, _: object) -> None:
            settings.append(given)

        async def run(self) -> None:
            pass

    monkeypatch.setattr("notification_operator.run.Operator", Operator)
    monkeypatch.setattr(pod, "FOLDER", tmp_path)
    monkeypatch.setattr(Credentials, "load", lambda _: None)
    return settings


def run(*arguments: str, **environment: str) -> Result:
    variables: dict[str, Any] = {f"NOTIFICATION_OPERATOR_{name}": value for name, value in environment.items()}
    return CliRunner().invoke(command.main, ["run", *arguments], env=variables)


def test_outside_a_pod_nobody_is_elected(started: list[Settings]) -> None:
    assert run("--namespace", "a").exit_code == 0
    assert not started[0].leader_elect


def test_in_a_pod_one_is_elected_in_its_own_namespace(started: list[Settings], tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("notifications\n")
    assert run("--namespace", "a").exit_code == 0
    assert run("--no-leader-elect").exit_code == 0
    assert run("--lease-namespace", "other").exit_code == 0
    assert [(one.leader_elect, one.lease_namespace) for one in started] == [
        (True, "notifications"),
        (False, "notifications"),
        (True, "other"),
    ]
    assert started[0].lease_name == "notification-operator"


def test_the_first_namespace_has_the_lease_outside_a_pod(started: list[Settings]) -> None:
    assert run("--namespace", "b", "--namespace", "a", LEADER_ELECT="true").exit_code == 0
    assert (started[0].leader_elect, started[0].lease_namespace) == (True, "b")


def test_without_any_namespace_one_is_asked_for(started: list[Settings]) -> None:
    answer = run("--leader-elect")
    assert answer.exit_code == 2
    assert "--lease-namespace" in answer.output
    assert started == []


def test_the_times_are_set_by_flag_or_environment(started: list[Settings]) -> None:
    assert run("--resync", "30", REQUEST_TIMEOUT="5").exit_code == 0
    assert run().exit_code == 0
    assert run("--resync", "0").exit_code == 2
    assert [(one.resync_seconds, one.request_seconds) for one in started] == [(30, 5), (600, 30)]
