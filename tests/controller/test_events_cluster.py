"""Events on a real API server: what `kubectl describe` shows, how little that is, and what a refusal holds up."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.cluster import Cluster
from tests.controller.accounts import account, grant
from tests.controller.pipelines import apply, condition, events, eventually, get, manifest, ready, slack_secret
from tests.operator_process import OperatorProcess

ALL = {"resources": ["*"], "verbs": ["*"]}
ALL_BUT_EVENTS = {"apiGroups": ["", "apps", "monitoring.coreos.com", "notifications.plannivo.io"], **ALL}
EVENTS = {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}


def reason(cluster: Cluster, namespace: str) -> Any:
    return condition(get(cluster, namespace, "npl", "booking"), "AlertingConfigured").get("reason")


def told(cluster: Cluster, namespace: str, what: str) -> list[dict[str, Any]]:
    return [event for event in events(cluster, namespace) if event["reason"] == what]


def times(event: dict[str, Any]) -> int:
    count: int = (event.get("series") or {}).get("count", 1)
    return count


def settled(cluster: Cluster, namespace: str) -> None:
    """Wait until a new pipeline's verdicts change no more. A quick rollout is never seen, and not told of."""

    def available() -> bool:
        return bool(
            condition(get(cluster, namespace, "npl", "booking"), "DispatcherAvailable")["reason"] == "Available"
        )

    ready(cluster, namespace)
    eventually(available, "its pods run")


def no_secret(cluster: Cluster, namespace: str) -> None:
    cluster.run_kubectl("-n", namespace, "delete", "secret", "slack")
    eventually(lambda: reason(cluster, namespace) == "SecretNotFound", "the Secret is missed")


def test_a_missing_secret_warns_once_and_its_coming_is_told_once(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    apply(cluster, namespace, manifest())
    (missing,) = eventually(lambda: told(cluster, namespace, "SecretNotFound"), "the missing Secret is told")
    slack_secret(cluster, namespace)
    settled(cluster, namespace)
    (come,) = eventually(lambda: told(cluster, namespace, "Configured"), "its coming is told")
    assert (missing["type"], come["type"]) == ("Warning", "Normal")
    assert missing["note"] == f"alerts.slack.webhookSecretRef: there is no Secret slack in {namespace}; create it."
    assert (times(missing), times(come)) == (1, 1)

    described = cluster.run_kubectl("-n", namespace, "describe", "npl", "booking").split("\nEvents:")[1]
    assert "Warning  SecretNotFound" in described
    assert "notification-operator" in described
    assert "there is no Secret slack" in described


def test_ten_flips_are_counted_and_a_restart_goes_on_counting(
    cluster: Cluster, namespace: str, booking: dict[str, Any], operator: OperatorProcess
) -> None:
    settled(cluster, namespace)
    for number in range(1, 11):
        no_secret(cluster, namespace)
        slack_secret(cluster, namespace)
        eventually(lambda: reason(cluster, namespace) == "Configured", "it heals")
        if number == 5:
            operator.stop()
            operator.start()
    for what in ("SecretNotFound", "Configured"):
        (event,) = eventually(
            lambda what=what: [one for one in told(cluster, namespace, what) if times(one) == 10],  # type: ignore[misc]
            f"{what} is counted up to ten",
        )
        assert event["series"]["lastObservedTime"] > event["eventTime"]
    assert all(len(told(cluster, namespace, what)) == 1 for what in ("SecretNotFound", "Configured"))
    described = cluster.run_kubectl("-n", namespace, "describe", "npl", "booking")
    assert "(x10 over" in described


def test_another_missing_secret_is_another_event(cluster: Cluster, namespace: str, booking: dict[str, Any]) -> None:
    no_secret(cluster, namespace)
    eventually(lambda: told(cluster, namespace, "SecretNotFound"), "the first is told")
    slack_secret(cluster, namespace)
    ready(cluster, namespace)
    apply(cluster, namespace, manifest(alerts={"slack": {"webhookSecretRef": {"name": "other", "key": "url"}}}))
    found = eventually(
        lambda: found if len(found := told(cluster, namespace, "SecretNotFound")) == 2 else None, "the second is told"
    )
    assert ["Secret slack" in found[0]["note"], "Secret other" in found[1]["note"]] == [True, True]


def test_nothing_is_told_in_a_steady_state_nor_after_a_restart(
    cluster: Cluster, namespace: str, booking: dict[str, Any], operator: OperatorProcess
) -> None:
    settled(cluster, namespace)
    # Events are posted in order: once this one is there, nothing older is on its way.
    no_secret(cluster, namespace)
    slack_secret(cluster, namespace)
    eventually(lambda: told(cluster, namespace, "Configured"), "the last of it is told")
    before, posts = events(cluster, namespace), operator.requests("POST")
    # Nothing can be awaited: it is the absence of something that is looked for.
    time.sleep(3)
    assert operator.requests("POST") == posts
    operator.stop()
    operator.start()
    eventually(lambda: operator.requests("GET") > 8, "the pipeline was looked at again")
    time.sleep(2)
    assert operator.requests("POST") == 0
    assert events(cluster, namespace) == before


def test_without_permission_nothing_is_held_up_and_two_verbs_are_enough(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = account(cluster, namespace, tmp_path)
    grant(cluster, namespace, ALL_BUT_EVENTS)
    log = tmp_path / "operator.log"
    operator = OperatorProcess(cluster, namespace, log, kubeconfig=kubeconfig)
    with operator:
        apply(cluster, namespace, manifest())
        eventually(lambda: reason(cluster, namespace) == "SecretNotFound", "the status says it")
        slack_secret(cluster, namespace)
        ready(cluster, namespace)
        no_secret(cluster, namespace)
        eventually(lambda: "event_failed" in operator.actions(), "it says that it may not")
        assert operator.actions().count("event_failed") == 1
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        (line,) = [line for line in lines if line["action"] == "event_failed"]
        assert "events.events.k8s.io is forbidden" in line["why"]
        assert "reconcile_retry" not in operator.actions()
        assert events(cluster, namespace) == []

        grant(cluster, namespace, ALL_BUT_EVENTS, EVENTS)
        for _ in range(2):
            slack_secret(cluster, namespace)
            ready(cluster, namespace)
            no_secret(cluster, namespace)
        eventually(
            lambda: [times(event) for event in told(cluster, namespace, "SecretNotFound")] == [2], "all is counted"
        )
