"""What a board is made from, what it is called, and how it is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FLEET_UID = "notification-fleet"
FLEET_TITLE = "Notification pipelines"

_UID_PREFIX = "notification-"
_UID_DIGITS = 26
"""Hexadecimal digits of a hash, 104 bits: with the prefix 39 characters, and Grafana takes 40 at most."""


@dataclass(frozen=True, slots=True)
class BoardInput:
    """What one pipeline's board depends on, and nothing else."""

    namespace: str
    pipeline: str
    """The pipeline's name."""
    metrics_prefix: str
    datasource: str
    """Uid of the Prometheus data source. Empty: a variable chooses one."""
    latency_threshold_ms: int
    backlog_threshold: int
    failure_threshold: int


def board_uid(namespace: str, pipeline: str) -> str:
    """The uid of a pipeline's board: the same for ever, and another for any other namespace and name."""
    # The length keeps ("a", "bc") and ("ab", "c") apart.
    identity = f"{len(namespace)}:{namespace}{pipeline}"
    return _UID_PREFIX + hashlib.sha256(identity.encode()).hexdigest()[:_UID_DIGITS]


def board_title(namespace: str, pipeline: str) -> str:
    """The title of a pipeline's board, unique because Kubernetes' names have no slash."""
    return f"Notification pipeline {namespace}/{pipeline}"


def to_json(board: Mapping[str, Any], *, pretty: bool = False) -> str:
    """The one way in which a board is written: equal boards are equal text. Pretty: for a file that people diff."""
    indent, separators = (2, (",", ": ")) if pretty else (None, (",", ":"))
    return json.dumps(board, indent=indent, separators=separators, sort_keys=True, ensure_ascii=False) + "\n" * pretty
