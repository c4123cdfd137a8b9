"""What shapes the pods, on a real API server: what it writes differently is understood, nothing is written twice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from notification_operator.pipeline import Pipeline
from notification_operator.resources import volume_claim
from notification_operator.resources.base import Context
from tests.cluster import Cluster, install_crds
from tests.cluster.crds import keda_crds
from tests.controller.pipelines import (
    PERSISTENT,
    POSTGRESQL,
    SHAPED,
    apply,
    condition,
    eventually,
    get,
    manifest,
    slack_secret,
)
from tests.operator_process import OperatorProcess

SHARED: dict[str, Any] = {**POSTGRESQL, "networkPolicy": {"enabled": True}}


def secret(cluster: Cluster, namespace: str, name: str, key: str, value: str) -> None:
    cluster.run_kubectl("-n", namespace, "create", "secret", "generic", name, f"--from-literal={key}={value}")


def applied(cluster: Cluster, namespace: str, reason: str = "Applied") -> dict[str, Any]:
    """The pipeline, once its stored spec was looked at and its children are as it says, or could not be."""

    def look() -> dict[str, Any] | None:
        pipeline: dict[str, Any] = get(cluster, namespace, "npl", "booking")
        found = condition(pipeline, "ResourcesApplied")
        current = found.get("observedGeneration") == pipeline["metadata"]["generation"]
        return pipeline if current and found["reason"] == reason else None

    return eventually(look, f"the outcome is {reason}")


@pytest.mark.parametrize(
    "spec",
    [SHAPED, PERSISTENT, {**SHARED, "autoscaling": {"minReplicas": 2}}],
    ids=["shaped", "volume", "autoscaled"],
)
def test_what_was_written_is_not_written_again(
    cluster: Cluster, namespace: str, operator: OperatorProcess, spec: dict[str, Any]
) -> None:
    slack_secret(cluster, namespace)
    secret(cluster, namespace, "database", "uri", "postgresql://user:password@db/jobs")
    apply(cluster, namespace, manifest(**spec))
    applied(cluster, namespace)
    eventually(lambda: get(cluster, namespace, "deployment/booking")["status"], "the Deployment is looked after")
    operator.stop()
    before = len(operator.applied())
    operator.start()
    cluster.run_kubectl("-n", namespace, "label", "npl/booking", "looked=at")
    # Nothing can be awaited: it is the absence of something that is looked for.
    time.sleep(2)
    assert operator.requests("GET") > 0
    assert len(operator.applied()) == before


def test_scale_reaches_the_deployment_and_comes_back(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    slack_secret(cluster, namespace)
    secret(cluster, namespace, "database", "uri", "postgresql://user:password@db/jobs")
    apply(cluster, namespace, manifest(**SHARED))
    applied(cluster, namespace)
    assert get(cluster, namespace, "pdb/booking") is None

    cluster.run_kubectl("-n", namespace, "scale", "npl/booking", "--replicas=3")
    eventually(lambda: get(cluster, namespace, "npl", "booking")["status"].get("readyReplicas") == 3, "three run")
    assert get(cluster, namespace, "pdb/booking")["spec"]["maxUnavailable"] == 1
    scale = json.loads(
        cluster.run_kubectl(
            "get",
            "--raw",
            f"/apis/notifications.plannivo.io/v1alpha1/namespaces/{namespace}/notificationpipelines/booking/scale",
        )
    )
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (3, 3)
    pods = get(cluster, namespace, "pods", "-l", scale["status"]["selector"])
    assert len(pods["items"]) == 3

    cluster.run_kubectl("-n", namespace, "scale", "npl/booking", "--replicas=0")

    def stopped() -> dict[str, Any] | None:
        found = condition(get(cluster, namespace, "npl", "booking"), "Ready")
        return found if found["reason"] == "ScaledToZero" else None

    assert "spec.replicas is 0" in eventually(stopped, "the condition says so")["message"]


def test_an_autoscaler_takes_the_replicas_over_as_they_are(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    slack_secret(cluster, namespace)
    secret(cluster, namespace, "database", "uri", "postgresql://user:password@db/jobs")
    apply(cluster, namespace, manifest(**SHARED, replicas=3))
    applied(cluster, namespace)
    uid = get(cluster, namespace, "deployment/booking")["metadata"]["uid"]

    apply(cluster, namespace, manifest(**SHARED, autoscaling={"minReplicas": 2, "maxReplicas": 6}))
    applied(cluster, namespace)
    eventually(lambda: get(cluster, namespace, "hpa/booking"), "there is an autoscaler")
    # Nobody measures CPU here, so that the autoscaler has no reason to change the number, and we must not.
    found = get(cluster, namespace, "deployment/booking")
    assert (found["metadata"]["uid"], found["spec"]["replicas"]) == (uid, 3)

    cluster.run_kubectl("-n", namespace, "scale", "deployment/booking", "--replicas=5")
    cluster.run_kubectl("-n", namespace, "label", "npl/booking", "looked=at")
    eventually(lambda: get(cluster, namespace, "npl", "booking")["status"]["replicas"] == 5, "five are counted")
    assert get(cluster, namespace, "deployment/booking")["spec"]["replicas"] == 5

    # Of none a HorizontalPodAutoscaler makes nothing, for ever.
    cluster.run_kubectl("-n", namespace, "scale", "deployment/booking", "--replicas=0")
    eventually(
        lambda: get(cluster, namespace, "deployment/booking")["spec"]["replicas"] == 2, "the least that is wanted"
    )
    applied(cluster, namespace)

    apply(cluster, namespace, manifest(**SHARED, replicas=2))
    eventually(lambda: get(cluster, namespace, "deployment/booking")["spec"]["replicas"] == 2, "two, as it says")
    eventually(lambda: get(cluster, namespace, "hpa/booking") is None, "the autoscaler is gone")


def test_an_autoscaler_gives_way_to_keda_and_comes_back(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    slack_secret(cluster, namespace)
    secret(cluster, namespace, "database", "uri", "postgresql://user:password@db/jobs")
    apply(cluster, namespace, manifest(**SHARED, autoscaling={}))
    applied(cluster, namespace)
    assert get(cluster, namespace, "hpa/booking")
    definitions = [part for path in keda_crds() for part in ("-f", str(path))]
    install_crds(cluster, keda_crds())
    try:
        found = eventually(lambda: get(cluster, namespace, "scaledobjects/booking"), "KEDA was noticed", 30)
        assert [one["type"] for one in found["spec"]["triggers"]] == ["postgresql", "cpu"]
        assert get(cluster, namespace, "triggerauthentications/booking")
        eventually(lambda: get(cluster, namespace, "hpa/booking") is None, "the autoscaler gives way")
    finally:
        cluster.run_kubectl("delete", *definitions)
    eventually(lambda: get(cluster, namespace, "hpa/booking"), "the autoscaler is back", 60)


def test_a_volume_is_made_grows_and_goes_with_the_pipeline(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    slack_secret(cluster, namespace)
    apply(cluster, namespace, manifest(**PERSISTENT))
    pipeline = applied(cluster, namespace)
    claim = get(cluster, namespace, "pvc/booking-queue")
    assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert "booking-queue" in condition(pipeline, "QueueConfigured")["message"]
    cluster.run_kubectl("-n", namespace, "delete", "npl", "booking", "--timeout=20s")
    eventually(lambda: get(cluster, namespace, "pvc/booking-queue") is None, "the volume goes with it", 60)


@pytest.fixture
def volume(cluster: Cluster, namespace: str) -> Iterator[dict[str, Any]]:
    """A class that lets volumes grow, and a volume of it. Nobody makes volumes here, or makes them larger."""
    of_class = {"storageClassName": namespace, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/queue"}}
    for made in (
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "provisioner": "example.com/none",
            "allowVolumeExpansion": True,
        },
        {"apiVersion": "v1", "kind": "PersistentVolume", "spec": {**of_class, "capacity": {"storage": "2Gi"}}},
    ):
        cluster.run_kubectl("apply", "-f", "-", stdin=json.dumps({**made, "metadata": {"name": namespace}}))
    yield {"size": "2Gi", "storageClassName": namespace}
    cluster.run_kubectl("delete", f"storageclass/{namespace}", f"persistentvolume/{namespace}", "--wait=false")


def test_a_volume_keeps_what_was_added_by_hand_and_a_growth_can_be_taken_back(
    cluster: Cluster, namespace: str, operator: OperatorProcess, volume: dict[str, Any]
) -> None:
    slack_secret(cluster, namespace)

    def persistent(size: str) -> None:
        apply(cluster, namespace, manifest(queue={"persistence": {**volume, "size": size}}))

    def size() -> str:
        found: str = get(cluster, namespace, "pvc/booking-queue")["spec"]["resources"]["requests"]["storage"]
        return found

    persistent("2Gi")
    applied(cluster, namespace)
    eventually(lambda: get(cluster, namespace, "pvc/booking-queue")["status"]["phase"] == "Bound", "it is bound")
    by_hand = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
    cluster.run_kubectl("-n", namespace, "patch", "pvc/booking-queue", "-p", json.dumps(by_hand))

    def told() -> bool:
        return "keeps its 3Gi" in condition(get(cluster, namespace, "npl", "booking"), "QueueConfigured")["message"]

    eventually(told, "a condition says that it is larger")
    cluster.run_kubectl("-n", namespace, "create", "quota", "storage", "--hard=requests.storage=4Gi")
    eventually(lambda: get(cluster, namespace, "quota/storage").get("status", {}).get("used"), "the quota counts")
    persistent("5Gi")
    applied(cluster, namespace, "ApplyFailed")
    persistent("1Gi")
    applied(cluster, namespace)
    assert size() == "3Gi"
    persistent("4Gi")
    applied(cluster, namespace)
    assert size() == "4Gi"


def test_a_volume_is_not_deleted_by_a_change_of_the_spec(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    """The API server refuses to take persistence away; were it not so, the jobs would be there still."""
    slack_secret(cluster, namespace)
    apply(cluster, namespace, manifest())
    pipeline = applied(cluster, namespace)
    persistent = Pipeline.parse({**pipeline, "spec": manifest(**PERSISTENT)["spec"]})
    claim = volume_claim.build(persistent, Context("image:1"))
    cluster.run_kubectl("apply", "-f", "-", stdin=json.dumps(claim))
    apply(cluster, namespace, manifest(workers={"concurrency": 2}))
    applied(cluster, namespace)
    assert "deletionTimestamp" not in get(cluster, namespace, "pvc/booking-queue")["metadata"]


def test_a_database_or_token_that_is_missing_is_named_and_heals(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    slack_secret(cluster, namespace)
    token: dict[str, Any] = {"api": {"authTokenSecretRef": {"name": "token", "key": "token"}}}
    apply(cluster, namespace, manifest(**POSTGRESQL, **token))
    pipeline = applied(cluster, namespace)
    missing = condition(pipeline, "QueueConfigured")
    assert (missing["status"], missing["reason"]) == ("False", "SecretNotFound")
    assert "queue.postgresql.dsnSecretRef: there is no Secret database" in missing["message"]
    assert condition(pipeline, "Ready")["message"] == missing["message"]
    assert "nobody is let in" in condition(pipeline, "ApiSecured")["message"]

    secret(cluster, namespace, "database", "uri", "postgresql://user:password@db/jobs")
    secret(cluster, namespace, "token", "token", "a-long-enough-token")

    def healed() -> bool:
        found = get(cluster, namespace, "npl", "booking")
        return all(condition(found, kind)["status"] == "True" for kind in ("QueueConfigured", "ApiSecured"))

    eventually(healed, "both Secrets were found")
    data = get(cluster, namespace, "secret/booking-credentials")["data"]
    assert set(data) == {"NOTIFICATION_QUEUE_DSN", "NOTIFICATION_API_TOKEN"}
