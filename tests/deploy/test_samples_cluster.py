"""The samples: each is applied to a real API server as its first lines say, and the operator makes a pipeline of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from notification_operator.crd import spec_schema
from notification_operator.group import KIND
from tests.certificates import self_signed
from tests.cluster import Cluster, environment, install_crds
from tests.cluster.crds import cloudnative_pg_crds
from tests.controller.pipelines import condition, eventually, get
from tests.deploy.helm import CHART, ROOT, Helm
from tests.deploy.release import install, operator, remove_release

pytestmark = [pytest.mark.cluster, pytest.mark.helm]

FOLDER = ROOT / "deploy" / "samples"
SAMPLES = sorted(FOLDER.glob("*.yaml"))
CLOUDNATIVE_PG = "clusters.postgresql.cnpg.io"
PROMETHEUS = """
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: kube-prometheus-stack-prometheus}
spec:
  serviceMonitorSelector: {matchLabels: {release: kube-prometheus-stack}}
  serviceMonitorNamespaceSelector: {}
  ruleSelector: {matchLabels: {release: kube-prometheus-stack}}
  ruleNamespaceSelector: {}
"""
VOLUMES = {"full"}
"""Whose pods wait for a volume, which nobody makes here."""


@pytest.fixture(scope="module")
def working(platform: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The platform with the operator at work, and CloudNativePG's definition."""
    install_crds(platform, cloudnative_pg_crds())
    install(Helm(platform), CHART)
    try:
        with operator(platform, tmp_path_factory.mktemp("operator")):
            yield platform
    finally:
        remove_release(Helm(platform), platform)
        platform.run_kubectl("delete", "crd", CLOUDNATIVE_PG)


@contextmanager
def restricted(cluster: Cluster, name: str) -> Iterator[str]:
    """A namespace for one sample."""
    cluster.create_restricted_namespace(name)
    try:
        yield name
    finally:
        cluster.run_kubectl("delete", "namespace", name, "--wait=false")


def make_secrets(cluster: Cluster, namespace: str, sample: Path, folder: Path) -> None:
    """What stands in front of the sample, as it stands; only what is left out of an address is put in."""
    commands = "\n".join(re.findall("^#   (.+)$", sample.read_text(), re.MULTILINE)).replace("…", "left-out")
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    for one in config["contexts"]:
        one["context"]["namespace"] = namespace
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    self_signed(folder, "ca")
    env = {**environment(cluster), "KUBECONFIG": str(folder / "kubeconfig")}
    subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=folder, env=env, check=True)


def validate(*args: str | Path, stdin: str = "") -> None:
    program = Path(sys.executable).with_name("notification-operator")
    env = {"PATH": os.environ["PATH"]}
    answer = subprocess.run(
        [program, "validate", *args], input=stdin, env=env, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def pipelines(sample: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(sample.read_text()) if one["kind"] == KIND]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_it_is_applied_and_reconciled(working: Cluster, sample: Path, tmp_path: Path) -> None:
    validate("-f", sample)
    with restricted(working, f"sample-{sample.stem}") as namespace:
        make_secrets(working, namespace, sample, tmp_path)
        if sample.stem == "cloudnative-pg":
            as_cloudnative_pg(working, namespace, tmp_path)
        if sample.stem == "kube-prometheus-stack":
            working.run_kubectl("-n", namespace, "apply", "-f", "-", stdin=PROMETHEUS)
        apply = ("-n", namespace, "apply", "--warnings-as-errors", "-f", sample)
        working.run_kubectl(*apply, "--dry-run=server")
        working.run_kubectl(*apply)
        for wanted in pipelines(sample):
            is_reconciled(working, namespace, wanted["metadata"]["name"], volumes=sample.stem in VOLUMES)
            if sample.stem == "kube-prometheus-stack":
                found = get(working, namespace, "npl", wanted["metadata"]["name"])
                assert condition(found, "MonitoringSelected")["reason"] == "Selected"
        validate("-f", "-", stdin=working.run_kubectl("-n", namespace, "get", "npl", "-o", "yaml"))


def as_cloudnative_pg(cluster: Cluster, namespace: str, folder: Path) -> None:
    """The Secrets that it makes for the sample's database."""
    uri = "postgresql://notifications:left-out@booking-database-rw.example:5432/notifications"
    make = ("-n", namespace, "create", "secret", "generic")
    cluster.run_kubectl(*make, "booking-database-app", f"--from-literal=uri={uri}")
    cluster.run_kubectl(*make, "booking-database-ca", f"--from-file={folder / 'ca.crt'}")


def is_reconciled(cluster: Cluster, namespace: str, name: str, *, volumes: bool) -> None:
    """Wait until all of the pipeline is as it was asked for: every child, every Secret, and its pods."""
    wanted = {"ResourcesApplied", "QueueConfigured", "ChannelsConfigured"} | (set() if volumes else {"Ready"})

    def look() -> Mapping[str, Any] | None:
        found: Mapping[str, Any] = get(cluster, namespace, "npl", name)
        if found.get("status", {}).get("observedGeneration") != found["metadata"]["generation"]:
            return None
        return found if all(condition(found, kind).get("status") == "True" for kind in wanted) else None

    try:
        eventually(look, f"{name} is reconciled", seconds=40.0)
    except AssertionError as error:
        said = get(cluster, namespace, "npl", name).get("status", {}).get("conditions")
        raise AssertionError(f"{error}: {said}") from error


def test_the_full_sample_has_every_field() -> None:
    used: set[str] = set()
    for one in pipelines(FOLDER / "full.yaml"):
        used |= set(fields(spec_schema(), one["spec"], "spec"))
    missing = set(known(spec_schema(), "spec")) - used
    assert not missing


def known(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """The path of every field, however deep."""
    for name, one in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from known(_inner(one), f"{path}.{name}")


def fields(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
    """The paths of those that are set."""
    for name, one in schema.get("properties", {}).items():
        if name not in value:
            continue
        yield f"{path}.{name}"
        held = value[name]
        if one.get("type") == "array":
            several = held
        elif "properties" in one:
            several = [held]
        else:
            several = held.values() if isinstance(held, Mapping) else []
        for each in several:
            if isinstance(each, Mapping):
                yield from fields(_inner(one), each, f"{path}.{name}")


def _inner(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What stands in a list or a map of objects, or the object itself."""
    inner: Mapping[str, Any] = schema
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), Mapping):
            inner = schema[part]
    return inner


def test_the_list_of_samples_has_all() -> None:
    listed = re.findall(r"\]\(([a-z-]+[.]yaml)\)", (FOLDER / "README.md").read_text())
    assert sorted(listed) == [path.name for path in SAMPLES]
