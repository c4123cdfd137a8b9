"""The test cluster itself, for real: a control plane that answers, controllers that act, and no leftovers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster, ClusterError, Mode, prometheus_crds, running_cluster
from tests.cluster.catalog import kubernetes_version
from tests.cluster.kwok import COMPONENTS, PLAYER
from tests.cluster.processes import running_below
from tests.cluster.state import State

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[1]
DEADLINE_SECONDS = 60.0


def command(*args: str | Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the command line on a kwok cluster, whatever the session runs against."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cluster", *map(str, args)],
        cwd=ROOT,
        env={**os.environ, "CLUSTER": "kwok", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(*args: str | Path) -> tuple[int, str]:
    """Run the command line to its end; return the exit code and what it said."""
    process = command(*args)
    stdout, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    return process.returncode, stdout + stderr


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll other processes' doing until it is seen."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.02)


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A state folder that is empty again after the test."""
    yield tmp_path / "state"
    State(tmp_path / "state").down()


def deployment(name: str) -> str:
    """Return a Deployment of one pod, as JSON."""
    labels = {"app": name}
    container = {"name": "main", "image": "busybox", "command": ["sleep", "86400"]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec})


def test_api_server_answers_with_the_pinned_version(cluster: Cluster) -> None:
    assert cluster.problem() is None
    if cluster.mode is Mode.KWOK:
        assert cluster.server_version() == kubernetes_version()


def test_deployment_becomes_available(cluster: Cluster, namespace: str) -> None:
    cluster.apply(deployment("web"), namespace)
    cluster.run_kubectl("-n", namespace, "wait", "--for=condition=Available", "deployment/web", "--timeout=60s")
    pods = cluster.get_json("-n", namespace, "pods")["items"]
    assert [pod["status"]["phase"] for pod in pods] == ["Running"]


def test_owner_references_are_garbage_collected(cluster: Cluster, namespace: str) -> None:
    cluster.run_kubectl("-n", namespace, "create", "configmap", "owner")
    uid = cluster.get_json("-n", namespace, "configmap", "owner")["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    child = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "child", "ownerReferences": [reference]}}
    cluster.apply(json.dumps(child), namespace)
    cluster.run_kubectl("-n", namespace, "delete", "configmap", "owner")
    cluster.run_kubectl("-n", namespace, "wait", "--for=delete", "secret/child", "--timeout=60s")


def test_access_is_denied_without_a_role(cluster: Cluster, namespace: str) -> None:
    account = f"system:serviceaccount:{namespace}:default"
    with pytest.raises(ClusterError, match="Forbidden"):
        cluster.run_kubectl("-n", namespace, "get", "secrets", "--as", account)


def test_prometheus_operators_definitions_are_established(cluster: Cluster) -> None:
    names = [f"{path.stem.partition('_')[2]}.monitoring.coreos.com" for path in prometheus_crds()]
    assert {name.partition(".")[0] for name in names} >= {"servicemonitors", "prometheusrules", "podmonitors"}
    for crd in cluster.get_json("customresourcedefinitions", *names)["items"]:
        conditions = {condition["type"]: condition["status"] for condition in crd["status"]["conditions"]}
        assert conditions["Established"] == "True", crd["metadata"]["name"]


def test_kubectl_errors_carry_its_own_words(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match=r'`kubectl get configmap absent` .* "absent" not found'):
        cluster.run_kubectl("get", "configmap", "absent")


def test_up_twice_then_down_twice(state_dir: Path) -> None:
    code, said = answer("up", "--state-dir", state_dir)
    assert (code, f"is up: Kubernetes {kubernetes_version()}" in said) == (0, True), said
    before = State(state_dir).processes()
    assert {process.name for process in before} == {*COMPONENTS, PLAYER}

    code, said = answer("up", "--state-dir", state_dir)
    assert (code, "is already up" in said) == (0, True), said
    assert State(state_dir).processes() == before

    code, said = answer("status", "--state-dir", state_dir, "--output", "json")
    report = json.loads(said)
    assert (code, report["up"], report["version"]) == (0, True, kubernetes_version())
    assert Path(report["kubectl"]).exists()

    assert answer("down", "--state-dir", state_dir) == (0, "The test cluster is down.\n")
    assert running_below(state_dir) == []
    assert not (state_dir / "kubeconfig").exists()
    assert answer("down", "--state-dir", state_dir) == (0, "There is no test cluster to end.\n")
    assert answer("status", "--state-dir", state_dir) == (3, "not up: not started\n")


def test_half_dead_cluster_is_started_anew(state_dir: Path) -> None:
    with running_cluster(state_dir, Mode.KWOK) as first:
        victim = next(p for p in State(state_dir).processes() if p.name == "kube-controller-manager")
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: victim not in State(state_dir).processes(), "the controller manager's end")
        assert State(state_dir).problem() == "not running: kube-controller-manager"
        code, said = answer("up", "--state-dir", state_dir)
        assert (code, "starting it anew" in said) == (0, True), said
        assert first.problem() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_up_leaves_nothing(state_dir: Path, number: signal.Signals) -> None:
    process = command("up", "--state-dir", state_dir)
    wait_until(lambda: running_below(state_dir.resolve()), "the first component's start")
    process.send_signal(number)
    _, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130, stderr
    assert running_below(state_dir.resolve()) == []
    assert {path.name for path in state_dir.iterdir()} <= {"bin", ".cluster-lock"}


def test_users_kubeconfig_is_left_alone(state_dir: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "home" / ".kube" / "config"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("apiVersion: v1\nkind: Config\n")
    env = {"HOME": str(tmp_path / "home"), "KUBECONFIG": str(theirs), "XDG_CACHE_HOME": str(_cache_home())}
    for word in ("up", "down"):
        process = command(word, "--state-dir", state_dir, env=env)
        _, stderr = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, stderr
    assert theirs.read_text() == "apiVersion: v1\nkind: Config\n"


def test_clusters_coexist(cluster: Cluster, state_dir: Path) -> None:
    with running_cluster(state_dir, Mode.KWOK) as second:
        second.scale_nodes(3)
        assert len(second.get_json("nodes")["items"]) == 3
        assert cluster.problem() is None
        assert second.started_here
    assert running_below(state_dir.resolve()) == []
    assert cluster.problem() is None


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
