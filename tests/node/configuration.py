"""The files that a node's programs are configured by; `machine` writes them.

A node of a test is small and alone, so what guards a big one is off: eviction, image garbage collection, cgroups for
each class of pods. What pods see of it is as on any node.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.node.requirements import PLUGINS
from tests.node.sandbox import Network

DOMAIN = "cluster.local"
SOCKET = "/run/node.sock"
"""containerd's, in the node's own mounts."""


def containerd(folder: Path, sandbox_image: str) -> str:
    """containerd's, with all that it keeps below `folder`."""
    return f"""\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs"]
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox_image}"
  # Without CAP_SYS_RESOURCE no process can be made more important than its parent.
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def pod_network(network: Network) -> str:
    """The network of pods: one bridge, their addresses their own on it and the node's beyond."""
    addresses = {"type": "host-local", "ranges": [[{"subnet": network.pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "pods", "isGateway": True, "ipMasq": True, "hairpinMode": True}
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge | {"ipam": addresses}]})


def kubelet(network: Network, resolver: Path, logs: Path) -> str:
    """The kubelet's."""
    return yaml.safe_dump(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "clusterDNS": [network.node],
            "clusterDomain": DOMAIN,
            "resolvConf": str(resolver),
            "podLogsDir": str(logs),
            # Nobody but the API server and the node's own pods reach it.
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": dict.fromkeys(
                ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%"
            ),
        }
    )


def kube_proxy(network: Network, kubeconfig: Path, node: str) -> str:
    """kube-proxy's; the table of connections is the machine's, and its size none of a test's business."""
    return yaml.safe_dump(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "hostnameOverride": node,
            "clusterCIDR": network.pods,
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
    )


def coredns(network: Network, kubeconfig: Path) -> str:
    """CoreDNS', for the cluster's names alone."""
    return f"""\
.:53 {{
  bind {network.node}
  errors
  cache 5
  kubernetes {DOMAIN} in-addr.arpa {{
    kubeconfig {kubeconfig}
    ttl 5
  }}
}}
"""


def kubeconfig(theirs: str, network: Network) -> str:
    """The cluster's kubeconfig, with the API server's address as the node sees it."""
    config: dict[str, Any] = yaml.safe_load(theirs)
    for entry in config["clusters"]:
        port = entry["cluster"]["server"].rpartition(":")[2]
        entry["cluster"]["server"] = f"https://{network.host}:{port}"
    return yaml.safe_dump(config)
