"""Values to render the chart with: every pair of choices stands together in one of the rows at least.

All combinations would be hundreds of thousands; what breaks a chart is one switch, or two that know of each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import Any

Values = Mapping[str, Any]

_DIGEST = f"sha256:{'0123456789abcdef' * 4}"
_PODS = {"matchLabels": {"app": "web"}}

SWITCHES: Mapping[str, Sequence[Values]] = {
    "operators": ({}, {"replicas": 1, "leaderElection": {"enabled": False}}, {"replicas": 3}),
    "definition": ({}, {"crds": {"install": False}}),
    "namespaces": ({}, {"watch": {"namespaces": ["booking"]}}, {"watch": {"namespaces": ["booking", "school"]}}),
    "rights": ({}, {"rbac": {"create": False}}, {"rbac": {"listSecrets": True}}),
    "people": ({}, {"rbac": {"aggregate": False}}),
    "account": (
        {},
        {"serviceAccount": {"create": False, "name": "given"}},
        {"serviceAccount": {"name": "own", "annotations": {"example.com/team": "platform"}}},
    ),
    "image": (
        {},
        {
            "image": {"repository": "registry.example.com/operator", "digest": _DIGEST, "pullPolicy": "Always"},
            "imagePullSecrets": [{"name": "registry"}],
            "dispatcher": {"image": {"digest": _DIGEST}},
        },
        {"image": {"tag": "1.2.3"}, "dispatcher": {"image": {"tag": "1.2.2"}}},
    ),
    "placement": (
        {},
        {
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {
                "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {"topologyKey": "kubernetes.io/hostname", "labelSelector": _PODS}
                    ]
                }
            },
            "priorityClassName": "system-cluster-critical",
            "topologySpreadConstraints": [
                {
                    "topologyKey": "topology.kubernetes.io/zone",
                    "maxSkew": 2,
                    "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": _PODS,
                }
            ],
        },
        {"topologySpreadConstraints": []},
    ),
    "security": ({}, {"podSecurityContext": {"runAsUser": None, "runAsGroup": None}}),
    "resources": ({}, {"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": 2, "ephemeral-storage": "1Gi"}}}),
    "budget": (
        {},
        {"podDisruptionBudget": {"enabled": False}},
        {"podDisruptionBudget": {"maxUnavailable": "50%"}},
    ),
    "network": (
        {},
        {"networkPolicy": {"enabled": False}},
        {
            "networkPolicy": {
                "apiServer": {"ports": [16443], "cidrs": ["10.0.0.10/32", "fd00::10/128"]},
                "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            }
        },
    ),
    "scrape": (
        {},
        {
            "monitoring": {
                "serviceMonitor": {
                    "enabled": True,
                    "labels": {"release": "kps"},
                    "interval": "1m30s",
                    "metricRelabelings": [{"action": "drop", "sourceLabels": ["__name__"], "regex": "process_.+"}],
                }
            }
        },
    ),
    "alerts": (
        {},
        {"monitoring": {"prometheusRule": {"enabled": True}}},
        {
            "monitoring": {
                "prometheusRule": {
                    "enabled": True,
                    "labels": {"release": "kps"},
                    "runbookURL": "https://runbooks.example.com/{alert}.md",
                    "disabled": ["NotificationOperatorRetrying"],
                }
            }
        },
    ),
    "labels": (
        {},
        {
            "commonLabels": {"team": "platform"},
            "podLabels": {"sidecar": "no"},
            "podAnnotations": {"example.com/checked": "true"},
            "env": [{"name": "TZ", "value": "Europe/Vienna"}],
        },
    ),
    "names": ({}, {"nameOverride": "npo"}, {"fullnameOverride": "pipelines"}),
    "log": ({}, {"logging": {"level": "debug", "format": "text"}, "resyncSeconds": 60, "requestTimeoutSeconds": 5}),
}
"""What can be chosen: the default first, then what differs from it."""

Pair = tuple[tuple[str, int], tuple[str, int]]


def rows() -> list[Values]:
    """The rows, beginning with the defaults."""
    chosen = [dict.fromkeys(SWITCHES, 0)]
    missing = _all_pairs() - _pairs(chosen[0])
    while missing:
        row = _fullest(missing)
        chosen.append(row)
        missing -= _pairs(row)
    return [_merged([SWITCHES[name][choice] for name, choice in row.items()]) for row in chosen]


def _all_pairs() -> set[Pair]:
    return {
        ((one, first), (other, second))
        for one, other in combinations(SWITCHES, 2)
        for first, second in product(range(len(SWITCHES[one])), range(len(SWITCHES[other])))
    }


def _pairs(row: Mapping[str, int]) -> set[Pair]:
    return set(combinations(row.items(), 2))


def _fullest(missing: set[Pair]) -> dict[str, int]:
    """A row that begins with a missing pair, and takes what covers most of the others, switch by switch."""
    row = dict(min(missing))
    for name in SWITCHES:
        if name not in row:
            row[name] = max(
                range(len(SWITCHES[name])), key=lambda choice: _covered({**row, name: choice}, name, missing)
            )
    return {name: row[name] for name in SWITCHES}


def _covered(row: Mapping[str, int], new: str, missing: set[Pair]) -> int:
    order = list(SWITCHES)
    mine = (new, row[new])
    return sum(
        ((mine, other) if order.index(new) < order.index(other[0]) else (other, mine)) in missing
        for other in row.items()
        if other[0] != new
    )


def _merged(fragments: Sequence[Values]) -> Values:
    found: dict[str, Any] = {}
    for fragment in fragments:
        for name, value in fragment.items():
            both = isinstance(value, Mapping) and isinstance(found.get(name), Mapping)
            found[name] = _merged([found[name], value]) if both else value
    return found
