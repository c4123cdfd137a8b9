"""Two operators as processes against a real API server: one writes, and the other takes over when it is gone."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from notification_operator.leader import LEASE_SECONDS
from tests.cluster import Cluster
from tests.controller.accounts import account, grant
from tests.controller.pipelines import apply, events, eventually, get, manifest, ready, slack_secret
from tests.operator_process import OperatorProcess
from tests.pod import free_port

WRITES = ("PATCH", "DELETE", "POST", "PUT")
TAKEOVER_SECONDS = 15.0
HANDOVER_SECONDS = 5.0
ELECT = ("--leader-elect",)

Pair = tuple[OperatorProcess, OperatorProcess]
Record = Callable[[str, object], None]


@pytest.fixture
def pair(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Pair]:
    """The leader, with a pipeline that is Ready, and its standby."""
    leader = OperatorProcess(cluster, namespace, tmp_path / "leader.log", options=ELECT)
    standby = OperatorProcess(cluster, namespace, tmp_path / "standby.log", options=ELECT)
    with leader:
        eventually(leader.leads, "the first leads")
        with standby:
            slack_secret(cluster, namespace)
            apply(cluster, namespace, manifest())
            ready(cluster, namespace)
            yield leader, standby


def lease(cluster: Cluster, namespace: str) -> dict[str, Any]:
    spec: dict[str, Any] = get(cluster, namespace, "lease/notification-operator")["spec"]
    return spec


def edit(cluster: Cluster, namespace: str) -> None:
    """Take a field of a child away from the operator."""
    change = '{"spec":{"selector":{"app.kubernetes.io/instance":"other"}}}'
    cluster.run_kubectl("-n", namespace, "patch", "service/booking", "--type", "merge", "-p", change)


def repaired(cluster: Cluster, namespace: str) -> bool:
    selector = get(cluster, namespace, "service/booking")["spec"]["selector"]
    return bool(selector["app.kubernetes.io/instance"] == "booking")


def test_one_leads_and_the_other_is_ready_and_writes_nothing(cluster: Cluster, namespace: str, pair: Pair) -> None:
    leader, standby = pair
    edit(cluster, namespace)
    eventually(lambda: repaired(cluster, namespace), "the leader repairs", 5)
    eventually(lambda: leader.requests("PUT") >= 3, "the leader renews its lease")
    assert (leader.leads(), standby.leads()) == (True, False)
    assert standby.ready()
    assert standby.requests(*WRITES) == 0
    assert standby.requests("GET") > 0
    assert "leading" in leader.actions()
    assert "standby" in standby.actions()
    assert lease(cluster, namespace)["leaseDurationSeconds"] == LEASE_SECONDS
    assert lease(cluster, namespace)["leaseTransitions"] == 0


def test_after_a_kill_the_other_writes_within_fifteen_seconds(
    cluster: Cluster, namespace: str, pair: Pair, record_property: Record
) -> None:
    leader, standby = pair
    holder = lease(cluster, namespace)["holderIdentity"]
    leader.kill()
    killed = time.monotonic()
    edit(cluster, namespace)
    eventually(lambda: repaired(cluster, namespace), "the standby repairs", TAKEOVER_SECONDS)
    took = time.monotonic() - killed
    record_property("takeover_after_kill_seconds", round(took, 2))
    print(f"takeover after SIGKILL: {took:.2f} s")  # noqa: T201  shown with -rP
    assert took < TAKEOVER_SECONDS
    assert standby.leads()
    assert lease(cluster, namespace)["holderIdentity"] != holder
    assert lease(cluster, namespace)["leaseTransitions"] == 1


def test_after_a_clean_end_the_other_writes_within_three_seconds(
    cluster: Cluster, namespace: str, pair: Pair, record_property: Record
) -> None:
    leader, standby = pair
    asked = time.monotonic()
    assert leader.stop() == 0
    edit(cluster, namespace)
    eventually(lambda: repaired(cluster, namespace), "the standby repairs", HANDOVER_SECONDS)
    took = time.monotonic() - asked
    record_property("handover_seconds", round(took, 2))
    print(f"takeover after SIGTERM: {took:.2f} s")  # noqa: T201  shown with -rP
    assert took < HANDOVER_SECONDS
    assert standby.leads()
    assert "released" in leader.actions()


def test_a_leader_that_was_stopped_past_its_lease_writes_nothing_when_it_wakes(
    cluster: Cluster, namespace: str, pair: Pair
) -> None:
    stopped, other = pair
    assert stopped.leads()
    # Until nothing is left to write: the pods' becoming ready is a status of its own.
    eventually(lambda: get(cluster, namespace, "deployment/booking")["status"].get("readyReplicas") == 1, "pods run")
    ready(cluster, namespace)
    eventually(lambda: events(cluster, namespace), "the last of it is an event")
    written = stopped.requests("PATCH", "DELETE", "POST")
    stopped.signal(signal.SIGSTOP)
    try:
        eventually(other.leads, "the other leads", TAKEOVER_SECONDS)
        # Events for it to wake up to: what it would repair if it still led.
        cluster.run_kubectl("-n", namespace, "delete", "service/booking", "--wait=false")
        eventually(lambda: get(cluster, namespace, "service/booking"), "the other repairs", 5)
        edit(cluster, namespace)
    finally:
        stopped.signal(signal.SIGCONT)
    for _ in range(5):
        edit(cluster, namespace)
        eventually(lambda: repaired(cluster, namespace), "the other repairs", 5)
    eventually(lambda: "leadership_lost" in stopped.actions(), "it knows that it lost", 5)
    eventually(stopped.ready, "it is ready to take over", 5)
    assert (stopped.leads(), other.leads()) == (False, True)
    assert stopped.requests("PATCH", "DELETE", "POST") == written
    # It is a standby like any other now.
    assert other.stop() == 0
    edit(cluster, namespace)
    eventually(lambda: repaired(cluster, namespace), "it leads again", HANDOVER_SECONDS)


def test_a_missing_permission_is_waited_for_and_the_documented_ones_are_enough(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = account(cluster, namespace, tmp_path)
    operator = OperatorProcess(cluster, namespace, tmp_path / "operator.log", options=ELECT, kubeconfig=kubeconfig)
    process = operator.launch()
    try:
        eventually(lambda: "lease_failed" in operator.actions(), "it says what is missing")
        assert "grant get, create and update of leases" in operator.log.read_text()
        assert process.poll() is None
        assert not operator.ready()
        assert not operator.leads()
        lease_of_ours = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
        grant(
            cluster,
            namespace,
            {**lease_of_ours, "resourceNames": ["notification-operator"], "verbs": ["get", "update"]},
            {**lease_of_ours, "verbs": ["create"]},
        )
        eventually(operator.leads, "it leads once it may", 15)
        eventually(lambda: operator.requests("PUT") >= 2, "it renews", 15)
    finally:
        code = operator.stop()
    assert code == 0
    assert not lease(cluster, namespace).get("holderIdentity")


def test_an_api_server_that_is_down_at_the_start_is_waited_for(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    config = yaml.safe_load(cluster.run_kubectl("config", "view", "--raw", "--flatten", "--minify"))
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free_port()}"
    kubeconfig = tmp_path / "down.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    kubeconfig.chmod(0o600)
    operator = OperatorProcess(cluster, namespace, tmp_path / "operator.log", options=ELECT, kubeconfig=kubeconfig)
    process = operator.launch()
    try:
        eventually(lambda: "lease_failed" in operator.actions(), "it says that it reaches nobody")
        time.sleep(3)  # nothing can be awaited: it is an end that must not come
        assert process.poll() is None
        assert not operator.ready()
        assert not operator.leads()
    finally:
        code = operator.stop()
    assert code == 0
