"""The NetworkPolicy: who may call the dispatchers, and where they may go."""

from __future__ import annotations

from collections.abc import Sequence

from notification_operator import naming
from notification_operator.kinds import NETWORK_POLICY
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child, written
from notification_operator.resources.service import PORT_NAME

_METADATA = (
    "169.254.0.0/16",
    "100.100.100.200/32",  # Alibaba's
    "192.0.0.192/32",  # Oracle's
    "168.63.129.16/32",  # Azure's hosts tell their guests their settings here
)
_METADATA_V6 = (
    "fe80::/10",
    "fd00:ec2::254/128",  # Amazon's
)
"""Where instances find what their cloud tells them, credentials among it."""

_ANYWHERE_BUT_METADATA: Sequence[Manifest] = (
    # Some networks, Cilium's among them, don't count pods to any block of addresses.
    {"namespaceSelector": {}},
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(_METADATA)}},
    {"ipBlock": {"cidr": "::/0", "except": list(_METADATA_V6)}},
)

# A cache on the node answers at a link-local address.
_DNS = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]


def build(pipeline: Pipeline, _context: Context) -> Manifest | None:
    """The NetworkPolicy `<name>`."""
    wanted = pipeline.spec.network_policy
    if not wanted.enabled:
        return None
    rule: Manifest = {"ports": [{"protocol": "TCP", "port": PORT_NAME}]}
    if wanted.ingress_from:
        rule["from"] = [written(peer) for peer in wanted.ingress_from]
    return child(NETWORK_POLICY, pipeline, pipeline.name) | {
        "spec": {
            "podSelector": {"matchLabels": naming.selector(pipeline.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [rule],
            "egress": [{"to": list(_ANYWHERE_BUT_METADATA)}, {"ports": _DNS}],
        }
    }
