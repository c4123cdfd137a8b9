"""The permission to read Secrets is taken away: no dispatcher loses what it has, and what can be read is followed."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

from notification_operator import kinds
from notification_operator.permissions import WITH_PIPELINES
from tests.cluster import Cluster
from tests.controller.accounts import account, grant
from tests.controller.pipelines import apply, condition, eventually, get, manifest
from tests.operator_process import OperatorProcess

RULES = [rule for permission in WITH_PIPELINES for rule in permission.rules()]
BUT_SECRETS = [
    rule for permission in WITH_PIPELINES if kinds.SECRET not in permission.kinds for rule in permission.rules()
]
OWN = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch", "delete"]}
READABLE = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["watch"], "resourceNames": ["team"]}
CHANNELS = [{"name": name, "slack": {"webhookSecretRef": {"name": name, "key": "url"}}} for name in ("crm", "team")]
COPY = "secret/booking-credentials"
FOLLOWED_SECONDS = 60.0
"""A watch's longest back-off is thirty seconds."""


def url(name: str, which: str = "first") -> str:
    return f"https://hooks.slack.example/services/{name}/{which}"


def test_a_permission_that_goes_takes_nothing_from_the_dispatchers(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = account(cluster, namespace, tmp_path)
    grant(cluster, namespace, *RULES)
    for name in ("crm", "team"):
        made = ("create", "secret", "generic", name, f"--from-literal=url={url(name)}")
        cluster.run_kubectl("-n", namespace, *made)

    def held() -> list[str]:
        data = (get(cluster, namespace, COPY) or {}).get("data", {})
        return sorted(b64decode(value).decode() for value in data.values())

    def channels(reason: str) -> dict[str, Any] | None:
        found = condition(get(cluster, namespace, "npl", "booking"), "ChannelsConfigured")
        return found if found.get("reason") == reason else None

    def rotate(name: str) -> None:
        patch = json.dumps({"stringData": {"url": url(name, "second")}})
        cluster.run_kubectl("-n", namespace, "patch", "secret", name, "-p", patch)

    with OperatorProcess(cluster, namespace, tmp_path / "operator.log", kubeconfig=kubeconfig) as operator:
        apply(cluster, namespace, manifest(channels=CHANNELS, alerts={}))
        eventually(lambda: channels("Configured"), "all is there")
        uid = get(cluster, namespace, COPY)["metadata"]["uid"]

        operator.stop()
        grant(cluster, namespace, *BUT_SECRETS, OWN, READABLE)
        operator.start()
        said = eventually(lambda: channels("SecretForbidden"), "what may not be read is named")["message"]
        assert "the Secret crm" in said
        assert "keep what they have" in said
        rotate("team")
        rotate("crm")
        eventually(lambda: held() == [url("crm"), url("team", "second")], "what can be read is followed")

        grant(cluster, namespace, *RULES)
        eventually(lambda: channels("Configured"), "it heals", FOLLOWED_SECONDS)
        assert held() == [url("crm", "second"), url("team", "second")]
        assert get(cluster, namespace, COPY)["metadata"]["uid"] == uid
