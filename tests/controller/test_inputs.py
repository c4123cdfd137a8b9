"""What a pipeline's Secrets may hold: what the dispatcher would refuse goes no further than the operator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from notification_operator import inputs, naming
from notification_operator.cluster import Cluster
from notification_operator.credentials import Credentials, Identity
from notification_operator.errors import ForbiddenError
from notification_operator.fence import Fence
from notification_operator.inputs import Copies
from notification_operator.metrics import OperatorMetrics
from notification_operator.pipeline import Pipeline
from notification_operator.resources import desired, secrets
from notification_operator.resources.base import Context
from notification_operator.source_secrets import Reading, SourceSecrets
from notification_operator.status import ConditionType, Reason
from notification_operator.workqueue import Key
from tests.controller.acceptance.verdicts import full_context
from tests.controller.pipelines import parsed

CANARY = "canary-7f3a"


class Given(SourceSecrets):
    """Secrets of which each key holds the same; None: they may not be read."""

    def __init__(self, value: bytes | None) -> None:
        metrics = OperatorMetrics(CollectorRegistry())
        cluster = Cluster(Credentials(Identity("http://127.0.0.1:1")), metrics, Fence(lambda: 0.0))
        super().__init__(asyncio.TaskGroup(), cluster, metrics, lambda _: None)
        self._value = value

    def need(self, reader: Key, names: set[str]) -> None:
        """They are there."""

    async def read(self, namespace: str, name: str) -> Reading:  # noqa: ARG002  as it is declared
        if self._value is None:
            raise ForbiddenError("403 Forbidden", status=403)
        return Reading({"key": self._value})


async def no_copy(_: str) -> Mapping[str, Any]:
    return {}


def copies(pipeline: Pipeline, context: Context) -> Copies:
    """What the dispatchers have after a reconciliation with this context."""
    made = {one["metadata"]["name"]: one for one in desired(pipeline, context) if one["kind"] == "Secret"}

    async def copy(name: str) -> Mapping[str, Any]:
        return made.get(name, {})

    return copy


REF = {"name": "given", "key": "key"}


def channel(kind: str, field: str, **more: Any) -> dict[str, Any]:
    return {"channels": [{"name": "out", kind: {field: REF, **more}}]}


SIGNED = channel("webhook", "signingSecretRef", url="https://example.com")
MAILED = channel("email", "smtpURLSecretRef", **{"from": "a@example.com", "to": ["b@example.com"]})


def database(ref: dict[str, Any]) -> dict[str, Any]:
    return {"queue": {"engine": "PostgreSQL", "postgresql": {"dsnSecretRef": ref}}}


@pytest.mark.parametrize(
    ("spec", "condition", "good", "bad"),
    [
        ({"alerts": {"slack": {"webhookSecretRef": REF}}}, "AlertingConfigured", "https://x/1", f"ftp://{CANARY}"),
        ({"api": {"authTokenSecretRef": REF}}, "ApiSecured", "a-token-of-32", f"{CANARY} "),
        ({"api": {"authTokenSecretRef": REF}}, "ApiSecured", "a-token-of-32", "short"),
        (database(REF), "QueueConfigured", "postgresql://u:p@db/jobs", f"host=db password={CANARY}"),
        (channel("webhook", "urlSecretRef"), "ChannelsConfigured", "https://x/1", f"https://user:{CANARY}@x/1"),
        (SIGNED, "ChannelsConfigured", "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", CANARY),
        (channel("slack", "webhookSecretRef"), "ChannelsConfigured", "https://x/1", f"https:/{CANARY}"),
        (MAILED, "ChannelsConfigured", "smtps://u:p@mail.example.com", f"smtps://mail/{CANARY}"),
        (channel("apprise", "urlSecretRef"), "ChannelsConfigured", "tgram://1/2", CANARY),
    ],
)
async def test_what_the_dispatcher_would_refuse_is_named_and_kept_back(
    spec: dict[str, Any], condition: str, good: str, bad: str
) -> None:
    pipeline = parsed(**{"alerts": {}, **spec})
    taken = await inputs.gather(Given(f"{good}\n".encode()), pipeline, no_copy)
    held = taken.context("image:1")
    assert [*held.slack_alerts.values(), *held.credentials.values()] == [f"{good}\n".encode()]
    assert all(
        one.reason in {Reason.CONFIGURED, Reason.DISABLED}
        for one in taken.conditions(pipeline, held, rules_absent=False)
    )

    for value in (bad.encode(), b"\xff\xfe"):
        refused = await inputs.gather(Given(value), pipeline, no_copy)
        held = refused.context("image:1")
        assert not held.slack_alerts
        assert not held.credentials
        found = {one.type: one for one in refused.conditions(pipeline, held, rules_absent=False)}[
            ConditionType(condition)
        ]
        assert (found.status, found.reason) == ("False", Reason.SECRET_INVALID)
        assert "the key key of the Secret given must be " in found.message
        assert bad.strip() not in found.message
        assert CANARY not in found.message


async def test_what_may_not_be_read_stays_as_the_dispatchers_have_it() -> None:
    slack = {"webhookSecretRef": REF, "fallbackSecretRef": REF}
    pipeline = parsed(alerts={"slack": slack}, api={"authTokenSecretRef": REF}, **SIGNED)
    had = Context(
        "image:1",
        slack_alerts={"SLACK_ALERT_WEBHOOK_URL": b"https://x/1", "OF_ANOTHER_SPEC": b"x"},
        credentials={"NOTIFICATION_API_TOKEN": b"a-token-of-32"},
    )
    found = await inputs.gather(Given(None), pipeline, copies(pipeline, had))
    context = found.context("image:1")
    assert context.slack_alerts == {"SLACK_ALERT_WEBHOOK_URL": b"https://x/1"}
    assert context.credentials == {"NOTIFICATION_API_TOKEN": b"a-token-of-32"}
    conditions = {one.type: one for one in found.conditions(pipeline, context, rules_absent=False)}
    said = {kind.value: one for kind, one in conditions.items() if one.reason is Reason.SECRET_FORBIDDEN}
    assert set(said) == {"AlertingConfigured", "ApiSecured", "ChannelsConfigured"}
    assert said["ApiSecured"].message.endswith("The dispatchers keep what they have of it.")
    assert "keep what they have" not in said["ChannelsConfigured"].message
    assert said["AlertingConfigured"].message.count("keep what they have") == 1


@pytest.mark.parametrize(
    "now", [{**REF, "name": "next"}, {**REF, "key": "next"}], ids=["another Secret", "another key of the same"]
)
async def test_what_may_have_been_revoked_is_taken_from_the_dispatchers(now: dict[str, Any]) -> None:
    def spec(ref: dict[str, Any]) -> Pipeline:
        channels = [{"name": "out", "slack": {"webhookSecretRef": ref}}]
        slack = {"webhookSecretRef": ref}
        return parsed(channels=channels, alerts={"slack": slack}, api={"authTokenSecretRef": ref}, **database(ref))

    before = spec(REF)
    had = full_context(before)
    assert (await inputs.gather(Given(None), before, copies(before, had))).context("dispatcher:1") == had

    found = await inputs.gather(Given(None), spec(now), copies(before, had))
    context = found.context("dispatcher:1")
    assert context == Context("dispatcher:1")
    failed = [one for one in found.conditions(spec(now), context, rules_absent=False) if one.status == "False"]
    assert [one.reason for one in failed] == [Reason.SECRET_FORBIDDEN] * 4
    assert not [one for one in failed if "keep what they have" in one.message]
    (api,) = [one for one in failed if one.type is ConditionType.API_SECURED]
    assert api.message.endswith("Until then nobody is let in.")


@pytest.mark.parametrize("noted", [None, "", "not JSON", "[]", '{"NOTIFICATION_API_TOKEN": 1}', "{}"])
async def test_of_a_copy_that_does_not_say_where_it_is_from_nothing_is_kept(noted: str | None) -> None:
    pipeline = parsed(alerts={}, api={"authTokenSecretRef": REF})
    made = secrets.build_credentials(pipeline, full_context(pipeline))
    assert made is not None
    annotations = made["metadata"].pop("annotations")
    assert json.loads(annotations[naming.SOURCES_ANNOTATION]) == {"NOTIFICATION_API_TOKEN": "given/key"}
    if noted is not None:
        made["metadata"]["annotations"] = {naming.SOURCES_ANNOTATION: noted}

    async def copy(_: str) -> Mapping[str, Any]:
        return made

    assert not (await inputs.gather(Given(None), pipeline, copy)).context("image:1").credentials


def test_a_pipeline_owns_what_bears_its_uid_alone() -> None:
    pipeline = parsed()
    (mine, *_) = desired(pipeline, Context("image:1"))
    assert pipeline.owns(mine)
    assert not replace(pipeline, uid="its-successor").owns(mine)
    assert not pipeline.owns({"metadata": {"name": "booking-credentials"}})
    assert not pipeline.owns({})
