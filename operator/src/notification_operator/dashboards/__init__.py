"""The Grafana boards: one for the whole fleet, committed for import by hand, and one for each pipeline.

The operator calls `pipeline_text` for a pipeline's ConfigMap and `python -m notification_operator.dashboards` writes
the fleet's. Both are made of the same panels; everything here is a pure function.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from notification_operator.dashboards.identity import BoardInput, board_title, board_uid, to_json

__all__ = ["BoardInput", "board_title", "board_uid", "fleet_board", "pipeline_board", "pipeline_text", "to_json"]

_NAMESPACE, _PIPELINE = "\ue000", "\ue001"
"""Stand for the names in a text that many pipelines share. Nothing else in it can hold these characters."""


def fleet_board() -> dict[str, Any]:
    """The board of all pipelines: `grafana/notification-dashboard.json`."""
    fleet, _ = _makers()
    return fleet()


def pipeline_board(board: BoardInput) -> dict[str, Any]:
    """The board of one pipeline."""
    _, pipeline = _makers()
    return pipeline(board)


def pipeline_text(board: BoardInput) -> str:
    """The same as text, 40 times faster: pipelines with the same thresholds have the same board but for their names.

    The names must be names of Kubernetes: they are put in as they are.
    """
    return (
        _shared_text(replace(board, namespace=_NAMESPACE, pipeline=_PIPELINE))
        .replace(board_uid(_NAMESPACE, _PIPELINE), board_uid(board.namespace, board.pipeline))
        .replace(_NAMESPACE, board.namespace)
        .replace(_PIPELINE, board.pipeline)
    )


@lru_cache(maxsize=32)
def _shared_text(board: BoardInput) -> str:
    return to_json(pipeline_board(board))


def _makers() -> tuple[Callable[[], dict[str, Any]], Callable[[BoardInput], dict[str, Any]]]:
    # Grafana's SDK takes 0.2 to 0.35 s and 21 MiB to import: not at the operator's start, and never where no dashboard
    # is wanted. It warns that there is a newer format, which Grafana 11 doesn't read.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from notification_operator.dashboards.boards import fleet, pipeline  # noqa: PLC0415
    return fleet, pipeline
