"""`dev`: the real dispatcher on this machine, fed from a pipeline's file, with receivers that really take jobs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from notification_dispatcher.metric_names import THRESHOLD, Threshold
from notification_operator.__main__ import main
from tests.controller.pipelines import manifest
from tests.metrics import Scrape
from tests.pod import free_port
from tests.receivers import Receivers

COMMAND = str(Path(sys.executable).with_name("notification-operator"))
SECONDS = 20.0
CANARY = "sUp3rS3cr3tCanary"


class DevProcess:
    """`notification-operator dev` in a session of its own, as under a terminal."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self.file = folder / "booking.yaml"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.log = folder / "dev.log"
        self._command = [COMMAND, "dev", "-f", str(self.file), *options]
        self._environment = {"PATH": os.environ["PATH"], "TMPDIR": str(self.temporary), **environment}
        self._process: asyncio.subprocess.Process | None = None

    def write(self, pipeline: Mapping[str, Any]) -> None:
        """Write the file as an editor does: another one in its place."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(dict(pipeline)))
        fresh.replace(self.file)

    async def start(self) -> None:
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    async def said(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until it has said this so many times. Returns the last of them."""
        async with asyncio.timeout(SECONDS):
            while (found := _nth(pattern, self.log.read_text(), times)) is None:  # noqa: ASYNC110  another process
                await asyncio.sleep(0.02)
        return found

    async def url(self, times: int = 1) -> str:
        """Where it listens, once it does."""
        return (await self.said(r"booking listens on (http://[0-9.:]+)", times))[1]

    def child(self) -> int:
        """The dispatcher's pid."""
        assert self._process is not None
        pid = self._process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends it to all of the group."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGINT)

    async def end(self) -> int:
        """Wait for its end. Returns the exit code."""
        assert self._process is not None
        async with asyncio.timeout(SECONDS):
            return await self._process.wait()

    async def kill(self) -> None:
        """Leave no process behind, whatever happened."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()


def _nth(pattern: str, text: str, times: int) -> re.Match[str] | None:
    found = list(re.finditer(pattern, text))
    return found[times - 1] if len(found) >= times else None


@asynccontextmanager
async def running(
    folder: Path, pipeline: Mapping[str, Any], *options: str, **environment: str
) -> AsyncIterator[DevProcess]:
    made = DevProcess(folder, "--port", "0", *options, **environment)
    made.write(pipeline)
    await made.start()
    try:
        yield made
    except TimeoutError as error:
        raise AssertionError(made.log.read_text()) from error
    finally:
        await made.kill()


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    async with Receivers() as made:
        yield made


def pipeline(**spec: Any) -> dict[str, Any]:
    """One whose channel's URL is a Secret, and whose receivers are on this machine."""
    webhook = {"urlSecretRef": {"name": "receivers", "key": "crm"}, "allowPrivateAddresses": True}
    return manifest(channels=[{"name": "crm", "webhook": webhook}], **spec)


def secrets(receivers: Receivers) -> str:
    slack = {"kind": "Secret", "metadata": {"name": "slack"}, "stringData": {"url": receivers.slack_url("alerts")}}
    crm = {"kind": "Secret", "metadata": {"name": "receivers"}, "stringData": {"crm": receivers.url("crm")}}
    return yaml.safe_dump_all([slack, crm])


async def curl(said: str) -> str:
    """Run a command that was printed."""
    process = await asyncio.create_subprocess_shell(f"{said} --noproxy '*' -s", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def threshold(url: str) -> float:
    return (await Scrape.of(url)).total(THRESHOLD, threshold=Threshold.FAILURE)


async def until_threshold(url: str, value: float) -> None:
    async with asyncio.timeout(SECONDS):
        while await threshold(url) != value:  # noqa: ASYNC110  another process takes it up
            await asyncio.sleep(0.05)


async def delivered(receivers: Receivers, count: int) -> None:
    async with asyncio.timeout(SECONDS):
        while receivers.delivered.total() < count:  # noqa: ASYNC110  another process delivers
            await asyncio.sleep(0.02)


async def test_a_job_is_delivered_an_edit_is_in_force_and_ctrl_c_leaves_nothing(
    tmp_path: Path, receivers: Receivers
) -> None:
    given = tmp_path / "secrets.yaml"
    given.write_text(secrets(receivers))
    async with running(tmp_path, pipeline(), "--secrets-from", str(given)) as dev:
        url = await dev.url()
        answer = json.loads(await curl((await dev.said(r"  (curl .*-d '.*')"))[1]))
        assert [one["status"] for one in answer["results"]] == ["queued"]
        await delivered(receivers, 1)
        assert "plannivo_notification_queue_depth" in await curl((await dev.said(r"  (curl -s .*)"))[1])

        child = dev.child()
        assert await threshold(url) == 20
        dev.write(pipeline(alerts={"failureThreshold": 7}))
        await until_threshold(url, 7)
        await dev.said("in force within two seconds, without a restart")

        dev.write(pipeline(alerts={"failureThreshold": 0}))
        await dev.said(r"booking.yaml, document 1, booking: spec.alerts.failureThreshold: must be at least 1")
        await dev.said("The settings before this edit stay in force")
        dev.write(pipeline(alerts={"failureThreshold": 8}))
        await until_threshold(url, 8)
        assert dev.child() == child

        assert len(list(dev.temporary.iterdir())) == 1
        dev.interrupt()
        assert await dev.end() == 0
        assert list(dev.temporary.iterdir()) == []
        assert not Path(f"/proc/{child}").exists()
        assert "action=stopped" in dev.log.read_text()
        assert Receivers.SLACK_TOKEN not in dev.log.read_text()


async def test_what_replaces_pods_in_a_cluster_starts_it_again_and_the_queue_stays(
    tmp_path: Path, receivers: Receivers
) -> None:
    async with running(tmp_path, pipeline(), "--secret", f"receivers/crm={receivers.url('nowhere')}") as dev:
        await dev.url()
        answer = json.loads(await curl((await dev.said(r"  (curl .*-d '.*')"))[1]))
        assert answer["results"][0]["status"] == "queued"
        child = dev.child()
        dev.write(pipeline(monitoring={"metricsPrefix": "school_"}))
        await dev.said("This edit replaces the pods in a cluster: the dispatcher is started again")
        url = await dev.url(times=2)
        assert dev.child() != child
        metrics = (await curl(f"curl {url}/api/metrics/prometheus")).splitlines()
        assert any(line.startswith("school_notification_queue_depth") for line in metrics)
        listed = json.loads(await curl(f"curl {url}/api/notifications/{answer['results'][0]['id']}"))
        assert listed["type"] == "booking-created"

        child = dev.child()
        dev.write(pipeline(monitoring={"metricsPrefix": "school_"}, imagePullPolicy="Always"))
        await dev.said("replaces the pods in a cluster, and changes nothing here")
        assert dev.child() == child
        dev.interrupt()
        assert await dev.end() == 0


async def test_a_secret_that_is_missing_is_named_with_the_flag_and_taken_up_when_it_comes(
    tmp_path: Path, receivers: Receivers
) -> None:
    given = tmp_path / "secrets.yaml"
    given.write_text("kind: Secret\nmetadata: {name: other}\n")
    environment = {"NOTIFICATION_OPERATOR_SECRET_SLACK_URL": receivers.slack_url("alerts")}
    async with running(tmp_path, pipeline(), "--secrets-from", str(given), **environment) as dev:
        await dev.url()
        said = dev.log.read_text()
        assert "spec.channels[crm].urlSecretRef: the key crm of the Secret receivers is not known here" in said
        assert "--secret receivers/crm=…" in said
        assert "NOTIFICATION_OPERATOR_SECRET_RECEIVERS_CRM" in said
        assert "alerts.slack" not in said
        await dev.said("slack_alerts=True")

        given.write_text(secrets(receivers))
        await dev.said("in force within two seconds, without a restart")
        await dev.said("action=reload_applied")
        await curl((await dev.said(r"  (curl .*-d '.*')"))[1])
        await delivered(receivers, 1)


async def test_a_token_is_used_and_never_shown(tmp_path: Path, receivers: Receivers) -> None:
    wanted = pipeline(api={"authTokenSecretRef": {"name": "api", "key": "token"}})
    async with running(tmp_path, wanted, NOTIFICATION_OPERATOR_SECRET_API_TOKEN=CANARY) as dev:
        url = await dev.url()
        assert "401" in await curl(f"curl -o /dev/null -w '%{{http_code}}' {url}/api/notifications/b-1")
        answer = json.loads(await curl((await dev.said(r"  (curl .*-d '.*')"))[1]))
        assert answer["results"][0]["status"] == "queued"
        assert CANARY not in dev.log.read_text()
        folder = next(dev.temporary.iterdir())
        assert folder.stat().st_mode & 0o077 == 0


async def test_a_dispatcher_that_ends_by_itself_is_told_and_its_code_passed_on(tmp_path: Path) -> None:
    async with running(tmp_path, pipeline()) as dev:
        await dev.url()
        os.kill(dev.child(), signal.SIGKILL)
        assert await dev.end() == 128 + signal.SIGKILL
        await dev.said("The dispatcher ended by itself with exit code -9")
        assert list(dev.temporary.iterdir()) == []


async def test_a_port_that_is_taken_ends_it(tmp_path: Path, receivers: Receivers) -> None:
    taken = receivers.url("").rsplit(":", 1)[1].strip("/")
    async with running(tmp_path, pipeline(), "--port", taken) as dev:
        assert await dev.end() == 2
        await dev.said(f"127.0.0.1, NOTIFICATION_PORT {taken}: cannot listen there")


async def test_the_pipelines_own_port_and_a_folder_for_the_queue(tmp_path: Path) -> None:
    port, data = free_port(), tmp_path / "kept" / "data"
    dev = DevProcess(tmp_path, "--data", str(data), NOTIFICATION_PORT="1", SLACK_ALERT_WEBHOOK_URL="https://else.where")
    dev.write(pipeline(api={"port": port}))
    await dev.start()
    try:
        assert await dev.url() == f"http://127.0.0.1:{port}"
        # Nobody's variables but its own are settings of this dispatcher.
        await dev.said("slack_alerts=False")
        await curl((await dev.said(r"  (curl .*-d '.*')"))[1])
        dev.interrupt()
        assert await dev.end() == 0
    finally:
        await dev.kill()
    assert sqlite3.connect(data / "queue.db").execute("select count(*) from sqlite_master").fetchone()[0] > 0
    assert list(dev.temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "text", "said"),
    [
        ((), json.dumps(manifest(image=5)), "spec.image: must be text"),
        ((), f"{json.dumps(manifest('a'))}\n---\n{json.dumps(manifest('b'))}", "choose one: --name a or b"),
        (("--name", "c"), json.dumps(manifest("a")), "has no pipeline c: there is a."),
        (("--secret", f"slack-{CANARY}"), json.dumps(manifest()), "--secret must be NAME/KEY=VALUE"),
    ],
    ids=["invalid", "several", "another", "flag"],
)
def test_what_cannot_run_is_said(tmp_path: Path, options: tuple[str, ...], text: str, said: str) -> None:
    (tmp_path / "booking.yaml").write_text(text)
    answer = CliRunner().invoke(main, ["dev", "-f", str(tmp_path / "booking.yaml"), *options])
    assert answer.exit_code == 1
    assert said in answer.stderr
    assert CANARY not in answer.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"kind: Secret\nmetadata: {{name: slack}}\ndata: {{url: {CANARY}!}}\n", "Secret slack: data.url is wrong"),
        (f"kind: Secret\nmetadata: {{name: slack}}\nstringData: [{CANARY}]\n", "stringData must be a mapping"),
        (f"url: [{CANARY}", "line 1, column 24: expected ',' or ']', but got '<stream end>'"),
        (f"url: *{CANARY}", "line 1, column 6: found undefined alias …"),
        (f"url: !{CANARY}", "line 1, column 6: a tag that has no meaning here"),
    ],
)
def test_a_secrets_file_that_is_wrong_is_told_without_its_values(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "booking.yaml").write_text(json.dumps(manifest()))
    (tmp_path / "secrets.yaml").write_text(text)
    files = ["-f", str(tmp_path / "booking.yaml"), "--secrets-from", str(tmp_path / "secrets.yaml")]
    answer = CliRunner().invoke(main, ["dev", *files])
    assert answer.exit_code == 1
    assert said in answer.stderr
    assert CANARY not in answer.output
