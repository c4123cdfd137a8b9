"""The boards: generated file, structure, queries. What dashboard-linter asks for is checked here, on both boards."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.utils import floatToGoString

from notification_dispatcher.metric_names import DEFAULT_PREFIX, WAIT_BUCKETS_MS, Result
from notification_operator.dashboards import (
    BoardInput,
    board_title,
    board_uid,
    filling,
    fleet_board,
    pipeline_board,
    pipeline_text,
    to_json,
)
from notification_operator.dashboards.filling import BLANK
from notification_operator.dashboards.promql import is_exactly, quote, selector
from tests.controller.promql import SEED_METRICS, Selected, is_published, selectors

FILLED_IN = Path(filling.__file__).with_name(filling.TEMPLATE)
COMMITTED = Path(__file__).parents[2] / "grafana" / "notification-dashboard.json"
README = COMMITTED.with_name("README.md")
INPUT = BoardInput(
    namespace="shop",
    pipeline="bookings",
    metrics_prefix="acme_",
    datasource="",
    latency_threshold_ms=7000,
    backlog_threshold=321,
    failure_threshold=33,
)
VIEWS = [
    "Health now",
    "Backlog and workers",
    "Job results",
    "Wait and processing latency by job type",
    "Failures and drops",
    "Runtime",
]
_FILLS_IN = f"""
from notification_operator.dashboards import BoardInput, pipeline_text
print(pipeline_text({INPUT!r}))
"""
UNITS = {"short", "percentunit", "ms", "s", "ops", "opm", "bytes"}
PROMETHEUS_OWN = {"up", "ALERTS"}

Board = dict[str, Any]


@pytest.fixture(params=["fleet", "pipeline"])
def board(request: pytest.FixtureRequest) -> Board:
    return fleet_board() if request.param == "fleet" else pipeline_board(INPUT)


def all_panels(board: Board) -> Iterator[Board]:
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


def charts(board: Board) -> list[Board]:
    return [panel for panel in all_panels(board) if panel["type"] != "row"]


def chart(board: Board, title: str) -> Board:
    return next(panel for panel in charts(board) if panel["title"] == title)


def queries(board: Board) -> list[str]:
    return [target["expr"] for panel in charts(board) for target in panel["targets"]]


def parsed(query: str) -> list[Selected]:
    return selectors(query.replace("$__rate_interval", "5m"))


def variables(board: Board) -> dict[str, Board]:
    return {variable["name"]: variable for variable in board["templating"]["list"]}


def prefix_of(board: Board) -> str:
    return DEFAULT_PREFIX if board["uid"] == "notification-fleet" else INPUT.metrics_prefix


# The generated files.


def test_the_committed_boards_are_what_the_generator_makes() -> None:
    for path, board in ((COMMITTED, fleet_board()), (FILLED_IN, pipeline_board(BLANK))):
        assert path.read_text(encoding="utf-8") == to_json(board, pretty=True), f"{path.name}: run make generate"


def test_the_command_writes_both_boards(tmp_path: Path) -> None:
    fleet, template = tmp_path / "fleet.json", tmp_path / "template.json"
    subprocess.run([sys.executable, "-m", "notification_operator.dashboards", str(fleet), str(template)], check=True)
    assert fleet.read_bytes() == COMMITTED.read_bytes()
    assert template.read_bytes() == FILLED_IN.read_bytes()


def test_a_pipelines_board_takes_no_sdk() -> None:
    code = f"import sys; sys.modules['grafana_foundation_sdk'] = None\n{_FILLS_IN}"
    made = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert made.stdout.strip() == pipeline_text(INPUT)


def test_equal_input_makes_equal_text() -> None:
    assert to_json(pipeline_board(INPUT)) == to_json(pipeline_board(INPUT))
    assert json.loads(to_json(fleet_board(), pretty=True)) == json.loads(to_json(fleet_board()))


def test_each_call_makes_a_board_of_its_own() -> None:
    pipeline_board(INPUT)["panels"].clear()
    assert pipeline_board(INPUT)["panels"]


# The format.


def test_board_is_classic_and_read_only(board: Board) -> None:
    assert board["schemaVersion"] == 42
    assert board["editable"] is False
    assert not {"__inputs", "__requires", "id", "version", "apiVersion", "spec"} & board.keys()
    assert "inControlsMenu" not in to_json(board)
    assert "auto_min" not in to_json(board)


def test_each_panel_says_what_it_shows(board: Board) -> None:
    for panel in charts(board):
        assert panel["title"]
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"], panel["title"]
    titles = [panel["title"] for panel in all_panels(board)]
    assert len(titles) == len(set(titles))


def test_panels_have_ids_and_room_of_their_own(board: Board) -> None:
    ids = [panel["id"] for panel in all_panels(board)]
    assert ids == list(range(1, len(ids) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in all_panels(board):
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_views_stand_in_the_guides_order(board: Board) -> None:
    rows = [panel for panel in board["panels"] if panel["type"] == "row"]
    assert [row["title"] for row in rows] == VIEWS
    assert [row["title"] for row in rows if row["collapsed"]] == ["Runtime"]
    assert all(bool(row["panels"]) == row["collapsed"] for row in rows)


def test_datasource_is_a_variable(board: Board) -> None:
    assert variables(board)["datasource"]["query"] == "prometheus"
    assert variables(board)["datasource"]["type"] == "datasource"
    assert variables(board)["datasource"]["label"] == "Data source"
    sources = [panel["datasource"] for panel in charts(board)]
    sources += [item["datasource"] for item in board["annotations"]["list"]]
    sources += [variable["datasource"] for variable in variables(board).values() if variable["type"] == "query"]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


def test_query_variables_follow_the_time_range(board: Board) -> None:
    for name, variable in variables(board).items():
        if variable["type"] != "query":
            continue
        assert variable["multi"] is True
        assert variable["includeAll"] is True
        assert variable["refresh"] == 2
        # dashboard-linter asks for these labels of `job` and `instance`.
        assert variable["label"] == name.replace("_", " ").capitalize()
        assert variable["allValue"] == (".*" if name in {"namespace", "pipeline"} else ".+")
        assert variable["current"] == {"selected": True, "text": ["All"], "value": ["$__all"]}
        assert variable["definition"] == variable["query"]["query"]


def test_variables_are_filled_from_metrics_that_exist(board: Board) -> None:
    for name, variable in variables(board).items():
        if variable["type"] != "query":
            continue
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert found is not None
        assert found[2] == name
        (selected,) = selectors(found[1])
        assert is_published(selected, prefix_of(board))


def test_fleet_board_chooses_pipelines_and_a_pipelines_board_is_narrowed() -> None:
    targets = ["job", "instance", "job_type"]
    assert list(variables(fleet_board())) == ["datasource", "namespace", "pipeline", *targets]
    assert list(variables(pipeline_board(INPUT))) == ["datasource", *targets]
    for variable in variables(pipeline_board(INPUT)).values():
        assert variable["type"] == "datasource" or 'namespace="shop",pipeline="bookings"' in variable["definition"]


def test_a_fixed_datasource_replaces_the_variable() -> None:
    board = pipeline_board(BoardInput("shop", "bookings", "acme_", "prom-1", 5000, 500, 20))
    assert "datasource" not in variables(board)
    assert {panel["datasource"]["uid"] for panel in charts(board)} == {"prom-1"}
    assert "${datasource}" not in to_json(board)


# The queries.


def test_each_query_is_valid_and_names_metrics_that_exist(board: Board) -> None:
    for query in queries(board):
        assert parsed(query)
        for selected in parsed(query):
            assert selected.metric in PROMETHEUS_OWN or is_published(selected, prefix_of(board)), query


def test_each_selector_is_narrowed(board: Board) -> None:
    fleet = board["uid"] == "notification-fleet"
    chosen = (
        {("namespace", "=~", "$namespace"), ("pipeline", "=~", "$pipeline")}
        if fleet
        else {("namespace", "=", "shop"), ("pipeline", "=", "bookings")}
    )
    for query in queries(board):
        for selected in parsed(query):
            # Rules aggregate a target's labels away.
            target = set() if selected.metric == "ALERTS" else {("job", "=~", "$job"), ("instance", "=~", "$instance")}
            assert chosen | target <= selected.matchers, query


def test_counters_are_read_as_rates_over_the_rate_interval(board: Board) -> None:
    for query in queries(board):
        for selected in parsed(query):
            counter = selected.metric.endswith(("_total", "_bucket", "_count", "_sum"))
            rated = bool(selected.functions) and selected.functions[-1] in {"rate", "increase"}
            assert counter == rated, query
        assert query.count("$__rate_interval") == len(re.findall(r"\b(?:rate|increase)\(", query))
        assert query.count("[$__rate_interval]") == query.count("$__rate_interval")


def test_every_metric_of_the_guide_is_on_the_board(board: Board) -> None:
    shown = {selected.base(prefix_of(board)) for query in queries(board) for selected in parsed(query)}
    assert shown >= set(SEED_METRICS)


def test_depth_is_taken_once_for_each_pipeline(board: Board) -> None:
    once = f"max by (namespace, pipeline) ({prefix_of(board)}notification_queue_depth"
    for query in queries(board):
        depths = query.count("queue_depth{") - query.count("present_over_time(")
        assert query.count(once) == depths


# What people read about it.


def test_the_readme_has_a_question_for_each_panel_in_its_order(board: Board) -> None:
    table = README.read_text().split("| Row | Panel | Question |\n| --- | --- | --- |\n")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert all(question.endswith(("?", ".")) and "?" in question for _, _, question in rows)
    told = [title for row, panel, _ in rows for title in (row, panel) if title]
    assert told == [panel["title"] for panel in all_panels(board)]


# The views.


def test_stats_show_now_and_graphs_show_the_range(board: Board) -> None:
    for panel in charts(board):
        for target in panel["targets"]:
            assert target["instant"] is (panel["type"] == "stat")
            assert target["range"] is (panel["type"] != "stat")
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))


def test_each_result_has_one_fixed_colour(board: Board) -> None:
    for title in ("Job results: processed, failed, dropped", "Arrivals: queued and deduplicated"):
        overrides = chart(board, title)["fieldConfig"]["overrides"]
        colours = {item["matcher"]["options"]: item["properties"][0]["value"]["fixedColor"] for item in overrides}
        assert colours.keys() == {result.value for result in Result}
        assert len(set(colours.values())) == len(colours)
        for result, colour in colours.items():
            (meaning,) = re.findall(rf"^\| {colour.split('-')[-1]} \| (.+) \|$", README.read_text(), re.MULTILINE)
            assert result in meaning
    stacking = chart(board, "Job results: processed, failed, dropped")["fieldConfig"]["defaults"]["custom"]["stacking"]
    assert stacking["mode"] == "normal"


@pytest.mark.parametrize("what", ["Wait", "Processing"])
def test_heatmaps_are_repeated_for_each_job_type(board: Board, what: str) -> None:
    panel = chart(board, f"{what} time: $job_type")
    (target,) = panel["targets"]
    assert panel["type"] == "heatmap"
    assert panel["repeat"] == "job_type"
    assert target["format"] == "heatmap"
    assert target["legendFormat"] == "{{le}}"
    assert target["expr"].startswith("sum by (le) (increase(")
    assert 'job_type=~"$job_type"' in target["expr"]
    options = panel["options"]
    assert options["calculate"] is False
    assert options["rowsFrame"]["layout"] == "le"
    assert options["yAxis"]["unit"] == "ms"
    assert options["filterValues"]["le"] == 1e-9


@pytest.mark.parametrize("what", ["Wait", "Processing"])
def test_heatmaps_have_only_buckets_that_every_pipeline_has_at_all_times(board: Board, what: str) -> None:
    (expr,) = [target["expr"] for target in chart(board, f"{what} time: $job_type")["targets"]]
    (selected,) = parsed(expr)
    (bounds,) = [value for label, _, value in selected.matchers if label == "le"]
    published = [str(floatToGoString(bound)) for bound in WAIT_BUCKETS_MS]  # type: ignore[no-untyped-call]
    assert published[-1] == "3.6e+06"
    for bound in (*published, "5", "900000", "+Inf"):
        assert re.fullmatch(bounds, bound), bound
    assert not re.fullmatch(bounds, "7000.0")


def test_quantiles_of_one_pipeline_are_exact_at_its_threshold() -> None:
    in_fleet, alone = (chart(one, "Wait time: p50, p95, p99") for one in (fleet_board(), pipeline_board(INPUT)))
    assert "le=~" in in_fleet["targets"][1]["expr"]
    assert "le=~" not in alone["targets"][1]["expr"]


@pytest.mark.parametrize(
    ("title", "threshold"),
    [
        ("Dispatcher backlog and active workers", 'threshold="backlog"'),
        ("Wait time: p50, p95, p99", 'threshold="latency_ms"'),
        ("Processing time: p50, p95, p99", 'threshold="latency_ms"'),
        ("Failures and drops, with firing alerts", 'threshold="failure_window_seconds"'),
    ],
)
def test_exported_thresholds_are_drawn(board: Board, title: str, threshold: str) -> None:
    panel = chart(board, title)
    (line,) = [target for target in panel["targets"] if target["legendFormat"] == "alert threshold"]
    assert threshold in line["expr"]
    (looks,) = [item for item in panel["fieldConfig"]["overrides"] if item["matcher"]["options"] == "alert threshold"]
    assert {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}} in looks["properties"]


def test_a_pipelines_own_thresholds_colour_its_numbers() -> None:
    board = pipeline_board(INPUT)
    for title, value in (("Backlog", 321), ("Longest p95 wait", 7000)):
        steps = chart(board, title)["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps == [{"color": "green", "value": None}, {"color": "red", "value": value}]
    assert "33 failures" in chart(board, "Failures and drops, with firing alerts")["description"]


def test_firing_alerts_are_annotations(board: Board) -> None:
    (alerts,) = board["annotations"]["list"]
    (selected,) = selectors(alerts["expr"])
    assert selected.metric == "ALERTS"
    assert {("alertstate", "=", "firing"), ("alertname", "=~", "Notification.+")} <= selected.matchers
    assert {"namespace", "pipeline"} <= {label for label, _, _ in selected.matchers}
    assert alerts["enable"] is True


# Names.

ANY_NAME = st.text(max_size=300)


@given(ANY_NAME, ANY_NAME, ANY_NAME, ANY_NAME)
def test_uids_are_short_stable_and_distinct(namespace: str, name: str, other_namespace: str, other_name: str) -> None:
    uid = board_uid(namespace, name)
    assert re.fullmatch(r"[a-z0-9-]{1,40}", uid)
    assert uid == board_uid(namespace, name)
    same = (namespace, name) == (other_namespace, other_name)
    assert (uid == board_uid(other_namespace, other_name)) == same


@given(st.text(min_size=1, max_size=20), st.integers(0, 20))
def test_where_the_namespace_ends_makes_a_difference(text: str, end: int) -> None:
    uids = {board_uid(text[:index], text[index:]) for index in range(len(text) + 1)}
    assert len(uids) == len(text) + 1


def test_uid_is_the_same_for_ever() -> None:
    assert board_uid("shop", "bookings") == "notification-7d523e301a671b9fb0e700bce4"
    assert board_title("shop", "bookings") == "Notification pipeline shop/bookings"
    assert (pipeline_board(INPUT)["uid"], pipeline_board(INPUT)["title"]) == (
        board_uid("shop", "bookings"),
        board_title("shop", "bookings"),
    )
    assert fleet_board()["uid"] != board_uid("shop", "bookings")


@given(st.text())
@settings(max_examples=500)
def test_no_text_breaks_out_of_its_quotes(text: str) -> None:
    (selected,) = selectors(selector("metric", [is_exactly("label", text)]))
    assert selected.matchers == {("label", "=", text)}
    assert "$" not in quote(text)
    assert "[[" not in quote(text)


@pytest.mark.parametrize("name", ['x"} or vector(1) #', "back\\slash", "new\nline", "$job", "[[job]]", "{{job}}", "ü"])
def test_a_strange_name_stays_a_value(name: str) -> None:
    board = pipeline_board(BoardInput(name, name, "acme_", "", 5000, 500, 20))
    for query in queries(board):
        for selected in parsed(query):
            assert {("namespace", "=", name), ("pipeline", "=", name)} <= selected.matchers


# The text, filled into the template.

NAME = st.from_regex(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)
THRESHOLD = st.integers(1, 10**12)


@given(
    st.builds(
        BoardInput,
        namespace=NAME,
        pipeline=NAME,
        metrics_prefix=st.from_regex(r"([a-zA-Z_][a-zA-Z0-9_]{0,20})?", fullmatch=True),
        datasource=st.text(max_size=20) | st.sampled_from([BLANK.namespace, "${datasource}", str(2**40)]),
        latency_threshold_ms=THRESHOLD,
        backlog_threshold=THRESHOLD,
        failure_threshold=THRESHOLD,
    )
)
@settings(max_examples=100, deadline=None)
def test_the_text_is_that_of_the_board(chosen: BoardInput) -> None:
    assert pipeline_text(chosen) == to_json(pipeline_board(chosen))


def test_no_blank_is_left_nor_stands_for_two_things() -> None:
    blanks = [BLANK.namespace, BLANK.pipeline, BLANK.metrics_prefix, board_uid(BLANK.namespace, BLANK.pipeline)]
    blanks += map(str, (BLANK.latency_threshold_ms, BLANK.backlog_threshold, BLANK.failure_threshold))
    template, filled = FILLED_IN.read_text(encoding="utf-8"), pipeline_text(INPUT)
    for blank in blanks:
        assert blank in template
        assert blank not in filled
        assert [other for other in blanks if blank in other] == [blank]
