"""No secret is found anywhere but in Secrets: not in objects, events, logs at debug level, metrics or alerts.

Every Secret that a pipeline can refer to holds a canary. The real operator and a real dispatcher go through rotations
and errors with them, and then everything is searched that people can read.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiohttp import web

from notification_dispatcher.metric_names import METRICS_PATH
from tests.cluster import Cluster, ClusterError
from tests.controller.canaries import Canaries
from tests.controller.pipelines import apply, condition, eventually, get, manifest
from tests.operator_process import OperatorProcess
from tests.pod import Pod

ADMISSION = "admissionregistration.k8s.io/v1"
CHANNELS = ("crm", "team", "mail", "pager")
JOBS = "/api/notifications"


class Hostile:
    """A destination that fails in every way, and repeats what it was called with."""

    def __init__(self) -> None:
        self.called = 0
        self.bodies: list[str] = []
        self.url = ""

    async def __aenter__(self) -> Hostile:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.called += 1
        self.bodies.append(await request.text())
        said = f"{request.url} {dict(request.headers)}"
        answers: list[Callable[[], web.Response]] = [
            lambda: web.Response(status=500, text=said),
            lambda: web.Response(status=302, headers={"Location": f"{request.url}/elsewhere"}, text=said),
            lambda: web.Response(status=403, text=said),
        ]
        return answers[self.called % len(answers)]()


@pytest_asyncio.fixture
async def hostile() -> AsyncIterator[Hostile]:
    async with Hostile() as running:
        yield running


class Values:
    """The Secrets' values, each with a canary of its own, new ones every time."""

    def __init__(self, canaries: Canaries, hostile: Hostile) -> None:
        self._new = canaries.new
        self._address = hostile.url.removeprefix("http://")

    def good(self) -> dict[str, str]:
        """As they should be."""
        key = base64.b64encode(self._new("signing key").encode()).decode()
        return {
            "alerts": f"http://{self._address}/services/{self._new('alert webhook')}",
            "fallback": f"http://{self._address}/services/{self._new('fallback webhook')}",
            "crm": f"http://{self._address}/hooks/{self._new('webhook URL')}",
            "crm-key": f"whsec_{key}",
            "team": f"http://{self._address}/services/{self._new('Slack channel')}",
            "mail": f"smtp://user:{self._new('SMTP password')}@127.0.0.1:1?starttls=never",
            "pager": f"json://user:{self._new('Apprise password')}@{self._address}/{self._new('Apprise path')}",
            "token": self._new("API token"),
            "database": f"postgresql://user:{self._new('database password')}@127.0.0.1:1/jobs",
            "ca": f"-----BEGIN CERTIFICATE-----\n{self._new('database CA')}\n-----END CERTIFICATE-----\n",
            "variable": self._new("environment variable"),
        }

    def malformed(self) -> dict[str, str]:
        """Nothing of which can be used."""
        whole = self.good()
        spoilt = {name: f"{value}\x01 [{self._new(f'malformed {name}')}" for name, value in whole.items()}
        return spoilt | {"crm-key": f"whsec_{self._new('malformed key')}!", "mail": self._new("malformed server")}


def spec() -> dict[str, Any]:
    """A pipeline that refers to all of them but the database's."""
    private = {"allowPrivateAddresses": True}
    webhook = {"urlSecretRef": ref("crm"), "signingSecretRef": ref("crm-key"), **private}
    mail = {"smtpURLSecretRef": ref("mail"), "from": "a@example.com", "to": ["b@example.com"], **private}
    slack = {"webhookSecretRef": ref("alerts"), "fallbackSecretRef": ref("fallback"), **private}
    return {
        "channels": [
            {"name": "crm", "webhook": webhook},
            {"name": "team", "slack": {"webhookSecretRef": ref("team"), **private}},
            {"name": "mail", "email": mail},
            {"name": "pager", "apprise": {"urlSecretRef": ref("pager"), **private}},
        ],
        "jobTypes": [{"name": name, "channels": [name]} for name in CHANNELS],
        "retry": {"maxAttempts": 2, "initialBackoff": "100ms", "maxBackoff": "100ms"},
        "alerts": {"slack": slack, "failureThreshold": 1},
        "api": {"authTokenSecretRef": ref("token")},
        "imagePullSecrets": [{"name": "registry"}],
        "env": [{"name": "OF_A_SECRET", "valueFrom": {"secretKeyRef": ref("variable")}}],
    }


def shared() -> dict[str, Any]:
    """One that refers to the database's."""
    database = {"dsnSecretRef": ref("database"), "tls": {"caSecretRef": ref("ca")}}
    return {"queue": {"engine": "PostgreSQL", "postgresql": database}, "autoscaling": {}}


def ref(name: str) -> dict[str, str]:
    return {"name": name, "key": "value"}


class Scene:
    """What the test does with the cluster."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def run(self, *words: str, stdin: Mapping[str, Any] | None = None) -> str:
        return self.cluster.run_kubectl(
            "-n", self.namespace, *words, stdin=None if stdin is None else json.dumps(stdin)
        )

    def put(self, values: Mapping[str, str], key: str = "value") -> None:
        """Make the Secrets, or change them. Not by `apply`, which would note them in an annotation."""
        for name, value in values.items():
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}}
            verb = "create" if get(self.cluster, self.namespace, f"secret/{name}") is None else "replace"
            self.run(verb, "-f", "-", stdin=body)

    def reason(self, name: str, kind: str) -> str:
        """Of one condition of a pipeline, once it is of the spec that is stored."""
        found = get(self.cluster, self.namespace, "npl", name) or {}
        return str(condition(found, kind).get("reason", ""))

    def until(self, name: str, kind: str, reason: str) -> None:
        """Wait until a condition has this reason."""
        eventually(lambda: self.reason(name, kind) == reason, f"{name}: {kind} is {reason}", 40)

    def copied(self, name: str, key: str, value: str) -> None:
        """Wait until a Secret of the dispatcher's holds this."""
        wanted = base64.b64encode(value.encode()).decode()

        def look() -> bool:
            found = get(self.cluster, self.namespace, f"secret/{name}")
            return found is not None and found.get("data", {}).get(key) == wanted

        eventually(look, f"{name} follows", 40)


@pytest.fixture
def scene(cluster: Cluster, namespace: str) -> Scene:
    return Scene(cluster, namespace)


@pytest.fixture
def talkative_admission(scene: Scene) -> Iterator[Callable[[], None]]:
    """Have every write of a Secret of the operator's refused, by words that repeat the Secret."""
    name = scene.namespace
    values = "object.data.map(key, object.data[key]).join(' ')"
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"]}]
    policy = {
        "matchConstraints": {"resourceRules": rules},
        "matchConditions": [{"name": "ours", "expression": "has(object.metadata.labels) && has(object.data)"}],
        "validations": [{"expression": "false", "messageExpression": f"'refused: ' + {values}"}],
    }
    place = {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}}
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": place}}
    parts = {"ValidatingAdmissionPolicy": policy, "ValidatingAdmissionPolicyBinding": binding}

    def begin() -> None:
        for kind, body in parts.items():
            scene.run(
                "create",
                "-f",
                "-",
                stdin={"apiVersion": ADMISSION, "kind": kind, "metadata": {"name": name}, "spec": body},
            )

    try:
        yield begin
    finally:
        for kind in parts:
            scene.run("delete", kind, name, "--ignore-not-found")


async def test_no_secret_is_found_anywhere_but_in_secrets(
    scene: Scene, hostile: Hostile, talkative_admission: Callable[[], None], tmp_path: Path
) -> None:
    canaries = Canaries()
    values = Values(canaries, hostile)
    log = tmp_path / "operator.log"
    texts: dict[str, str] = {}
    with OperatorProcess(scene.cluster, scene.namespace, log, level="debug") as operator:
        first = values.good()
        await asyncio.to_thread(begin, scene, first, canaries)
        pod = Pod(scene.cluster, scene.namespace, "booking", tmp_path / "pod", log_level="debug")
        await pod.start()
        try:
            await deliver(pod, first["token"], 1, texts)
            rotated = values.good()
            await asyncio.to_thread(rotate, scene, rotated)
            await deliver(pod, rotated["token"], 2, texts)
            await asyncio.to_thread(go_wrong, scene, values, talkative_admission)
            texts["the dispatcher's metrics"] = await fetched(pod.url + METRICS_PATH, rotated["token"])
            texts["the operator's metrics"] = await fetched(f"http://127.0.0.1:{operator.port}/metrics")
        finally:
            await pod.stop()
        texts["a dispatcher without its database"] = await asyncio.to_thread(homeless, scene, tmp_path / "shared")
        texts["the dispatcher's log"] = pod.log.read_text()
        texts |= await asyncio.to_thread(objects, scene)
    texts["the operator's log"] = log.read_text()
    assert hostile.called > 0
    texts["what was sent"] = "\n".join(hostile.bodies)
    assert all(texts.values()), [place for place, text in texts.items() if not text]
    assert len(canaries.known) > 30
    assert canaries.found(texts) == []


def begin(scene: Scene, first: Mapping[str, str], canaries: Canaries) -> None:
    """Both pipelines, first without a Secret, then with wrong keys, then as they should be."""
    password = canaries.new("registry password")
    registry = (
        "create",
        "secret",
        "docker-registry",
        "registry",
        "--docker-server=r.example.com",
        "--docker-username=u",
    )
    scene.run(*registry, f"--docker-password={password}")
    apply(scene.cluster, scene.namespace, manifest("booking", **spec()))
    apply(scene.cluster, scene.namespace, manifest("shared", **shared()))
    scene.until("booking", "ApiSecured", "SecretNotFound")
    scene.until("shared", "QueueConfigured", "SecretNotFound")
    scene.put(first, key="other")
    scene.until("booking", "ChannelsConfigured", "SecretKeyMissing")
    scene.put(first)
    scene.until("booking", "ChannelsConfigured", "Configured")
    scene.copied("booking-slack-alerts", "SLACK_ALERT_WEBHOOK_URL", first["alerts"])


def rotate(scene: Scene, rotated: Mapping[str, str]) -> None:
    scene.put(rotated)
    scene.copied("booking-slack-alerts", "SLACK_ALERT_WEBHOOK_URL", rotated["alerts"])
    scene.copied("booking-credentials", "NOTIFICATION_API_TOKEN", rotated["token"])


def go_wrong(scene: Scene, values: Values, admission: Callable[[], None]) -> None:
    """Values that cannot be used, then an API server that refuses the good ones and repeats them."""
    scene.put(values.malformed())
    scene.until("booking", "ChannelsConfigured", "SecretInvalid")
    admission()

    def refused() -> bool:
        # Until the API server has taken the policy in, it lets them pass. Only writes of the operator's are refused.
        try:
            scene.put(values.good())
        except ClusterError as error:
            return "refused:" in str(error)
        return scene.reason("booking", "ResourcesApplied") == "ApplyFailed"

    eventually(refused, "the writes are refused", 60)
    scene.until("booking", "ResourcesApplied", "ApplyFailed")


async def deliver(pod: Pod, token: str, rounds: int, texts: dict[str, str]) -> None:
    """Send a job through each channel, until all that were ever sent have failed for good; strangers are refused."""
    async with httpx.AsyncClient(base_url=pod.url, trust_env=False) as client:
        refused = await client.get(JOBS, headers={"Authorization": f"Bearer {token}x"})
        assert refused.status_code == HTTPStatus.UNAUTHORIZED
        client.headers["Authorization"] = f"Bearer {token}"
        await _until(client, JOBS, lambda found: found.is_success)
        items = [{"type": name, "id": f"{name}-{rounds}", "payload": {"name": name}} for name in CHANNELS]
        taken = await client.post(JOBS, json={"notifications": items})
        assert taken.is_success, taken.text
        wanted = rounds * len(CHANNELS)
        dead = await _until(client, JOBS, lambda found: len(found.json()["notifications"]) == wanted)
        alert = await client.post("/api/alerts/test")
    texts |= {"an answer to a stranger": refused.text, "dead letters": dead.text, "a test alert": alert.text}


async def _until(client: httpx.AsyncClient, path: str, right: Callable[[httpx.Response], bool]) -> httpx.Response:
    async with asyncio.timeout(60):
        while not right(answer := await client.get(path)):  # noqa: ASYNC110  another process
            await asyncio.sleep(0.1)
    return answer


async def fetched(url: str, token: str = "") -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    assert answer.is_success
    return answer.text


def homeless(scene: Scene, folder: Path) -> str:
    """A dispatcher that can't reach its database: what it says of it."""
    pod = Pod(scene.cluster, scene.namespace, "shared", folder, log_level="debug")

    async def attempt() -> None:
        try:
            await pod.start()
        except ClusterError:
            return
        await pod.stop()

    asyncio.run(attempt())
    return pod.log.read_text()


def objects(scene: Scene) -> dict[str, str]:
    """Every object of the cluster as JSON, by the name of its API; of Secrets all but what they hold."""
    listed = scene.run("api-resources", "--verbs=list", "-o", "name").split()
    kinds = [name for name in listed if name != "secrets"]
    found = {name: scene.run("get", name, "-A", "-o", "json", "--show-managed-fields") for name in kinds}
    hidden = json.loads(scene.run("get", "secrets", "-A", "-o", "json", "--show-managed-fields"))["items"]
    found["secrets"] = json.dumps([{key: part for key, part in one.items() if key != "data"} for one in hidden])
    return found


def test_the_search_finds_what_leaked(scene: Scene) -> None:
    canaries = Canaries()
    whole, encoded, part = (canaries.new(form) for form in ("whole", "encoded", "part"))
    note = base64.b64encode(f"x{encoded}".encode()).decode()
    data = {"whole": f"https://hooks.example.com/{whole}", "part": f"…{part[5:18]}…"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "leak", "annotations": {"note": note}}}
    scene.run("create", "-f", "-", stdin={**config, "data": data})
    found = canaries.found(objects(scene))
    assert sorted(found) == sorted(f"{purpose} in configmaps" for purpose in canaries.known)
    assert Canaries({"other": "q" * 24}).found(objects(scene)) == []


@pytest.mark.parametrize("before", ["", "x", "xy", "user:"])
def test_every_form_of_a_canary_is_found(before: str) -> None:
    canaries = Canaries()
    secret = canaries.new("a secret")
    text = f"{before}{secret}@host".encode()
    forms = [text.decode(), text.hex(), base64.b64encode(text).decode(), base64.urlsafe_b64encode(text).decode()]
    for form in forms:
        assert canaries.found({"a log": f"… {form[4:-6]} …"}) == ["a secret #0 in a log"]
