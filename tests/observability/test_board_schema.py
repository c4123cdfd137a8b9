"""Both boards against Grafana's own types: nothing is misspelt, of another type, or not there any more."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator

from notification_operator.dashboards import fleet_board, pipeline_board
from tests.controller.test_dashboards import INPUT, charts
from tests.observability.grafana_schema import DASHBOARD, PANELS, schemas

ANNOTATION_OF_PROMETHEUS = {"expr", "step", "tagKeys", "textFormat", "titleFormat", "useValueForTime"}
"""What an annotation asks of its data source stands beside what Grafana's types know of it."""

Board = dict[str, Any]


@pytest.fixture(params=["fleet", "pipeline"])
def board(request: pytest.FixtureRequest) -> Board:
    made = fleet_board() if request.param == "fleet" else pipeline_board(INPUT)
    found: Board = json.loads(json.dumps(made))
    return found


def against(name: str, kind: str, value: Any) -> Iterator[str]:
    """What Grafana's type has against a value."""
    schema = {**schemas()[name], "$ref": f"#/definitions/{kind}"}
    for error in Draft7Validator(schema).iter_errors(value):
        yield f"{error.json_path}: {error.message}"


def mistakes(board: Board) -> list[str]:
    plain = copy.deepcopy(board)
    for annotation in plain["annotations"]["list"]:
        for key in ANNOTATION_OF_PROMETHEUS:
            del annotation[key]
    for variable in plain["templating"]["list"]:
        # The query as Grafana's editor shows it.
        variable.pop("definition", None)
    found = list(against(DASHBOARD, "Dashboard", plain))
    for panel in charts(board):
        found += against(panel["type"], "Options", panel["options"])
        if custom := panel["fieldConfig"]["defaults"].get("custom"):
            found += against(panel["type"], "FieldConfig", custom)
    return found


def test_a_board_is_what_grafana_reads(board: Board) -> None:
    assert {panel["type"] for panel in charts(board)} == set(PANELS)
    assert mistakes(board) == []


def test_what_is_drawn_differently_for_one_series_is_known_too(board: Board) -> None:
    for panel in charts(board):
        for override in panel["fieldConfig"]["overrides"]:
            for one in override["properties"]:
                option = one["id"].removeprefix("custom.")
                schema = DASHBOARD if option == one["id"] else panel["type"]
                assert list(against(schema, "FieldConfig", {option: one["value"]})) == []


def _panel(board: Board, kind: str) -> Board:
    return next(panel for panel in charts(board) if panel["type"] == kind)


MISTAKES: dict[str, Callable[[Board], object]] = {
    "a wrong type": lambda board: board.update(schemaVersion="42"),
    "a misspelt field": lambda board: board.update(shemaVersion=42),
    "a place that is no number": lambda board: board["panels"][1]["gridPos"].update(x="left"),
    "a link that leads nowhere": lambda board: board["links"][0].pop("title"),
    "no such order of variables": lambda board: board["templating"]["list"][-1].update(sort=99),
    "no such mode of a legend": lambda board: _panel(board, "timeseries")["options"]["legend"].update(
        displayMode="big"
    ),
    "no such layout of a heatmap": lambda board: _panel(board, "heatmap")["options"]["rowsFrame"].update(layout="up"),
    "no such mode of a number": lambda board: _panel(board, "stat")["options"].update(graphMode=3),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_noticed(board: Board, mistake: Callable[[Board], object]) -> None:
    mistake(board)
    assert mistakes(board) != []
