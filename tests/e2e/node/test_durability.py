"""Accepted is kept, on a real node: a dispatcher killed there, a rollout and scaling under load lose no job.

Once with a queue on a volume of the node, where one dispatcher follows another; else with dispatchers that share one in
PostgreSQL. The ledger is outside at both ends: what the caller was told is kept, and what the receiver took.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.controller.pipelines import manifest
from tests.e2e.node.world import World, eventually, result
from tests.postgres import PostgresServer, postgres_server

BATCHES, PAUSE = 150, 0.1
UNTIL_THE_END = 0
WEBHOOK = {"url": "http://receiver.clients.svc.cluster.local/crm", "allowPrivateAddresses": True}
CRM: dict[str, Any] = {
    "channels": [{"name": "crm", "webhook": WEBHOOK}],
    # Short, so that what a killed dispatcher had in hand comes again within the test.
    "workers": {"timeout": "2s", "drainTimeout": "5s"},
    "alerts": {"mode": "Alertmanager"},
    "retry": {"maxAttempts": 10, "initialBackoff": "200ms", "maxBackoff": "2s"},
}
SHARED = {"engine": "PostgreSQL", "postgresql": {"dsnSecretRef": {"name": "database", "key": "uri"}}}
VOLUME = "/var/lib/notification-volume"
STORAGE = "node-local"
DATABASE_PORT = 5432


@pytest.fixture(scope="module")
def teams(installed: World) -> World:
    """The world with a namespace for these pipelines, and one volume on the node."""
    installed.cluster.create_restricted_namespace("teams")
    installed.real.node.run("mkdir", "-p", VOLUME)
    terms = [{"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}]
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": STORAGE},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": STORAGE,
            "local": {"path": VOLUME},
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
        },
    }
    installed.apply("teams", volume)
    return installed


@pytest.fixture(scope="module")
def database(teams: World) -> Iterator[PostgresServer]:
    """A database of this machine that pods reach."""
    with postgres_server(f"listen_addresses=127.0.0.1,{teams.real.node.host}") as server:
        server.admit_others()
        dsn = server.dsn.replace("127.0.0.1", teams.real.node.host)
        secret = ("create", "secret", "generic", "database", f"--from-literal=uri={dsn}")
        teams.cluster.run_kubectl("-n", "teams", *secret)
        yield server


def loaded(world: World, name: str, batches: int) -> subprocess.Popen[str]:
    """Load one pipeline, and wait until the first have come."""
    url = f"http://{name}.teams.svc.cluster.local:4000/api/notifications"
    calling = world.calling(url, prefix_of(name), batches, PAUSE)
    eventually(lambda: len(world.delivered(prefix_of(name))) >= 25, "the first have come")
    return calling


def prefix_of(name: str) -> str:
    return f"kept-{name}"


def more_come(world: World, name: str) -> None:
    came = len(world.delivered(prefix_of(name)))
    eventually(lambda: len(world.delivered(prefix_of(name))) > came, "and more come")


def repeated(world: World, name: str, calling: subprocess.Popen[str]) -> int:
    """Wait until all that was accepted has come; returns how many came again."""
    said = result(calling)
    assert len(said["accepted"]) == said["sent"]
    eventually(lambda: not set(said["accepted"]) - set(world.delivered(prefix_of(name))), "none is lost")
    return sum(times - 1 for times in world.delivered(prefix_of(name)).values())


def loses_nothing(world: World, name: str) -> None:
    """Load one pipeline; meanwhile kill a dispatcher on its node, then roll all of them."""
    namespace = "teams"
    calling = loaded(world, name, BATCHES)
    before = {pod["metadata"]["name"] for pod in world.pods(namespace, name)}
    victim = min(before)
    world.real.kill(namespace, victim)
    eventually(lambda: restarted(world, namespace, victim), "the kubelet has started it again")
    more_come(world, name)
    patch = json.dumps({"spec": {"podAnnotations": {"example.com/rolled": "once"}}})
    world.cluster.run_kubectl("-n", namespace, "patch", "npl", name, "--type=merge", "-p", patch)
    eventually(lambda: not before & {pod["metadata"]["name"] for pod in world.pods(namespace, name)}, "all are new")
    world.rolled_out(namespace, "deployment", name)
    # At least once: a kill may repeat what was in hand, and nothing else may.
    again = repeated(world, name, calling)
    assert again <= 64, f"{again} came again"


def there_are(world: World, name: str, count: int) -> bool:
    return len(world.all_pods("teams", name)) == count


def restarted(world: World, namespace: str, pod: str) -> bool:
    status = world.cluster.get_json("pod", pod, "-n", namespace)["status"]["containerStatuses"][0]
    return bool(status["restartCount"] and status["ready"])


def test_a_queue_on_a_volume_outlives_its_dispatcher(teams: World) -> None:
    queue = {"persistence": {"size": "1Gi", "storageClassName": STORAGE}}
    teams.apply("teams", manifest("volume", **CRM, queue=queue))
    teams.rolled_out("teams", "deployment", "volume")
    loses_nothing(teams, "volume")


def test_a_shared_queue_outlives_each_of_its_dispatchers(teams: World, database: PostgresServer) -> None:
    teams.apply("teams", manifest("shared", **CRM, queue=SHARED, replicas=2))
    teams.rolled_out("teams", "deployment", "shared")
    loses_nothing(teams, "shared")


def test_scaling_out_and_in_under_load_loses_nothing_and_repeats_nothing(
    teams: World, database: PostgresServer
) -> None:
    # Long: a delivery that is given up on a busy machine is one that comes again.
    patient = {**CRM, "workers": {"timeout": "20s", "drainTimeout": "25s"}}
    teams.apply("teams", manifest("scaled", **patient, queue=SHARED, replicas=1))
    teams.rolled_out("teams", "deployment", "scaled")
    calling = loaded(teams, "scaled", UNTIL_THE_END)
    for replicas in (4, 1):
        teams.cluster.run_kubectl("-n", "teams", "scale", "npl/scaled", f"--replicas={replicas}")
        ready = f"--for=jsonpath={{.status.readyReplicas}}={replicas}"
        teams.cluster.run_kubectl("-n", "teams", "wait", "npl/scaled", ready, "--timeout=90s", timeout=100)
        eventually(partial(there_are, teams, "scaled", replicas), f"there are {replicas}, and none that goes")
        more_come(teams, "scaled")
    # One that is to go ends first what it has in hand.
    assert repeated(teams, "scaled", calling) == 0
