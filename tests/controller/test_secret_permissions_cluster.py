"""Secrets that may not be read: no dispatcher loses what it has of one, and none keeps what it was to replace."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

from notification_operator import kinds
from notification_operator.permissions import WITH_PIPELINES
from notification_operator.resources.secrets import build_credentials
from tests.cluster import Cluster
from tests.controller.acceptance.verdicts import full_context
from tests.controller.accounts import account, grant
from tests.controller.pipelines import apply, condition, eventually, get, manifest, parsed
from tests.operator_process import OperatorProcess

RULES = [rule for permission in WITH_PIPELINES for rule in permission.rules()]
BUT_SECRETS = [
    rule for permission in WITH_PIPELINES if kinds.SECRET not in permission.kinds for rule in permission.rules()
]
OWN = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch", "delete"]}
NAMES = ("crm", "team")
COPY = "secret/booking-credentials"
FOLLOWED_SECONDS = 60.0
"""A watch's longest back-off is thirty seconds."""


def url(name: str, which: str = "first") -> str:
    return f"https://hooks.slack.example/services/{name}/{which}"


def readable(*names: str) -> dict[str, Any]:
    return {"apiGroups": [""], "resources": ["secrets"], "verbs": ["watch"], "resourceNames": names}


def channels(**sources: str) -> list[dict[str, Any]]:
    """A channel for each name, with its webhook from this Secret."""
    refs = {name: {"name": source, "key": "url"} for name, source in sources.items()}
    return [{"name": name, "slack": {"webhookSecretRef": ref}} for name, ref in refs.items()]


def make(cluster: Cluster, namespace: str, *names: str) -> None:
    for name in names:
        made = ("create", "secret", "generic", name, f"--from-literal=url={url(name)}")
        cluster.run_kubectl("-n", namespace, *made)


def held(cluster: Cluster, namespace: str) -> list[str]:
    """The values that the dispatchers have."""
    data = (get(cluster, namespace, COPY) or {}).get("data", {})
    return sorted(b64decode(value).decode() for value in data.values())


def judged(cluster: Cluster, namespace: str, reason: str, word: str = "") -> dict[str, Any] | None:
    """The condition of the channels, once it has this reason and word."""
    found = condition(get(cluster, namespace, "npl", "booking"), "ChannelsConfigured")
    return found if found.get("reason") == reason and word in found["message"] else None


def test_a_permission_that_goes_takes_nothing_from_the_dispatchers(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = account(cluster, namespace, tmp_path)
    grant(cluster, namespace, *RULES)
    make(cluster, namespace, *NAMES)

    def rotate(name: str) -> None:
        patch = json.dumps({"stringData": {"url": url(name, "second")}})
        cluster.run_kubectl("-n", namespace, "patch", "secret", name, "-p", patch)

    with OperatorProcess(cluster, namespace, tmp_path / "operator.log", kubeconfig=kubeconfig) as operator:
        apply(cluster, namespace, manifest(channels=channels(crm="crm", team="team"), alerts={}))
        eventually(lambda: judged(cluster, namespace, "Configured"), "all is there")
        uid = get(cluster, namespace, COPY)["metadata"]["uid"]

        operator.stop()
        grant(cluster, namespace, *BUT_SECRETS, OWN, readable("team"))
        operator.start()
        said = eventually(lambda: judged(cluster, namespace, "SecretForbidden"), "what may not be read is named")
        assert "the Secret crm" in said["message"]
        assert "keep what they have" in said["message"]
        rotate("team")
        rotate("crm")
        kept = [url("crm"), url("team", "second")]
        eventually(lambda: held(cluster, namespace) == kept, "what can be read is followed")

        grant(cluster, namespace, *RULES)
        eventually(lambda: judged(cluster, namespace, "Configured"), "it heals", FOLLOWED_SECONDS)
        assert held(cluster, namespace) == [url("crm", "second"), url("team", "second")]
        assert get(cluster, namespace, COPY)["metadata"]["uid"] == uid


def test_what_a_secret_was_to_replace_is_not_kept_in_its_place(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = account(cluster, namespace, tmp_path)
    grant(cluster, namespace, *BUT_SECRETS, OWN, readable(*NAMES))
    make(cluster, namespace, *NAMES, "crm-v2")

    def refer(crm: str) -> None:
        apply(cluster, namespace, manifest(channels=channels(crm=crm, team="team"), alerts={}))

    with OperatorProcess(cluster, namespace, tmp_path / "operator.log", kubeconfig=kubeconfig):
        refer("crm")
        eventually(lambda: judged(cluster, namespace, "Configured"), "all is there")
        template = get(cluster, namespace, "deployment/booking")["spec"]["template"]
        refer("crm-v2")
        said = eventually(lambda: judged(cluster, namespace, "SecretForbidden", "the Secret crm-v2"), "it is named")
        assert "keep what they have" not in said["message"]
        assert held(cluster, namespace) == [url("team")], "what may have leaked goes"
        refer("crm")
        eventually(lambda: judged(cluster, namespace, "Configured"), "it may be read")
        assert held(cluster, namespace) == [url("crm"), url("team")]
        assert get(cluster, namespace, "deployment/booking")["spec"]["template"] == template


def test_nothing_is_kept_of_a_secret_that_is_not_the_pipelines(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = account(cluster, namespace, tmp_path)
    grant(cluster, namespace, *BUT_SECRETS, OWN)
    spec: dict[str, Any] = {"channels": channels(crm="crm"), "alerts": {}}
    pipeline = parsed(namespace=namespace, **spec)
    foreign = build_credentials(pipeline, full_context(pipeline))
    assert foreign is not None
    del foreign["metadata"]["ownerReferences"]
    cluster.run_kubectl("create", "-f", "-", stdin=json.dumps(foreign))
    with OperatorProcess(cluster, namespace, tmp_path / "operator.log", kubeconfig=kubeconfig):
        apply(cluster, namespace, manifest(**spec))
        said = eventually(lambda: judged(cluster, namespace, "SecretForbidden"), "it may not be read")
        assert "keep what they have" not in said["message"]
