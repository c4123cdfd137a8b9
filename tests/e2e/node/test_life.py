"""The product's whole life on a real node, in namespaces that enforce the restricted Pod Security Standard.

The chart installs the operator in the cluster; a sample is applied as a user would; notifications go from pod to pod by
the Service's name; a real Prometheus finds the dispatcher by itself; thresholds change under a running pod. The tests
stand in the order of that life, and the last one ends it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.cluster import ClusterError, environment
from tests.deploy.helm import NAME, Helm
from tests.e2e.node.world import World, eventually, result

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "deploy" / "samples" / "booking.yaml"
RECEIVER = "http://receiver.clients.svc.cluster.local"
SERVICE = "http://booking.bookings.svc.cluster.local:4000/api/notifications"
THRESHOLD = 7
THRESHOLD_SECONDS = 90.0
TAKEOVER_SECONDS = 45.0
ACCOUNT = f"system:serviceaccount:{NAME}:{NAME}"


@pytest.fixture(scope="module")
def booking(installed: World) -> World:
    """The world with the sample applied and Ready, its receivers in the cluster."""
    installed.cluster.create_restricted_namespace("bookings")
    kubectl = installed.cluster.run_kubectl
    secret = ("-n", "bookings", "create", "secret", "generic")
    kubectl(*secret, "slack", f"--from-literal=alerts={RECEIVER}/slack", f"--from-literal=team={RECEIVER}/slack")
    kubectl(
        *secret, "booking-receivers", f"--from-literal=crm={RECEIVER}/crm", f"--from-literal=ratings={RECEIVER}/ratings"
    )
    kubectl("-n", "bookings", "apply", "-f", str(SAMPLE))
    installed.rolled_out("bookings", "deployment", "booking")
    return installed


@pytest.fixture(scope="module")
def effect(booking: World) -> Iterator[Future[float]]:
    """Seconds from a threshold's patch until the running pod has it, measured beside the other tests."""
    pod = booking.pod("bookings", "booking")

    def in_force() -> bool:
        found = booking.scrape("bookings", pod).total("notification_threshold", threshold="failure")
        return found == THRESHOLD

    patch = json.dumps({"spec": {"alerts": {"failureThreshold": THRESHOLD}}})
    booking.cluster.run_kubectl("-n", "bookings", "patch", "npl", "booking", "--type=merge", "-p", patch)
    started = time.monotonic()

    def measure() -> float:
        eventually(in_force, "the pod runs with the new threshold", 2 * THRESHOLD_SECONDS)
        return time.monotonic() - started

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(measure)


def restarts(world: World, namespace: str) -> dict[str, int]:
    """How often each pod's container was started again."""
    return {
        pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in world.cluster.get_json("pods", "-n", namespace)["items"]
    }


def queried(world: World, query: str) -> dict[str, float]:
    """What the Prometheus in the cluster answers, by the series' `job_type` or, without one, its `pipeline`."""
    path = f"monitoring/services/prometheus-operated:web/api/v1/query?query={quote(query)}"
    found = world.get(path)["data"]["result"]
    return {one["metric"].get("result", one["metric"].get("pipeline", "")): float(one["value"][1]) for one in found}


def ask(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`kubectl notifications`, as a person's own machine has it."""
    own = environment(world.cluster)
    own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    command = [str(world.cluster.kubectl), "notifications", *arguments, "-n", "bookings"]
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=120, check=False)


def test_the_operator_has_its_own_account_and_no_more_rights_than_it_needs(installed: World) -> None:
    pods = installed.cluster.get_json("pods", "-n", NAME)["items"]
    assert {pod["spec"]["serviceAccountName"] for pod in pods} == {NAME}
    for verb, what in (("list", "secrets"), ("create", "pods/exec"), ("create", "pods"), ("*", "*")):
        asked = ("auth", "can-i", verb, what, "-A", "--as", ACCOUNT)
        with pytest.raises(ClusterError, match="exit code 1"):
            installed.cluster.run_kubectl(*asked)


@pytest.mark.parametrize(
    ("namespace", "deployment", "present", "absent"),
    [
        (NAME, NAME, "kopf", ("kubernetes", "apprise", "asyncpg", "uvicorn", "pip", "setuptools")),
        ("bookings", "booking", "asyncpg", ("kopf", "kubernetes", "notification_operator", "pip", "setuptools")),
    ],
)
def test_an_image_has_its_own_process_alone(
    booking: World, namespace: str, deployment: str, present: str, absent: tuple[str, ...]
) -> None:
    program = (
        "import importlib.util as u, os, sys; "
        f"print({{n: bool(u.find_spec(n)) for n in {(present, *absent)!r}}}, os.getuid(), os.access('/', os.W_OK))"
    )
    answer = booking.cluster.run_kubectl(
        *("-n", namespace, "exec", f"deployment/{deployment}", "--", "/opt/notification/bin/python", "-c", program)
    )
    assert answer.strip() == f"{ {present: True, **dict.fromkeys(absent, False)} } 65532 False"


def test_notifications_reach_their_receiver_by_the_services_name(booking: World, effect: Future[float]) -> None:
    said = result(booking.calling(SERVICE, "life", batches=8))
    assert len(said["accepted"]) == said["sent"] == 40
    eventually(lambda: booking.delivered("life") == dict.fromkeys(said["accepted"], 1), "each came once")
    conditions = booking.cluster.get_json("npl", "booking", "-n", "bookings")["status"]["conditions"]
    assert {one["type"]: one["status"] for one in conditions}["Ready"] == "True", conditions


def test_prometheus_scrapes_what_nobody_told_it_of(booking: World, monitored: World, effect: Future[float]) -> None:
    eventually(lambda: queried(monitored, 'up{pipeline="booking"}') == {"booking": 1.0}, "the target is up", 180)
    query = 'sum by (result) (plannivo_notification_jobs_total{pipeline="booking"})'
    expected = {"queued": 40.0, "processed": 40.0, "failed": 0.0, "deduplicated": 0.0, "dropped": 0.0}
    eventually(lambda: queried(monitored, query) == expected, f"{expected}, and not {queried(monitored, query)}")
    condition = eventually(
        lambda: [
            one
            for one in booking.cluster.get_json("npl", "booking", "-n", "bookings")["status"]["conditions"]
            if one["type"] == "MonitoringSelected" and one["status"] == "True"
        ],
        "the pipeline says that it is monitored",
    )
    assert condition


def test_the_waiting_operator_takes_over(booking: World) -> None:
    def holder() -> str:
        lease = booking.cluster.get_json("lease", NAME, "-n", NAME)["spec"]
        found: str = lease.get("holderIdentity") or ""
        return found

    before = eventually(holder, "one of the operators leads")
    (leader,) = [name for name in restarts(booking, NAME) if before.startswith(name)]
    # Not told to end, it hands nothing over: its Lease runs out.
    booking.real.kill(NAME, leader)
    # Whatever the killed one left undone, the other does.
    booking.cluster.run_kubectl("-n", "bookings", "delete", "configmap", "booking-config")
    eventually(lambda: holder() not in {"", before}, "another one leads", TAKEOVER_SECONDS)
    restored = ("-n", "bookings", "wait", "--for=create", "configmap/booking-config", "--timeout=30s")
    booking.cluster.run_kubectl(*restored)
    booking.rolled_out(NAME, "deployment", NAME)


def test_a_threshold_takes_effect_in_the_running_pod(booking: World, effect: Future[float]) -> None:
    assert effect.result(timeout=2 * THRESHOLD_SECONDS) <= THRESHOLD_SECONDS
    assert list(restarts(booking, "bookings").values()) == [0]


def test_people_look_after_it_from_their_own_machine(booking: World) -> None:
    sent = ask(booking, "send", "booking", "--type", "booking-created", "--id", "people-1")
    assert (sent.returncode, sent.stdout) == (0, "queued people-1\n"), sent.stderr
    eventually(lambda: booking.delivered("people") == {"people-1": 1}, "it is delivered")
    told = ask(booking, "status", "booking", "-o", "json")
    report = json.loads(told.stdout)
    assert (told.returncode, report["ready"], report["problems"]) == (0, True, []), told.stdout
    assert report["live"]["dispatchers"] == len(report["pods"]) == 1
    assert report["pods"][0]["name"] == booking.pod("bookings", "booking")
    assert ask(booking, "test-alert", "booking").stdout == "Slack took the test alert.\n"
    assert "INFO     started" in ask(booking, "logs", "booking", "--tail", "-1").stdout


def test_uninstalling_leaves_what_the_user_made(booking: World) -> None:
    def left(namespace: str) -> set[str]:
        kinds = "deployments,services,configmaps,secrets,serviceaccounts,servicemonitors,prometheusrules,pods,npl"
        return set(booking.cluster.run_kubectl("-n", namespace, "get", kinds, "-o", "name").split())

    booking.cluster.run_kubectl("-n", "bookings", "delete", "npl", "booking")
    theirs = {"secret/slack", "secret/booking-receivers", "serviceaccount/default", "configmap/kube-root-ca.crt"}
    eventually(lambda: left("bookings") == theirs, f"only {theirs} are left")
    Helm(booking.cluster).run("uninstall", NAME, "--namespace", NAME, "--wait")
    theirs = {"serviceaccount/default", "configmap/kube-root-ca.crt"}
    eventually(lambda: left(NAME) == theirs, f"only {theirs} are left of the operator")
    for kind in ("clusterroles", "clusterrolebindings"):
        assert NAME not in booking.cluster.run_kubectl("get", kind, "-o", "name")
