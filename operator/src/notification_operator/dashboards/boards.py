"""The two boards, put together from rows, variables, links and annotations. Called through the package alone."""

from __future__ import annotations

import json
from typing import Any

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard

from notification_dispatcher import metric_names as names
from notification_operator.dashboards import health, runtime, views
from notification_operator.dashboards.identity import FLEET_TITLE, FLEET_UID, BoardInput, board_title, board_uid
from notification_operator.dashboards.queries import Queries
from notification_operator.dashboards.row import Row, Scene

_FLEET_TAG = "notification-fleet"
_PIPELINE_TAG = "notification-pipeline"
_ALL = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
_ROWS = (health.row, views.backlog, views.results, views.latency, views.failures, runtime.row)
"""From top to bottom, as a responder reads: is it well, the guide's four views in its order, the processes."""

_LABEL_VALUES = 1
"""How Grafana's query editor numbers this kind of query."""


def fleet() -> dict[str, Any]:
    """The board of all pipelines, also for a scrape that sets neither `namespace` nor `pipeline`."""
    queries = Queries.of_fleet()
    source = _source("")
    board = _frame(FLEET_TITLE, FLEET_UID, _FLEET_TAG).description(
        "All notification pipelines. What each panel answers, and what to do, is in its description."
    )
    namespace = queries.pipelines[:1]
    chosen = [
        _variable(source, "namespace", "Namespace", queries.values_of("namespace", names.QUEUE_DEPTH), ".*"),
        _variable(source, "pipeline", "Pipeline", queries.values_of("pipeline", names.QUEUE_DEPTH, *namespace), ".*"),
    ]
    board.variables([_datasource_variable(), *chosen, *_target_variables(source, queries)])
    board.link(_link("Pipelines", _PIPELINE_TAG))
    return _finish(board, source, Scene(queries, None))


def pipeline(chosen: BoardInput) -> dict[str, Any]:
    """The board of one pipeline."""
    queries = Queries.of_pipeline(chosen.metrics_prefix, chosen.namespace, chosen.pipeline)
    source = _source(chosen.datasource)
    title, uid = board_title(chosen.namespace, chosen.pipeline), board_uid(chosen.namespace, chosen.pipeline)
    board = _frame(title, uid, _PIPELINE_TAG).description(
        f"The notification pipeline {chosen.pipeline} of the namespace {chosen.namespace}. Made by the operator: "
        "changes are overwritten."
    )
    datasource = [] if chosen.datasource else [_datasource_variable()]
    board.variables([*datasource, *_target_variables(source, queries)])
    board.link(_link("All pipelines", _FLEET_TAG))
    return _finish(board, source, Scene(queries, chosen))


def _frame(title: str, uid: str, tag: str) -> builders.Dashboard:
    return (
        builders.Dashboard(title)
        .uid(uid)
        .tags(["notifications", tag])
        .readonly()
        .time("now-3h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    )


def _finish(board: builders.Dashboard, source: common.DataSourceRef, scene: Scene) -> dict[str, Any]:
    board.annotation(_firing_alerts(source, scene.queries))
    for make_row in _ROWS:
        _add_row(board, make_row(scene))
    built = board.build()
    _number_panels(built, source)
    document: dict[str, Any] = json.loads(JSONEncoder().encode(built))
    # The SDK's defaults: a menu that hides links and annotations, and what only an interval variable has.
    for item in (*document["links"], *document["annotations"]["list"], *document["templating"]["list"]):
        for default in ("placement", "auto", "auto_count", "auto_min"):
            item.pop(default, None)
    return document


def _add_row(board: builders.Dashboard, row: Row) -> None:
    heading = builders.Row(row.title).collapsed(row.collapsed)
    if row.collapsed:
        for panel in row.panels:
            heading.with_panel(panel)
    board.with_row(heading)
    if not row.collapsed:
        for panel in row.panels:
            board.with_panel(panel)


def _number_panels(board: dashboard.Dashboard, source: common.DataSourceRef) -> None:
    """Give each panel an id, so that links to a panel hold, and the one data source."""
    number = 0
    for outer in board.panels or []:
        inner = outer.panels if isinstance(outer, dashboard.RowPanel) else []
        for panel in (outer, *inner):
            number += 1
            panel.id_val = number
            if isinstance(panel, dashboard.Panel):
                panel.datasource = source


def _source(uid: str) -> common.DataSourceRef:
    return common.DataSourceRef(type_val="prometheus", uid=uid or "${datasource}")


def _datasource_variable() -> builders.DatasourceVariable:
    default = dashboard.VariableOption(selected=True, text="default", value="default")
    return builders.DatasourceVariable("datasource").label("Data source").type("prometheus").current(default).regex("")


def _target_variables(source: common.DataSourceRef, queries: Queries) -> list[builders.QueryVariable]:
    """The variables of both boards: which replicas, and which job types."""
    chosen = queries.pipelines
    job, instance = 'job=~"$job"', 'instance=~"$instance"'
    job_types = f"{names.JOB_WAIT_DURATION_MS}_count"
    return [
        _variable(source, "job", "Job", queries.values_of("job", names.QUEUE_DEPTH, *chosen), ".+"),
        _variable(source, "instance", "Instance", queries.values_of("instance", names.QUEUE_DEPTH, *chosen, job), ".+"),
        _variable(
            source, "job_type", "Job type", queries.values_of("job_type", job_types, *chosen, job, instance), ".+"
        ),
    ]


def _variable(
    source: common.DataSourceRef, name: str, label: str, query: str, everything: str
) -> builders.QueryVariable:
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(source)
        .query({"qryType": _LABEL_VALUES, "query": query, "refId": f"variable-{name}"})
        .definition(query)
        .multi(True)
        .include_all(True)
        .all_value(everything)
        .current(_ALL)
        .options([])
        .regex("")
        .hide(dashboard.VariableHide.DONT_HIDE)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    )


def _firing_alerts(source: common.DataSourceRef, queries: Queries) -> builders.AnnotationQuery:
    return (
        builders.AnnotationQuery()
        .name("Firing alerts")
        .datasource(source)
        .enable(True)
        .hide(False)
        .icon_color("red")
        .expr(queries.firing())
        .title_format("{{alertname}}")
        .text_format("{{severity}} {{namespace}} {{pipeline}} {{job_type}}")
        .tag_keys("severity,job_type")
        .step("60s")
        .use_value_for_time(False)
    )


def _link(title: str, tag: str) -> builders.DashboardLink:
    return (
        builders.DashboardLink(title)
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([tag])
        .as_dropdown(True)
        .keep_time(True)
        .include_vars(False)
        .target_blank(False)
    )
