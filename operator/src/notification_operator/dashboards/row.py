"""What a board is made of, and what its panels are about. Used by `boards` and by the modules that make rows."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import heatmap, stat, timeseries

from notification_operator.dashboards.identity import BoardInput
from notification_operator.dashboards.queries import Queries

Panel = heatmap.Panel | stat.Panel | timeseries.Panel


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, left to right and top to bottom."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """What a board shows."""

    queries: Queries
    board: BoardInput | None
    """The one pipeline; None: the fleet."""

    def named(self, what: str) -> str:
        """Legend of a series that each pipeline has."""
        return what if self.board else f"{what} {{{{namespace}}}} {{{{pipeline}}}}"
