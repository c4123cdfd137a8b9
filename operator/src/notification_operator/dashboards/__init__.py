"""The Grafana boards: one for the whole fleet, committed for import by hand, and one for each pipeline.

`python -m notification_operator.dashboards` makes both of the same panels, with Grafana's SDK, and writes them to files
that are committed: the fleet's as it is, a pipeline's as the template that the operator fills in (`filling`). Whoever
runs the operator has no SDK.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from notification_operator.dashboards.filling import pipeline_text
from notification_operator.dashboards.identity import BoardInput, board_title, board_uid, to_json

__all__ = ["BoardInput", "board_title", "board_uid", "fleet_board", "pipeline_board", "pipeline_text", "to_json"]


def fleet_board() -> dict[str, Any]:
    """The board of all pipelines: `grafana/notification-dashboard.json`. Needs the extra `boards`."""
    fleet, _ = _makers()
    return fleet()


def pipeline_board(board: BoardInput) -> dict[str, Any]:
    """The board of one pipeline, made of its panels. Needs the extra `boards`."""
    _, pipeline = _makers()
    return pipeline(board)


def _makers() -> tuple[Callable[[], dict[str, Any]], Callable[[BoardInput], dict[str, Any]]]:
    # The SDK warns that there is a newer format, which Grafana 11 doesn't read.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from notification_operator.dashboards.boards import fleet, pipeline  # noqa: PLC0415
    return fleet, pipeline
