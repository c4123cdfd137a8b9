"""The table of binaries that tests build from Go modules; `binaries` looks them up here.

A new one takes a `tool` line in a go.mod below `go/` (then `go mod tidy`) and a row in `BINARIES`. Versions are
written once, in those go.mod files.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.cluster.errors import ClusterError

MODULES = Path(__file__).parent / "go"
"""The folder of the Go modules which pin what is built."""

KUBERNETES = "k8s.io/kubernetes"
KWOK = "sigs.k8s.io/kwok"
ETCD = "go.etcd.io/etcd/server/v3"
ALERTMANAGER = "github.com/prometheus/alertmanager"
PROMETHEUS = "github.com/prometheus/prometheus"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator"
COREDNS = "github.com/coredns/coredns"
KEDA = "github.com/kedacore/keda/v2"
CLOUDNATIVE_PG = "github.com/cloudnative-pg/cloudnative-pg"
TOXIPROXY = "github.com/Shopify/toxiproxy/v2"
HELM = "helm.sh/helm/v4"
KUBECONFORM = "github.com/yannh/kubeconform"
KUBE_SCORE = "github.com/zegl/kube-score"
ACTIONLINT = "github.com/rhysd/actionlint"

# Without these an API server built from its module reports v0.0.0.
KUBERNETES_STAMPS = (
    ("k8s.io/component-base/version.gitVersion", "v{version}"),
    ("k8s.io/component-base/version.gitMajor", "{major}"),
    ("k8s.io/component-base/version.gitMinor", "{minor}"),
)


@dataclass(frozen=True)
class Binary:
    """One program: the Go package it is built from, and how it tells its version."""

    name: str
    folder: str
    """Folder of its Go module, below `go/`."""
    package: str
    versioned_by: str
    """The module in that go.mod whose version is the program's."""
    version_args: tuple[str, ...] = ("--version",)
    stamps: tuple[tuple[str, str], ...] = ()
    """Variables set by the linker; `{version}`, `{major}` and `{minor}` are filled in."""
    tags: str = ""
    """The build's tags."""

    def version(self, modules: Path = MODULES) -> str:
        """Return the pinned version, without a leading v."""
        return pinned_version(modules / self.folder / "go.mod", self.versioned_by)

    def ldflags(self, version: str) -> str:
        """Return the linker's flags: no debug information, and the version where the program wants it."""
        major, minor = version.split(".")[:2]
        stamped = (f"-X {name}={text.format(version=version, major=major, minor=minor)}" for name, text in self.stamps)
        return " ".join(("-s", "-w", *stamped))


def _kubernetes(name: str, *version_args: str) -> Binary:
    package = f"{KUBERNETES}/cmd/{name}"
    return Binary(name, "kubernetes", package, KUBERNETES, version_args or ("--version",), KUBERNETES_STAMPS)


_CLUSTER = (
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubectl", "version", "--client"),
    Binary("etcd", "kubernetes", ETCD, ETCD),
    Binary("kwok", "kwok", f"{KWOK}/cmd/kwok", KWOK),
    Binary("kwokctl", "kwok", f"{KWOK}/cmd/kwokctl", KWOK),
)
_STAMP = ("github.com/prometheus/common/version.Version", "{version}")
_WATCHERS = (
    # Version 3: the module's is v0.3xx. Tests name targets or have a cluster: no cloud discovery is built in.
    Binary(
        "prometheus",
        "prometheus",
        f"{PROMETHEUS}/cmd/prometheus",
        PROMETHEUS,
        stamps=(_STAMP,),
        tags="remove_all_sd,enable_kubernetes_sd",
    ),
    Binary("alertmanager", "alertmanager", f"{ALERTMANAGER}/cmd/alertmanager", ALERTMANAGER, stamps=(_STAMP,)),
)
_NODE = (
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    Binary("coredns", "coredns", COREDNS, COREDNS, ("-version",)),
)
_MONITORING = tuple(
    Binary(name, "prometheus-operator", f"{PROMETHEUS_OPERATOR}/cmd/{command}", PROMETHEUS_OPERATOR, stamps=(_STAMP,))
    for name, command in (
        ("prometheus-operator", "operator"),
        ("prometheus-config-reloader", "prometheus-config-reloader"),
    )
)
_TOXIPROXY = Binary(
    "toxiproxy-server",
    "toxiproxy",
    f"{TOXIPROXY}/cmd/server",
    TOXIPROXY,
    stamps=((f"{TOXIPROXY}.Version", "{version}"),),
)
_ACTIONLINT = Binary("actionlint", "actionlint", f"{ACTIONLINT}/cmd/actionlint", ACTIONLINT)
_DEPLOYERS = (
    # It names the Kubernetes that a chart is rendered for, where nobody does, by the client library it is built with.
    Binary(
        "helm",
        "helm",
        f"{HELM}/cmd/helm",
        HELM,
        ("version",),
        ((f"{HELM}/internal/version.version", "v{version}"),),
    ),
    Binary(
        "kubeconform",
        "kubeconform",
        f"{KUBECONFORM}/cmd/kubeconform",
        KUBECONFORM,
        ("-v",),
        (("main.version", "v{version}"),),
    ),
    Binary(
        "kube-score",
        "kube-score",
        f"{KUBE_SCORE}/cmd/kube-score",
        KUBE_SCORE,
        ("version",),
        (("main.version", "{version}"),),
    ),
)

BINARIES: Mapping[str, Binary] = MappingProxyType(
    {
        binary.name: binary
        for binary in (*_CLUSTER, *_WATCHERS, *_NODE, *_MONITORING, _TOXIPROXY, _ACTIONLINT, *_DEPLOYERS)
    }
)

CONTROL_PLANE = tuple(binary.name for binary in _CLUSTER)
"""What a kwok cluster needs."""

WATCHERS = tuple(binary.name for binary in _WATCHERS)
"""What the tests of boards and alerts need."""

DEPLOYERS = tuple(binary.name for binary in _DEPLOYERS)
"""What the tests of the chart install with, and judge it by."""

NODE = tuple(binary.name for binary in _NODE)
"""What a node on which pods run needs beside Debian's packages."""

MONITORING = ("prometheus", *(binary.name for binary in _MONITORING))
"""What makes ServiceMonitors into scrapes."""


def pinned_version(go_mod: Path, module: str) -> str:
    """Return the version of `module` that `go_mod` requires, without a leading v."""
    match = re.search(rf"^(?:require)?\s*{re.escape(module)} v(\S+)", go_mod.read_text(), re.MULTILINE)
    if match is None:
        raise ClusterError(f"{go_mod} doesn't require {module}; run `go mod tidy` in its folder.")
    return match[1]


def kubernetes_version() -> str:
    """Return the Kubernetes version of a kwok cluster, as its API server reports it."""
    return f"v{BINARIES['kube-apiserver'].version()}"
