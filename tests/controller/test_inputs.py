"""What a pipeline's Secrets may hold: what the dispatcher would refuse goes no further than the operator."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from notification_operator import inputs
from notification_operator.cluster import Cluster
from notification_operator.credentials import Credentials, Identity
from notification_operator.errors import ForbiddenError
from notification_operator.fence import Fence
from notification_operator.metrics import OperatorMetrics
from notification_operator.source_secrets import Reading, SourceSecrets
from notification_operator.status import ConditionType, Reason
from notification_operator.workqueue import Key
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


async def no_copy(_: str) -> Mapping[str, bytes]:
    return {}


REF = {"name": "given", "key": "key"}


def channel(kind: str, field: str, **more: Any) -> dict[str, Any]:
    return {"channels": [{"name": "out", kind: {field: REF, **more}}]}


SIGNED = channel("webhook", "signingSecretRef", url="https://example.com")
MAILED = channel("email", "smtpURLSecretRef", **{"from": "a@example.com", "to": ["b@example.com"]})
DATABASE = {"queue": {"engine": "PostgreSQL", "postgresql": {"dsnSecretRef": REF}}}


@pytest.mark.parametrize(
    ("spec", "condition", "good", "bad"),
    [
        ({"alerts": {"slack": {"webhookSecretRef": REF}}}, "AlertingConfigured", "https://x/1", f"ftp://{CANARY}"),
        ({"api": {"authTokenSecretRef": REF}}, "ApiSecured", "a-token-of-32", f"{CANARY} "),
        ({"api": {"authTokenSecretRef": REF}}, "ApiSecured", "a-token-of-32", "short"),
        (DATABASE, "QueueConfigured", "postgresql://u:p@db/jobs", f"host=db password={CANARY}"),
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
    copies = {
        "booking-slack-alerts": {"SLACK_ALERT_WEBHOOK_URL": b"https://x/1", "OF_ANOTHER_SPEC": b"x"},
        "booking-credentials": {"NOTIFICATION_API_TOKEN": b"a-token-of-32"},
    }

    async def copy(name: str) -> Mapping[str, bytes]:
        return copies[name]

    found = await inputs.gather(Given(None), pipeline, copy)
    context = found.context("image:1")
    assert context.slack_alerts == {"SLACK_ALERT_WEBHOOK_URL": b"https://x/1"}
    assert context.credentials == {"NOTIFICATION_API_TOKEN": b"a-token-of-32"}
    conditions = {one.type: one for one in found.conditions(pipeline, context, rules_absent=False)}
    said = {kind.value: one for kind, one in conditions.items() if one.reason is Reason.SECRET_FORBIDDEN}
    assert set(said) == {"AlertingConfigured", "ApiSecured", "ChannelsConfigured"}
    assert said["ApiSecured"].message.endswith("The dispatchers keep what they have of it.")
    assert "keep what they have" not in said["ChannelsConfigured"].message
    assert said["AlertingConfigured"].message.count("keep what they have") == 1
