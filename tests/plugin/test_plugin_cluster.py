"""`kubectl notifications` on a real API server, through a forwarded port, to a real dispatcher.

The tests share one pipeline and run in this order: what one sends, the next finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import ClusterError, environment
from tests.controller.accounts import account, grant
from tests.controller.pipelines import eventually
from tests.plugin.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = Path(__file__).parents[2] / "docs" / "kubectl-notifications.md"
PODS: dict[str, Any] = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
FORWARD: dict[str, Any] = {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"]}
PIPELINES: dict[str, Any] = {
    "apiGroups": ["notifications.plannivo.io"],
    "resources": ["notificationpipelines"],
    "verbs": ["get", "list"],
}


def documented() -> list[dict[str, Any]]:
    """The permissions that people are told to grant."""
    [role] = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    rules: list[dict[str, Any]] = yaml.safe_load(role)["rules"]
    return rules


async def test_status_of_what_is_well(booking: Stage) -> None:
    told = await booking.run("status", "booking")
    assert told.exit_code == 0
    assert told.output.startswith(f"{booking.namespace}/booking  Ready\n")
    assert "  ok     AlertingConfigured   Configured, for " in told.output
    assert f"  {booking.pod}  yes    Running  0 " in told.output
    assert "  waiting   0 of 10000; there is an alert at 500\n" in told.output


async def test_send_takes_the_token_from_the_secret(booking: Stage) -> None:
    told = await booking.run("send", "booking", "--type", "booking-created", "--id", "b-1")
    assert (told.exit_code, told.output) == (0, "queued b-1\n")
    for number in range(3):
        await booking.run("send", "booking", "--type", "instructor-rated", "--id", f"r-{number}")
    await booking.until_dead(3)
    assert booking.receivers.delivered == {"b-1": 1}


async def test_dead_letters_are_listed_and_filtered(booking: Stage) -> None:
    told = await booking.run("dead-letters", "booking", "--type", "instructor-rated", "--channel", "ratings")
    titles, *rows = told.output.splitlines()
    assert titles.split() == ["ID", "TYPE", "DEAD", "SINCE", "REASON", "DETAIL"]
    assert sorted(row.split()[0] for row in rows) == ["r-0", "r-1", "r-2"]
    assert (await booking.run("dead-letters", "booking", "--reason", "timeout")).output == "There are none.\n"
    shown = await booking.json("show", "booking", "r-1")
    assert (shown["id"], shown["state"]) == ("r-1", "dead")


async def test_status_and_top_tell_of_dead_letters_and_rates(booking: Stage) -> None:
    told = await booking.run("status", "booking")
    assert f"  dead      3: kubectl notifications dead-letters booking -n {booking.namespace}\n" in told.output
    report = await booking.json("status", "booking")
    assert (report["ready"], report["live"]["dead"], report["problems"]) == (True, 3, [])
    assert {one["type"]: one["advice"] for one in report["conditions"]}["ApiSecured"] == ""

    async def traffic() -> None:
        for number in itertools.count():
            await booking.post("booking-created", f"c-{number}")

    flowing = asyncio.create_task(traffic())
    [seen] = await booking.json("top", "--interval", "1")
    flowing.cancel()
    assert seen["live"]["rates"]["queued"] > 0
    assert seen["live"]["rates"]["processed"] > 0
    assert seen["live"]["rates"]["failed"] == 0
    table = (await booking.run("top", "booking", "--interval", "0.2")).output.splitlines()
    assert table[0].split()[:7] == ["NAMESPACE", "NAME", "READY", "PODS", "WAITING", "OLDEST", "ACTIVE"]
    assert table[1].split()[:5] == [booking.namespace, "booking", "True", "1/1", "0"]


async def test_replay_and_discard(booking: Stage) -> None:
    booking.receivers.refused.clear()
    assert (await booking.run("replay", "booking", "--type", "instructor-rated")).output == "3 queued again.\n"
    await booking.until_dead(3)
    assert booking.receivers.refused == {"r-0": 1, "r-1": 1, "r-2": 1}
    assert (await booking.run("discard", "booking", "r-0", "--yes")).output == "1 deleted.\n"
    assert await booking.json("discard", "booking", "--all", "--yes") == {"deleted": 2}
    assert (await booking.run("replay", "booking", "r-0")).exit_code == 2
    assert "say which: ids, or" in (await booking.run("replay", "booking")).output


async def test_a_test_alert_reaches_slack(booking: Stage) -> None:
    told = await booking.run("test-alert", "booking")
    assert (told.exit_code, told.output) == (0, "Slack took the test alert.\n")
    assert len(booking.receivers.alerts) >= 1


async def test_kubectl_runs_it_and_completes_it(booking: Stage) -> None:
    def kubectl(*arguments: str) -> str:
        own = environment(booking.cluster)
        own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
        found = subprocess.run(
            [booking.cluster.kubectl, *arguments], env=own, capture_output=True, text=True, timeout=60, check=False
        )
        return f"{found.stdout}{found.returncode}"

    listed = await asyncio.to_thread(kubectl, "notifications", "status", "-n", booking.namespace, "-o", "json")
    assert (json.loads(listed[:-1])[0]["name"], listed[-1]) == ("booking", "0")
    words = ("__complete", "notifications", "status", "-n", booking.namespace)
    assert (await asyncio.to_thread(kubectl, *words, "bo")).startswith("booking\n:4\n")
    assert "dead-letters\tList what failed for good.\n" in await asyncio.to_thread(
        kubectl, "__complete", "notifications", "de"
    )


async def test_logs_are_made_readable(booking: Stage) -> None:
    lines: list[dict[str, Any]] = [
        {"event": "started", "action": "started", "level": "info", "timestamp": "2026-11-25T03:00:00.1Z", "port": 4000},
        {
            "event": "circuit opened",
            "action": "circuit_opened",
            "level": "warning",
            "channel": "crm",
            "why": "it fails",
        },
    ]
    booking.log.write_text(
        "2026-11-25T03:00:00.000000001Z stderr F these settings cannot work:\n"
        + "".join(f"2026-11-25T03:00:0{n}.2Z stderr F {json.dumps(line)}\n" for n, line in enumerate(lines, 1))
    )
    assert (await booking.run("logs", "booking")).output.splitlines() == [
        "2026-11-25T03:00:00Z  these settings cannot work:",
        "2026-11-25T03:00:00Z  INFO     started  port=4000",
        '2026-11-25T03:00:02Z  WARNING  circuit opened  channel=crm why="it fails"',
    ]
    [plain, circuit] = (await booking.run("logs", "booking", "--level", "warning", "-o", "json")).output.splitlines()
    assert json.loads(plain)["event"] == "these settings cannot work:"
    assert json.loads(circuit) == {"pod": booking.pod} | lines[1]
    assert (await booking.run("logs", "booking", "--tail", "1", "--action", "started")).output == ""


async def test_logs_follow_until_interrupted(booking: Stage) -> None:
    own = environment(booking.cluster)
    command = [str(Path(sys.executable).with_name("kubectl-notifications")), "-n", booking.namespace]
    process = await asyncio.create_subprocess_exec(
        *command, "logs", "booking", "-f", "--tail", "1", env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert b"circuit opened" in await process.stdout.readline()
        with booking.log.open("a") as log:
            log.write(f"2026-11-25T03:00:09.2Z stderr F {json.dumps({'event': 'later', 'level': 'info'})}\n")
        assert b"INFO     later" in await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        await process.communicate()


async def test_whoever_ends_a_watch_ends_its_forwards(booking: Stage) -> None:
    command = [str(Path(sys.executable).with_name("kubectl-notifications")), "-n", booking.namespace]
    process = await asyncio.create_subprocess_exec(
        *command, "top", "--watch", "--interval", "0.2", env=environment(booking.cluster), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while b"booking  True   1/1" not in await process.stdout.readline():
            pass
        assert _forwards(booking.pod)
        process.terminate()
        await process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert not _forwards(booking.pod)


def _forwards(pod: str) -> list[Path]:
    """The processes that forward a port of this pod."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            found += [folder] if b"port-forward" in words and f"pod/{pod}".encode() in words else []
    return found


async def test_a_name_that_is_not_there(booking: Stage) -> None:
    told = await booking.run("status", "bokking")
    assert (told.exit_code, told.output) == (
        2,
        f"error: there is no pipeline bokking in namespace {booking.namespace}: did you mean booking?\n",
    )
    assert (
        "there is no pipeline x in namespace default: there is none" in booking.ask("logs", "x", "-n", "default").output
    )


async def test_what_an_account_may_not_is_told(booking: Stage, tmp_path: Path) -> None:
    kubeconfig = await asyncio.to_thread(account, booking.cluster, booking.namespace, tmp_path)

    async def allowed(*rules: dict[str, Any]) -> None:
        await asyncio.to_thread(grant, booking.cluster, booking.namespace, *rules)

    async def told(*arguments: str, **variables: str) -> str:
        output = (await booking.run(*arguments, kubeconfig=kubeconfig, **variables)).output
        return " ".join(output.split())  # however it is wrapped

    assert "your account may not look at pipelines" in await told("status", "booking")
    await allowed(PIPELINES)
    await _until_may(booking, "get", "notificationpipelines.notifications.plannivo.io")
    without = await told("status", "booking")
    assert "LIVE your account may not list pods" in without
    await allowed(PIPELINES, PODS)
    await _until_may(booking, "list", "pods")
    assert "your account may not forward ports" in await told("status", "booking")
    assert "needs a bearer token, and your account may not read it" in await told("dead-letters", "booking")
    await allowed(PIPELINES, PODS, FORWARD)
    await _until_may(booking, "create", "pods", "--subresource=portforward")
    assert "answered 401" in await told("dead-letters", "booking", NOTIFICATION_API_TOKEN="another")
    await allowed(*documented())
    await _until_may(booking, "get", "secrets/api")
    assert await told("dead-letters", "booking") == "There are none."
    assert "circuit opened" in await told("logs", "booking")
    assert "1/1" in await told("top", "booking", "--interval", "0.2")


async def _until_may(booking: Stage, verb: str, *what: str) -> None:
    who = f"--as=system:serviceaccount:{booking.namespace}:operator"

    def may() -> bool:
        try:
            return bool(booking.cluster.run_kubectl("-n", booking.namespace, "auth", "can-i", verb, *what, who))
        except ClusterError:
            return False

    await asyncio.to_thread(eventually, may, f"the account may {verb} {what[0]}")
