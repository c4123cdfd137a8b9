"""The permissions that we ship are those that the operator uses: none is missing, and none is there for nothing.

The real operator runs as the shipped account against an API server that enforces RBAC. A proxy in between records every
request while all that an operator ever does is done.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from notification_operator import kinds
from notification_operator.kinds import Kind
from notification_operator.naming import OPERATOR
from notification_operator.permissions import WITH_OPERATOR, WITH_PIPELINES, Permission
from notification_operator.resources import desired
from notification_operator.resources.base import Context
from tests.cluster import Cluster, ClusterError, install_crds
from tests.cluster.crds import keda_crds
from tests.controller import accounts
from tests.controller.pipelines import PERSISTENT, POSTGRESQL, apply, events, eventually, get, manifest, parsed
from tests.faults.control_plane.proxy import ApiProxy, Call, Logged, Upstream
from tests.operator_process import OperatorProcess

FULL: dict[str, Any] = {**POSTGRESQL, "autoscaling": {"minReplicas": 2}, "networkPolicy": {"enabled": True}}
BARE: dict[str, Any] = {
    **POSTGRESQL,
    "alerts": {},
    "dashboard": {"enabled": False},
    "monitoring": {"serviceMonitor": {"enabled": False}, "prometheusRule": {"enabled": False}},
}
SECRETS = {"slack": ("url", "https://hooks.slack.example/services/a"), "database": ("uri", "postgresql://u:p@db/jobs")}
KEDA = (kinds.TRIGGER_AUTHENTICATION, kinds.SCALED_OBJECT)
NOTICED_SECONDS = 40.0

Used = set[tuple[str, str, str]]
"""Verb, API group, and resource with its subresource."""


@dataclass(frozen=True)
class Installed:
    """The shipped account, and the namespace whose pipelines it is to look after."""

    cluster: Cluster
    home: str
    namespace: str
    everywhere: bool

    def run(self, *words: str, stdin: Mapping[str, Any] | None = None) -> str:
        """kubectl in the pipelines' namespace."""
        return self.cluster.run_kubectl(
            "-n", self.namespace, *words, stdin=None if stdin is None else json.dumps(stdin)
        )

    def found(self, kind: Kind, name: str) -> Any:
        return get(self.cluster, self.namespace, f"{resource(kind)}/{name}")

    def apply(self, name: str, **spec: Any) -> None:
        apply(self.cluster, self.namespace, manifest(name, **spec))

    def may(self, verb: str, what: str, *where: str) -> bool:
        """`kubectl auth can-i`, as the account. Its exit code says no."""
        account = f"--as=system:serviceaccount:{self.home}:{OPERATOR}"
        try:
            return self.cluster.run_kubectl("auth", "can-i", verb, what, account, *where).strip() == "yes"
        except ClusterError as error:
            if "exit code 1:" not in str(error):
                raise
            return False

    def may_with(self, verb: str, what: str, *where: str) -> bool:
        """The same of `resource/subresource`, which kubectl takes for a resource and a name."""
        whole, _, part = what.partition("/")
        return self.may(verb, whole, *where, *((f"--subresource={part}",) if part else ()))


def resource(kind: Kind) -> str:
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


@pytest.fixture(params=["namespaced", "cluster"])
def installed(request: pytest.FixtureRequest, cluster: Cluster, namespace: str) -> Iterator[Installed]:
    home, everywhere = f"{namespace}-home", request.param == "cluster"
    cluster.run_kubectl("create", "namespace", home)
    try:
        accounts.install(cluster, home, namespace, everywhere=everywhere)
        yield Installed(cluster, home, namespace, everywhere)
    finally:
        if everywhere:
            cluster.run_kubectl("delete", "clusterrolebinding,clusterrole", home)
        cluster.run_kubectl("delete", "namespace", home, "--wait=false")


async def test_the_shipped_permissions_are_exactly_those_that_are_used(installed: Installed, tmp_path: Path) -> None:
    token = await asyncio.to_thread(accounts.token, installed.cluster, installed.home, OPERATOR)
    as_account = accounts.kubeconfig(installed.cluster, token, tmp_path / "account.kubeconfig")
    async with Upstream(as_account) as upstream, ApiProxy(upstream) as proxy:
        operator = OperatorProcess(
            installed.cluster,
            None if installed.everywhere else installed.namespace,
            tmp_path / "operator.log",
            options=("--leader-elect", "--lease-namespace", installed.home),
            kubeconfig=proxy.kubeconfig(tmp_path / "proxy.kubeconfig", token),
        )
        await asyncio.to_thread(everything, installed, operator)
        log = list(proxy.log)
    refused = Counter((str(one.call), one.status) for one in log if one.status in {401, HTTPStatus.FORBIDDEN})
    assert not refused
    leases = [one for one in log if one.call.resource == kinds.LEASE.plural]
    assert used(leases) == granted(WITH_OPERATOR)
    assert {one.call.namespace for one in leases} == {installed.home}
    assert {one.call.name for one in leases if one.call.verb != "create"} == {OPERATOR}
    rest = [one for one in log if one.call.resource and one not in leases]
    assert used(rest) == granted(WITH_PIPELINES)
    if not installed.everywhere:
        places = {one.call.namespace or one.call.name for one in rest}
        assert places == {installed.namespace}
    assert source_secrets_by_name(rest)


def used(log: Iterable[Logged]) -> Used:
    return {(one.call.verb, one.call.group, _with(one.call)) for one in log}


def _with(call: Call) -> str:
    return f"{call.resource}/{call.subresource}" if call.subresource else call.resource


def granted(permissions: Iterable[Permission]) -> Used:
    return {
        (verb, group, name)
        for permission in permissions
        for rule in permission.rules()
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for name in rule["resources"]
    }


def source_secrets_by_name(log: Iterable[Logged]) -> bool:
    """Whether each watch of Secrets named the one that it was for, or asked for the operator's own."""
    selectors = {one.call.selector for one in log if one.call.resource == "secrets" and one.call.verb == "watch"}
    return selectors == {"notifications.plannivo.io/pipeline", *(f"metadata.name={name}" for name in SECRETS)}


def everything(installed: Installed, operator: OperatorProcess) -> None:
    """All that an operator ever does."""
    prepare(installed)
    with operator:
        installed.apply("booking", **FULL)
        installed.apply("mail", **PERSISTENT)
        installed.apply("taken", **FULL)
        installed.apply("taken-mail", **PERSISTENT)
        own = [*children("booking", installed.namespace, **FULL), *children("mail", installed.namespace, **PERSISTENT)]
        there(installed, own)
        conflicts(installed, "taken", {kind for kind, _ in children("taken", installed.namespace, **FULL)})
        conflicts(installed, "taken-mail", {kinds.VOLUME_CLAIM})
        repaired(installed, own)
        for kind in (kinds.SERVICE, kinds.SECRET, kinds.CONFIG_MAP):
            names = [name for found, name in own if found is kind]
            installed.run("delete", resource(kind), *names)
            there(installed, [(kind, name) for name in names])
        secrets_come_and_go(installed)
        with_keda(installed)
        installed.apply("booking", **BARE)
        staying = {kinds.SERVICE_ACCOUNT, kinds.CONFIG_MAP, kinds.SECRET, kinds.SERVICE, kinds.DEPLOYMENT}
        eventually(lambda: kinds_of(installed, "booking") == staying, "what is not wanted goes")
        operator.stop()
        operator.start()
        eventually(operator.leads, "it leads again")
        installed.run("delete", "npl", "--all")
        eventually(lambda: not installed.found(kinds.DEPLOYMENT, "booking"), "the children go", NOTICED_SECONDS)


def prepare(installed: Installed) -> None:
    """The Secrets, a Prometheus that selects by the namespace's labels, and what has the names of some children."""
    for name, (key, value) in SECRETS.items():
        installed.run("create", "secret", "generic", name, f"--from-literal={key}={value}")
    prometheus = {"serviceMonitorSelector": {}, "serviceMonitorNamespaceSelector": {"matchLabels": {"team": "crm"}}}
    installed.run("create", "-f", "-", stdin=_object(kinds.PROMETHEUS, {"name": "kps"}, spec=prometheus))
    occupy(installed, "taken", **FULL)
    occupy(installed, "taken-mail", **PERSISTENT)


def occupy(installed: Installed, name: str, *, keda: bool = False, **spec: Any) -> None:
    """Make everything that this pipeline would, as somebody else."""
    for made in desired(parsed(name, installed.namespace, **spec), context(spec, keda=keda)):
        named = {"name": made["metadata"]["name"], "namespace": installed.namespace}
        installed.run("create", "-f", "-", stdin={**made, "metadata": named})


def context(spec: Mapping[str, Any], *, keda: bool = False) -> Context:
    """What the builders need to make every child of such a pipeline."""
    values = {"value": b"value"}
    credentials = values if "postgresql" in spec["queue"] else {}
    return Context("image", slack_alerts=values, credentials=credentials, keda=keda)


def children(name: str, namespace: str, **spec: Any) -> list[tuple[Kind, str]]:
    """Kind and name of each child that this pipeline has."""
    made = desired(parsed(name, namespace, **spec), context(spec))
    return [(kinds.kind_of(one), one["metadata"]["name"]) for one in made]


def there(installed: Installed, wanted: Iterable[tuple[Kind, str]]) -> None:
    for kind, name in wanted:
        eventually(partial(installed.found, kind, name), f"{kind.name} {name}", NOTICED_SECONDS)


def conflicts(installed: Installed, name: str, wanted: set[Kind]) -> None:
    """Wait until the pipeline says of all of these kinds that they are somebody else's."""
    names = {kind.name for kind in wanted}

    def told() -> bool:
        said = (installed.found(kinds.PIPELINE, name) or {}).get("status", {}).get("children", [])
        return names <= {child["kind"] for child in said if child["state"] == "Conflict"}

    eventually(told, f"{name} tells of {sorted(names)}", NOTICED_SECONDS)


def repaired(installed: Installed, wanted: Sequence[tuple[Kind, str]]) -> None:
    """Change a label of each by hand, and wait until the operator has changed it back."""
    label = "app.kubernetes.io/managed-by"
    for kind, name in wanted:
        installed.run("label", resource(kind), name, f"{label}=somebody", "--overwrite")

    def ours() -> bool:
        found = [installed.found(kind, name) for kind, name in wanted]
        return all(one["metadata"]["labels"][label] == OPERATOR for one in found)

    eventually(ours, "every child is repaired", NOTICED_SECONDS)


def secrets_come_and_go(installed: Installed) -> None:
    """Rotate the Secret, and take it away twice: the second time, the event is told again."""
    key, value = SECRETS["slack"]
    before = installed.found(kinds.SECRET, "booking-slack-alerts")["data"]
    installed.run("patch", "secret", "slack", "-p", json.dumps({"stringData": {key: f"{value}/rotated"}}))
    eventually(lambda: installed.found(kinds.SECRET, "booking-slack-alerts")["data"] != before, "the rotation follows")
    for times in (1, 2):
        installed.run("delete", "secret", "slack")
        eventually(partial(told_missing, installed, times), f"it is told {times} times", NOTICED_SECONDS)
        installed.run("create", "secret", "generic", "slack", f"--from-literal={key}={value}")
        there(installed, [(kinds.SECRET, "booking-slack-alerts")])


def told_missing(installed: Installed, times: int) -> bool:
    """Whether it was said so often of `booking` that its Secret is missing."""
    found = [one for one in events(installed.cluster, installed.namespace) if one["regarding"]["name"] == "booking"]
    counts = [one.get("series", {}).get("count", 1) for one in found if one["reason"] == "SecretNotFound"]
    return counts == [times]


def with_keda(installed: Installed) -> None:
    """KEDA comes, is used, and goes."""
    install_crds(installed.cluster, keda_crds())
    try:
        occupy_keda = {**FULL, "networkPolicy": {"enabled": False}}
        occupy(installed, "taken-keda", keda=True, **occupy_keda)
        installed.apply("taken-keda", **occupy_keda)
        conflicts(installed, "taken-keda", set(KEDA))
        own = [(kind, "booking") for kind in KEDA]
        there(installed, own)
        repaired(installed, own)
        eventually(lambda: not installed.found(kinds.AUTOSCALER, "booking"), "the autoscaler gives way")
        installed.apply("booking", **{key: value for key, value in FULL.items() if key != "autoscaling"})
        eventually(lambda: not any(installed.found(*one) for one in own), "KEDA's objects go with the autoscaling")
        # Of a kind that is being removed nothing can be made, which is a 403 as well.
        installed.run("delete", "npl", "taken", "taken-keda")
    finally:
        installed.cluster.run_kubectl("delete", *(part for path in keda_crds() for part in ("-f", str(path))))


def kinds_of(installed: Installed, name: str) -> set[Kind]:
    """Which kinds of children it has, by its own word."""
    said = installed.found(kinds.PIPELINE, name).get("status", {}).get("children", [])
    return {kind for kind in kinds.CHILDREN if kind.name in {child["kind"] for child in said}}


def _object(kind: Kind, metadata: Mapping[str, str], **parts: Any) -> dict[str, Any]:
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": dict(metadata), **parts}


NEVER = (
    ("list", "secrets"),
    ("create", "pods"),
    ("delete", "pods"),
    ("create", "pods/exec"),
    ("create", "pods/attach"),
    ("create", "pods/portforward"),
    ("get", "pods/log"),
    ("patch", "pods/ephemeralcontainers"),
    ("create", "serviceaccounts/token"),
    ("delete", "deployments.apps"),
    ("delete", "persistentvolumeclaims"),
    ("delete", "services"),
    ("patch", "deployments.apps/scale"),
    ("create", "notificationpipelines.notifications.plannivo.io"),
    ("patch", "notificationpipelines.notifications.plannivo.io"),
    ("delete", "notificationpipelines.notifications.plannivo.io"),
    ("list", "namespaces"),
    ("create", "namespaces"),
    ("delete", "namespaces"),
    ("list", "nodes"),
    ("list", "customresourcedefinitions.apiextensions.k8s.io"),
    ("create", "roles.rbac.authorization.k8s.io"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
    ("bind", "clusterroles.rbac.authorization.k8s.io"),
    ("escalate", "roles.rbac.authorization.k8s.io"),
    ("escalate", "clusterroles.rbac.authorization.k8s.io"),
    ("impersonate", "users"),
    ("impersonate", "groups"),
    ("impersonate", "serviceaccounts"),
    ("update", "leases.coordination.k8s.io"),
    ("deletecollection", "secrets"),
    ("*", "*"),
)


def test_nothing_else_is_allowed(installed: Installed) -> None:
    allowed = [(verb, what) for verb, what in NEVER if installed.may_with(verb, what, "-n", installed.namespace)]
    assert not allowed
    assert not [(verb, what) for verb, what in NEVER if installed.may_with(verb, what, "-A")]
    lease = f"leases.coordination.k8s.io/{OPERATOR}"
    assert installed.may("update", lease, "-n", installed.home)
    assert not installed.may("update", "leases.coordination.k8s.io/other", "-n", installed.home)
    assert not installed.may("update", lease, "-n", installed.namespace)


def test_what_is_granted_is_granted_here_and_elsewhere_only_in_the_clusters_mode(installed: Installed) -> None:
    for verb, group, name in granted(WITH_PIPELINES):
        if group == kinds.SCALED_OBJECT.group:
            continue  # kubectl asks for what the cluster has
        whole, slash, part = name.partition("/")
        what = f"{whole}.{group}{slash}{part}" if group else name
        assert installed.may_with(verb, what, "-n", installed.namespace), (verb, name)
    for verb, what in (("watch", "secrets"), ("get", "secrets"), ("create", "deployments.apps"), ("list", "pods")):
        assert installed.may(verb, what, "-n", "default") is installed.everywhere, (verb, what)
