"""The demo's steps, in the order in which a person would take them. Each shows something and checks it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import click
import httpx

from notification_dispatcher import metric_names
from tests.demo import load
from tests.demo.narrator import CheckFailedError, Narrator, require
from tests.demo.stage import PIPELINE, ROOT, Stage
from tests.metrics import Scrape

CHILDREN = (
    "serviceaccount/booking",
    "configmap/booking-config",
    "secret/booking-slack-alerts",
    "secret/booking-credentials",
    "service/booking",
    "deployment/booking",
    "servicemonitor/booking",
    "prometheusrule/booking",
    "configmap/booking-dashboard",
)
SECONDS = 60.0


class Story:
    """The steps, on a stage."""

    def __init__(self, stage: Stage, narrator: Narrator) -> None:
        self._stage = stage
        self._narrator = narrator
        self._load = load.make()

    async def tell(self) -> None:
        """Every step."""
        for title, step in (
            ("make the Secrets that the pipeline refers to", self._make_secrets),
            ("apply a NotificationPipeline", self._apply),
            ("run the dispatcher as the Deployment says", self._run_dispatcher),
            ("send notifications", self._send),
            ("read the metrics", self._read_metrics),
            ("look at the Slack alert", self._look_at_alert),
            ("change a threshold without a restart", self._change_threshold),
            ("repair what a hand breaks", self._break_a_child),
            ("look for the Slack URL where it must not be", self._look_for_secret),
        ):
            with self._narrator.step(title):
                await step()

    def invite(self) -> None:
        """What to try next, for a person at a terminal."""
        assert self._stage.pod is not None
        kubectl, kubeconfig = self._stage.cluster.kubectl, self._stage.cluster.kubeconfig
        url = self._stage.pod.url
        body = '{"notifications": [{"type": "booking-created", "payload": {"student": "Ada"}}]}'
        click.echo("\nIt stays up until Ctrl-C. In another terminal:")
        for command in (
            f"export KUBECONFIG={kubeconfig} && alias k='{kubectl} -n plannivo-demo'",
            "k get npl,deploy,svc,cm,servicemonitor,prometheusrule",
            "k describe npl booking",
            "k explain npl.spec.alerts",
            """k patch npl booking --type merge -p '{"spec":{"alerts":{"backlogThreshold":100}}}'""",
            f"curl -s {url}/api/metrics/prometheus | grep plannivo_notification",
            f"curl -s -H 'Content-Type: application/json' -d '{body}' {url}/api/notifications",
            f"tail -f {self._stage.pod.log}",
        ):
            self._narrator.typed(command)

    async def _make_secrets(self) -> None:
        receivers = self._stage.receivers
        secrets = {
            "slack": {"alerts": receivers.slack_url("alerts"), "team": receivers.slack_url("team")},
            "booking-receivers": {"crm": receivers.url("crm"), "ratings": receivers.url("ratings")},
        }
        for name, values in secrets.items():
            shown = " ".join(f"--from-literal={key}=…" for key in values)
            self._narrator.typed(f"kubectl create secret generic {name} {shown}")
            literals = [f"--from-literal={key}={value}" for key, value in values.items()]
            await self._stage.kubectl("create", "secret", "generic", name, *literals)

    async def _apply(self) -> None:
        self._narrator.typed("kubectl apply -f deploy/samples/booking.yaml")
        await self._stage.kubectl("apply", "-f", str(ROOT / "deploy" / "samples" / "booking.yaml"))
        started = time.monotonic()
        await self._stage.kubectl("wait", "--for=condition=Ready", f"npl/{PIPELINE}", f"--timeout={SECONDS:.0f}s")
        self._narrator.checked(f"Ready {time.monotonic() - started:.1f} s after it was applied")
        self._narrator.typed("kubectl get npl,serviceaccount,service,deployment,configmap,secret,…")
        found = await self._stage.kubectl("get", "npl/booking", *CHILDREN)
        self._narrator.shown(found)
        pipeline = await self._pipeline()
        applied = {f"{child['kind'].lower()}/{child['name']}" for child in pipeline["status"]["children"]}
        require(applied == set(CHILDREN), f"the status lists {len(CHILDREN)} children", sorted(applied))
        self._narrator.checked(f"{len(CHILDREN)} children; its conditions:")
        for condition in pipeline["status"]["conditions"]:
            words = (condition["type"], condition["status"], condition["reason"], condition["message"])
            self._narrator.shown("{:<20} {:<8} {:<20} {}".format(*words))

    async def _run_dispatcher(self) -> None:
        pod = await self._stage.start_dispatcher()
        self._narrator.checked(f"ready at {pod.url}, process {pod.pid}: command, environment and mounts of the pod")
        scrape = await Scrape.of(pod.url)
        for result in metric_names.Result:
            total = scrape.total(metric_names.JOBS_TOTAL, result=result.value)
            require(total == 0, f"jobs_total{{result={result.value}}} starts at 0", total)
        self._narrator.checked("every counter is there, at 0")

    async def _send(self) -> None:
        assert self._stage.pod is not None
        self._narrator.typed(f"curl -d @batch.json {self._stage.pod.url}/api/notifications   # {load.BATCH} at a time")
        answers: Counter[str] = Counter()
        started = time.monotonic()
        async with httpx.AsyncClient(base_url=self._stage.pod.url, trust_env=False) as client:
            for batch in self._load.batches:
                answer = await client.post("/api/notifications", json={"notifications": batch})
                require(answer.status_code == 202, "a batch is accepted with 202", answer.text[:500])
                answers.update(result["status"] for result in answer.json()["results"])
        sent, seconds = len(self._load.notifications), time.monotonic() - started
        self._narrator.checked(f"{sent} sent in {seconds:.1f} s: {dict(answers)}")
        expected = {"queued": self._load.queued.total(), "deduplicated": load.TWICE, "dropped": load.INVALID}
        require(answers == expected, f"each item is answered: {expected}", dict(answers))

    async def _read_metrics(self) -> None:
        assert self._stage.pod is not None
        url = self._stage.pod.url

        async def drained() -> bool:
            scrape = await Scrape.of(url)
            names = (metric_names.QUEUE_DEPTH, metric_names.ACTIVE_JOBS)
            return sum(scrape.total(name) for name in names) == 0

        await _eventually(drained, "the queue drains")
        scrape = await Scrape.of(url)
        self._narrator.typed(f"curl {url}{metric_names.METRICS_PATH}")
        results = {result: int(scrape.total(metric_names.JOBS_TOTAL, result=result)) for result in metric_names.Result}
        expected = {
            metric_names.Result.QUEUED: self._load.queued.total(),
            metric_names.Result.PROCESSED: self._load.processed,
            metric_names.Result.FAILED: self._load.failed,
            metric_names.Result.DEDUPLICATED: load.TWICE,
            metric_names.Result.DROPPED: load.INVALID,
        }
        wanted = tuple(f"{metric_names.DEFAULT_PREFIX}{name}" for name in _SHOWN)
        lines = (line for line in scrape.text.splitlines() if line.startswith(wanted))
        self._narrator.shown("\n".join(line for line in lines if "{" not in line or not line.endswith(" 0.0")))
        self._narrator.shown("… and every other combination of labels, at 0")
        require(results == expected, f"the counters agree with what was sent: {expected}", results)
        arrived = self._stage.receivers.delivered
        require(
            len(arrived) == self._load.processed, f"the CRM took {self._load.processed} notifications", len(arrived)
        )
        require(set(arrived.values()) == {1}, "the CRM took each of them once", arrived.most_common(3))
        self._narrator.checked("queued = processed + failed, and the CRM took what was processed, each once")

    async def _look_at_alert(self) -> None:
        try:
            alert = await self._stage.receivers.alert("Failure spike", SECONDS)
        except TimeoutError:
            raise CheckFailedError("no Failure Spike reached Slack") from None
        self._narrator.shown(_plain(alert))
        require("queue depth" in json.dumps(alert).lower(), "the alert carries the queue depth", alert["text"])
        self._narrator.checked("it arrived at Slack, with the queue depth and an example job")

    async def _change_threshold(self) -> None:
        pod = self._stage.pod
        assert pod is not None
        before = pod.pid
        patch = json.dumps({"spec": {"alerts": {"failureThreshold": 7}}})
        self._narrator.typed(f"kubectl patch npl {PIPELINE} --type merge -p '{patch}'")
        started = time.monotonic()
        await self._stage.kubectl("patch", "npl", PIPELINE, "--type", "merge", "-p", patch)

        async def in_force() -> bool:
            scrape = await Scrape.of(pod.url)
            return scrape.total(metric_names.THRESHOLD, threshold=metric_names.Threshold.FAILURE.value) == 7

        await _eventually(in_force, "the dispatcher reports the new threshold")
        require(pod.pid == before, "the same process goes on", pod.pid)
        self._narrator.checked(f"in force after {time.monotonic() - started:.1f} s, in the same process {before}")

    async def _break_a_child(self) -> None:
        self._narrator.typed("kubectl delete service booking")
        await self._stage.kubectl("delete", "service", "booking", "--wait=false")
        self._narrator.typed("""kubectl patch configmap booking-config -p '{"data": {"NOTIFICATION_…": "1"}}'""")
        edit = json.dumps({"data": {"NOTIFICATION_ALERT_FAILURE_THRESHOLD": "1"}})
        await self._stage.kubectl("patch", "configmap", "booking-config", "-p", edit)
        started = time.monotonic()

        async def repaired() -> bool:
            found = await self._stage.kubectl("get", "service/booking", "--ignore-not-found", "-o", "name")
            path = "jsonpath={.data.NOTIFICATION_ALERT_FAILURE_THRESHOLD}"
            value = await self._stage.kubectl("get", "configmap", "booking-config", "-o", path)
            return bool(found) and value == "7"

        await _eventually(repaired, "the Service and the setting are back")
        seconds = time.monotonic() - started
        require(seconds < 5, "both are back within 5 s", f"{seconds:.1f} s")
        self._narrator.checked(f"both are back after {seconds:.1f} s")

    async def _look_for_secret(self) -> None:
        assert self._stage.pod is not None
        canary = self._stage.receivers.SLACK_TOKEN
        objects = await self._stage.kubectl("get", f"npl,events,{_KINDS}", "-o", "yaml", "--show-managed-fields")
        scrape = await Scrape.of(self._stage.pod.url)
        places = {
            "the operator's log": self._stage.operator_log.read_text(),
            "the dispatcher's log": self._stage.pod.log.read_text(),
            "an object or event": objects,
            "the metrics": scrape.text,
        }
        for place, text in places.items():
            require(bool(text) and canary not in text, f"{place} is without the Slack URL", "it is there")
        self._narrator.checked(f"not in {', '.join(places)} ({sum(map(len, places.values())) // 1024} KiB searched)")

    async def _pipeline(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self._stage.kubectl("get", "npl", PIPELINE, "-o", "json"))
        return found


_KINDS = "serviceaccounts,configmaps,services,deployments,replicasets,pods,servicemonitors,prometheusrules"

_SHOWN = (
    metric_names.QUEUE_DEPTH,
    metric_names.ACTIVE_JOBS,
    metric_names.JOBS_TOTAL,
    metric_names.JOBS_DROPPED_TOTAL,
    f"{metric_names.JOB_WAIT_DURATION_MS}_count",
    f"{metric_names.JOB_DURATION_MS}_count",
    f'{metric_names.JOB_FAILURES_TOTAL}{{job_type="instructor-rated"',
)


async def _eventually(condition: Callable[[], Awaitable[bool]], expectation: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not await condition():
        if time.monotonic() > deadline:
            raise CheckFailedError(f"{expectation} within {SECONDS:.0f} s; it did not")
        await asyncio.sleep(0.1)


def _plain(message: dict[str, Any]) -> str:
    """A Slack message as plain lines."""
    lines = [message["text"]]
    for attachment in message.get("attachments", ()):
        for block in attachment.get("blocks", ()):
            texts = [block.get("text"), *block.get("fields", ()), *block.get("elements", ())]
            lines += [
                f"  {text['text']}" for text in texts if isinstance(text, dict) and isinstance(text.get("text"), str)
            ]
    return "\n".join(lines)
