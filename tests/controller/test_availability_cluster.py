"""Why dispatchers aren't ready, on a real control plane: the condition turns within seconds, and heals.

No kubelet runs here: what one would report of a pod is written into its status. The scheduler and admission are real.
"""

from __future__ import annotations

import json
import time
from typing import Any

from tests.cluster import Cluster
from tests.controller.pipelines import apply, condition, eventually, get, manifest, ready, slack_secret
from tests.operator_process import OperatorProcess

SECONDS = 5
PODS = ("pods", "-l", "notifications.plannivo.io/pipeline=booking")


def turned(cluster: Cluster, namespace: str, reason: str, status: str = "False") -> dict[str, Any]:
    """The condition, once it has the reason."""

    def look() -> dict[str, Any] | None:
        found = condition(get(cluster, namespace, "npl", "booking"), "DispatcherAvailable")
        return found if (found.get("reason"), found.get("status")) == (reason, status) else None

    return eventually(look, f"DispatcherAvailable is {status} with the reason {reason}", SECONDS)


def healed(cluster: Cluster, namespace: str) -> None:
    """Wait until nothing is wrong."""
    turned(cluster, namespace, "Available", "True")
    assert "dispatchers" not in condition(ready(cluster, namespace), "Ready")["message"]


def report(cluster: Cluster, namespace: str, pod: dict[str, Any]) -> None:
    """Write a pod's status, as its kubelet would."""
    status = {key: pod["status"][key] for key in ("conditions", "containerStatuses")}
    cluster.run_kubectl(
        *("-n", namespace, "patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge"),
        *("-p", json.dumps({"status": status})),
    )


def failing(pod: dict[str, Any], state: dict[str, Any], last: dict[str, Any], restarts: int = 1) -> dict[str, Any]:
    """The same pod with its container in such a state."""
    own = {"ready": False, "started": False, "restartCount": restarts, "state": state, "lastState": last}
    statuses = [one | own for one in pod["status"]["containerStatuses"]]
    times = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
    conditions = [
        one | {"status": "False"} | times if one["type"] in ("Ready", "ContainersReady") else one
        for one in pod["status"]["conditions"]
    ]
    return {**pod, "status": {**pod["status"], "conditions": conditions, "containerStatuses": statuses}}


def test_an_image_that_cannot_be_pulled_is_named_and_heals(
    cluster: Cluster, namespace: str, booking: dict[str, Any]
) -> None:
    (pod,) = get(cluster, namespace, *PODS)["items"]
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "pull access denied"}}
    report(cluster, namespace, failing(pod, waiting, {}))

    found = turned(cluster, namespace, "ImagePullFailed")
    assert booking["status"]["image"] in found["message"]
    assert "pull access denied" in found["message"]
    summary = condition(get(cluster, namespace, "npl", "booking"), "Ready")
    assert (summary["status"], summary["message"]) == ("False", found["message"])
    assert "ImagePullFailed" in cluster.run_kubectl("-n", namespace, "get", "npl", "booking").splitlines()[1].split()

    report(cluster, namespace, pod)
    healed(cluster, namespace)


def test_a_crash_is_told_once_however_often_it_happens(
    cluster: Cluster, namespace: str, booking: dict[str, Any], operator: OperatorProcess
) -> None:
    (pod,) = get(cluster, namespace, *PODS)["items"]
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    waits = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}
    runs = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    report(cluster, namespace, failing(pod, waits, ended))

    found = turned(cluster, namespace, "CrashLooping")
    command = f"kubectl -n {namespace} logs {pod['metadata']['name']} --previous"
    assert "exit code 1" in found["message"]
    assert command in found["message"]
    # The Deployment's controller follows with its own status.
    eventually(
        lambda: get(cluster, namespace, "npl", "booking")["status"]["ready"] == "0/1", "the count followed", SECONDS
    )

    before, looks = get(cluster, namespace, "npl", "booking"), operator.requests("GET")
    states: list[dict[str, Any]] = [runs, ended, waits, runs, waits]
    for restarts, state in enumerate(states, start=2):
        report(cluster, namespace, failing(pod, state, ended, restarts))
    eventually(lambda: operator.requests("GET") > looks, "the pipeline was looked at again", SECONDS)
    # Nothing can be awaited: it is the absence of something that is looked for.
    time.sleep(1)
    after = get(cluster, namespace, "npl", "booking")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]

    report(cluster, namespace, pod)
    healed(cluster, namespace)


def test_a_new_pod_that_no_node_takes_is_told_while_the_old_one_serves(
    cluster: Cluster, namespace: str, booking: dict[str, Any]
) -> None:
    def select(node: str | None) -> None:
        patch = {"spec": {"template": {"spec": {"nodeSelector": {"example.com/no-such-node": node}}}}}
        cluster.run_kubectl("-n", namespace, "patch", "deployment", "booking", "-p", json.dumps(patch))

    select("any")
    found = turned(cluster, namespace, "Unschedulable", "True")
    assert "1 of 1 dispatchers are ready, but pod booking-" in found["message"]
    assert "didn't match Pod's node affinity/selector" in found["message"]
    assert found["message"] in condition(get(cluster, namespace, "npl", "booking"), "Ready")["message"]

    select(None)
    healed(cluster, namespace)


def test_pods_that_a_quota_forbids_are_told_and_heal(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    slack_secret(cluster, namespace)
    cluster.run_kubectl("-n", namespace, "create", "quota", "none", "--hard=pods=0")
    # Until its controller has counted, a quota forbids for another reason.
    cluster.run_kubectl("-n", namespace, "wait", "quota/none", "--for=jsonpath={.status.used.pods}=0", "--timeout=20s")
    apply(cluster, namespace, manifest())

    found = turned(cluster, namespace, "Unschedulable")
    assert f"no new pod is admitted to {namespace}: exceeded quota: none" in found["message"]
    assert condition(get(cluster, namespace, "npl", "booking"), "Ready")["reason"] == "Unschedulable"

    cluster.run_kubectl("-n", namespace, "delete", "quota", "none")
    # Its controller backs off and doesn't know of quotas: any change makes it try at once.
    cluster.run_kubectl("-n", namespace, "annotate", "rs", "--all", "example.com/try=now")
    healed(cluster, namespace)
