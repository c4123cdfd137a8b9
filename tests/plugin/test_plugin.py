"""`kubectl notifications` where kubectl, or what it finds, is not as it should be. Its place is taken by a script."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from notification_operator.group import DISPATCHER_CONTAINER, PIPELINE_LABEL
from notification_operator.plugin.__main__ import cli
from tests.controller.pipelines import stored

Kubectl = Callable[..., None]

NO_API = "Error from server (NotFound): the server could not find the requested resource"
SCRIPT = """#!{python}
import json, sys
given = " ".join(sys.argv[1:])
for part, (output, complaint, code) in json.loads({answers!r}).items():
    if part in given:
        print(output)
        print(complaint, file=sys.stderr)
        sys.exit(code)
sys.exit("unexpected: " + given)
"""


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    """Say what kubectl answers where its arguments have a text in them: an object, a complaint, or lines of a log."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def answer(**by_text: Any) -> None:
        answers: Mapping[str, Any] = {
            text: ("", said, 1) if isinstance(said, str) else (printed(said), "", 0) for text, said in by_text.items()
        }
        script = tmp_path / "kubectl"
        script.write_text(SCRIPT.format(python=sys.executable, answers=json.dumps(answers)))
        script.chmod(0o755)

    return answer


def printed(said: Any) -> str:
    return "\n".join(said) if isinstance(said, list) else json.dumps(said)


def run(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(cli, arguments, env=variables)


def pipeline(*conditions: tuple[str, str, str, str], **spec: Any) -> dict[str, Any]:
    """A stored pipeline with these conditions: type, status, reason, message."""
    made = stored(**spec)
    made["status"] = {
        "observedGeneration": 1,
        "conditions": [
            {"type": one, "status": status, "reason": reason, "message": message}
            | {"lastTransitionTime": "2026-11-25T03:00:00Z"}
            for one, status, reason, message in conditions
        ],
    }
    return made


def pod(
    state: Mapping[str, Any], *, ready: bool = False, last: Mapping[str, Any] | None = None, name: str = "booking-1"
) -> dict[str, Any]:
    """A pod whose one container is in this state, and before was in that one."""
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "metadata": {
            "name": name,
            "namespace": "plannivo",
            "labels": {PIPELINE_LABEL: "booking"},
            "creationTimestamp": "2026-11-25T03:00:00Z",
        },
        "status": {
            "phase": "Running",
            "conditions": conditions,
            "containerStatuses": [
                {"name": DISPATCHER_CONTAINER, "state": state, "lastState": last or {}, "restartCount": 7}
            ],
        },
    }


def test_without_kubectl_it_says_so(kubectl: Kubectl) -> None:
    told = run("status", "-n", "plannivo")
    assert (told.exit_code, told.output) == (
        2,
        "error: kubectl cannot be run: No such file or directory. It must be on the PATH.\n",
    )


def test_a_cluster_without_the_operator(kubectl: Kubectl) -> None:
    kubectl(notificationpipelines=NO_API)
    for arguments in (["status"], ["status", "booking"], ["top"], ["send", "booking", "--type", "a"]):
        told = run("-n", "plannivo", *arguments)
        assert told.exit_code == 2
        assert told.output.startswith("error: this cluster does not know NotificationPipelines: ")


def test_a_cluster_that_does_not_answer(kubectl: Kubectl) -> None:
    kubectl(raw="The connection to the server 10.0.0.1:6443 was refused - did you specify the right host or port?")
    told = run("status", "booking", "-n", "plannivo")
    assert (told.exit_code, "10.0.0.1:6443 was refused" in told.output) == (2, True)


def test_options_reach_kubectl_from_both_sides_of_the_command(kubectl: Kubectl) -> None:
    kubectl(**{"--context=prod --as=ada get --raw /apis/notifications.plannivo.io/v1alpha1/namespaces/a/": NO_API})
    for arguments in (
        ["--context", "prod", "-n", "a", "status", "--as", "ada"],
        ["status", "--context", "prod", "--as", "ada", "-n", "a"],
    ):
        assert "does not know NotificationPipelines" in run(*arguments).output


def test_status_of_a_pipeline_that_nobody_has_looked_at(kubectl: Kubectl) -> None:
    kubectl(notificationpipelines=stored(), pods={"items": []})
    told = run("status", "booking", "-n", "plannivo")
    assert told.exit_code == 1
    assert "NOT READY: Unknown\n  No operator has looked at it." in told.output
    assert "  There is none.\n" in told.output


def test_status_says_what_to_do_and_why_nothing_flows(kubectl: Kubectl) -> None:
    kubectl(
        notificationpipelines=pipeline(
            ("Ready", "False", "CrashLooping", "booking-1 ends again and again."),
            ("DispatcherAvailable", "False", "CrashLooping", "booking-1 ends again and again."),
            ("ApiSecured", "False", "Disabled", "api.authTokenSecretRef is not set."),
            ("MonitoringSelected", "False", "NoPrometheusSelects", "The label release: kps is missing."),
            ("Newer", "False", "UnheardOf", "what a later version says"),
        ),
        pods={"items": [pod({"waiting": {"reason": "CrashLoopBackOff"}})]},
    )
    told = run("status", "booking", "-n", "plannivo")
    assert told.exit_code == 1
    assert "plannivo/booking  NOT READY: CrashLooping\n  booking-1 ends again and again.\n" in told.output
    assert "         To do: kubectl -n plannivo logs --previous, as the message has it." in told.output
    assert "  off    ApiSecured           Disabled" in told.output
    assert "         The label release: kps is missing.\n         To do: Add the label that the message" in told.output
    assert "         what a later version says\n" in told.output
    assert "  booking-1  no     CrashLoopBackOff  7 " in told.output
    assert "  No dispatcher is ready: nothing is taken, and nothing delivered.\n" in told.output
    shown = json.loads(run("status", "booking", "-n", "plannivo", "-o", "json").output)
    assert (shown["ready"], shown["live"], shown["conditions"][3]["advice"]) == (False, None, "")


def test_a_spec_that_was_changed_and_not_seen(kubectl: Kubectl) -> None:
    stale = pipeline(("Ready", "True", "Ready", "Notifications are taken and delivered."))
    stale["metadata"]["generation"] = 4
    kubectl(notificationpipelines=stale, pods={"items": []})
    told = run("status", "booking", "-n", "plannivo").output
    assert "No operator has looked at the spec as it is now (generation 4)." in told


def test_without_a_ready_pod_nothing_can_be_asked(kubectl: Kubectl) -> None:
    kubectl(notificationpipelines=pipeline(), pods={"items": [pod({"waiting": {"reason": "ImagePullBackOff"}})]})
    told = run("dead-letters", "booking", "-n", "plannivo")
    assert "no dispatcher is ready" in run("top", "--interval", "0.2", "-n", "plannivo", "booking").output
    why = "Why: kubectl notifications status booking -n plannivo"
    assert (told.exit_code, told.output) == (
        2,
        f"error: no pod of booking is ready: booking-1 is ImagePullBackOff. {why}\n",
    )


@pytest.mark.parametrize(
    ("secret", "sentence"),
    [
        ('Error from server (NotFound): secrets "api" not found', "there is no Secret plannivo/api"),
        ({"data": {"other": "eA=="}}, "the Secret plannivo/api has no key token"),
        (
            'Error from server (Forbidden): secrets "api" is forbidden: User "ada" cannot get it',
            "ask for `get` on it, or give the token yourself: --token-file, or NOTIFICATION_API_TOKEN",
        ),
    ],
)
def test_a_token_that_cannot_be_had(kubectl: Kubectl, secret: Any, sentence: str) -> None:
    protected = pipeline(api={"authTokenSecretRef": {"name": "api", "key": "token"}})
    kubectl(notificationpipelines=protected, secrets=secret)
    told = run("replay", "booking", "--all", "-n", "plannivo")
    assert (told.exit_code, sentence in told.output) == (2, True)


def test_a_forward_that_does_not_come_up(kubectl: Kubectl) -> None:
    kubectl(
        notificationpipelines=pipeline(),
        **{
            "port-forward": "error: unable to forward port because pod is not running",
            "pods": {"items": [pod({}, ready=True)]},
        },
    )
    told = run("send", "booking", "--type", "a", "-n", "plannivo")
    assert (told.exit_code, told.output) == (2, "error: unable to forward port because pod is not running\n")
    status = run("status", "booking", "-n", "plannivo")
    assert "LIVE\n  unable to forward port because pod is not running\n" in status.output
    top = run("top", "--interval", "0.2", "-n", "plannivo", "booking")
    assert (top.exit_code, "unable to forward port" in top.output) == (1, True)


def test_a_dispatcher_that_does_not_answer(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl(notificationpipelines=pipeline(), pods={"items": [pod({}, ready=True)]})
    script = (tmp_path / "kubectl").read_text()
    said = [
        "Forwarding from 127.0.0.1:1 -> 4000",
        "Handling connection for 1",
        'E1125 03:00:00.1 9 a.go:1] "Unhandled Error" err="an error occurred forwarding 1 -> 4000: it is refused"',
        "error: lost connection to pod",
    ]
    forwards = f"import sys\nif 'port-forward' in sys.argv: sys.exit(print({chr(10).join(said)!r}))\n"
    (tmp_path / "kubectl").write_text(script.replace("\n", f"\n{forwards}", 1))
    told = run("show", "booking", "b-1", "-n", "plannivo")
    assert (told.exit_code, told.output) == (
        2,
        "error: booking (pod booking-1) cannot be reached: [Errno 111] Connection refused (it is refused)\n",
    )
    status = run("status", "booking", "-n", "plannivo").output
    assert "LIVE\n  booking-1 does not tell its metrics: it is refused\n" in status


RUNNING = {"running": {"startedAt": "2026-11-25T03:00:05Z"}}
CRASHED = {"terminated": {"exitCode": 1, "reason": "Error"}}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff"}}
LAST_WORDS = ["2026-11-25T03:00:01Z no space is left"]
NO_LOG = 'Error from server (BadRequest): previous terminated container "dispatcher" in pod "booking-1" not found'


@pytest.mark.parametrize("options", [["--previous"], []], ids=str)
def test_the_log_of_what_crashes_again_and_again(kubectl: Kubectl, options: list[str]) -> None:
    pods = {"items": [pod(BACK_OFF, last=CRASHED)]}
    kubectl(**{"logs booking-1 ": LAST_WORDS}, notificationpipelines=pipeline(), pods=pods)
    told = run("logs", "booking", "-n", "plannivo", *options)
    assert (told.exit_code, told.output) == (0, "2026-11-25T03:00:01Z  no space is left\n")


def test_the_log_before_is_that_of_the_pods_that_were_started_again(kubectl: Kubectl) -> None:
    pods = {"items": [pod(RUNNING), pod(RUNNING, last=CRASHED, name="booking-2")]}
    kubectl(**{"logs booking-1 ": NO_LOG, "logs booking-2 ": LAST_WORDS}, notificationpipelines=pipeline(), pods=pods)
    told = run("logs", "booking", "--previous", "-n", "plannivo")
    assert (told.exit_code, told.stdout, told.stderr) == (0, "2026-11-25T03:00:01Z  no space is left\n", "")
    kubectl(notificationpipelines=pipeline(), pods={"items": [pod(RUNNING)]})
    told = run("logs", "booking", "--previous", "-n", "plannivo")
    assert (told.exit_code, "no pod of booking was started again" in told.stderr) == (2, True)


def test_a_log_that_cannot_be_read_leaves_the_others(kubectl: Kubectl) -> None:
    both = {"items": [pod(RUNNING), pod(RUNNING, name="booking-2")]}
    gone = 'Error from server (NotFound): pods "booking-1" not found'
    kubectl(**{"logs booking-1 ": gone, "logs booking-2 ": LAST_WORDS}, notificationpipelines=pipeline(), pods=both)
    told = run("logs", "booking", "-n", "plannivo")
    assert told.exit_code == 0
    assert told.stdout == "2026-11-25T03:00:01Z  2  no space is left\n"
    assert told.stderr == 'warning: booking-1: pods "booking-1" not found\n'
    kubectl(**{"logs booking-": gone}, notificationpipelines=pipeline(), pods=both)
    told = run("logs", "booking", "-n", "plannivo")
    assert (told.exit_code, told.stderr.splitlines()[-1]) == (2, "error: no log of booking could be read")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["status", "booking", "-A"], "-A is for all pipelines, and you name some"),
        (["top", "booking", "-A"], "-A is for all pipelines, and you name some"),
        (["logs", "booking", "-f", "--previous"], "--previous is of a process that has ended"),
        (["send"], "Missing argument 'PIPELINE'"),
    ],
)
def test_what_makes_no_sense_is_told(kubectl: Kubectl, arguments: list[str], sentence: str) -> None:
    told = run(*arguments)
    assert (told.exit_code, sentence in told.output) == (2, True)


@pytest.mark.parametrize("name", [name for name in cli.commands if name != "completion"])
def test_every_help_teaches_by_example_and_tells_the_exit_codes(name: str) -> None:
    told = run(name, "--help").output
    assert f"  kubectl notifications {name} " in told
    assert "Ends with 0" in told
    assert "\b" not in told


def test_help_names_every_command(kubectl: Kubectl) -> None:
    told = run("--help").output
    for name, command in cli.commands.items():
        assert isinstance(command, click.Command)
        assert f"  {name} " in told


def test_the_page_has_every_command(kubectl: Kubectl) -> None:
    page = (Path(__file__).parents[2] / "docs" / "kubectl-notifications.md").read_text()
    assert set(re.findall(r"^\| `([a-z-]+) [^|]*` \|", page, re.MULTILINE)) == set(cli.commands)


def test_kubectls_completion_survives_a_missing_cluster(kubectl: Kubectl) -> None:
    program = Path(sys.executable).with_name("kubectl_complete-notifications")
    for words, answer in (
        (["status", "b"], ":4\n"),
        (["top", "--o"], "--output\tForm of what is printed.\n:4\n"),
        (["send", "x", "--file", ""], ":0\n"),
    ):
        found = subprocess.run([program, *words], capture_output=True, text=True, check=True, timeout=60)
        assert (found.stdout, found.stderr) == (answer, "")
