"""How panels look, whatever they show: base panels, lines, colours, thresholds. Used by the modules that make rows.

One meaning has one colour on every panel: a responder who has seen it once need not read the legend again.
"""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common, dashboard, units
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from notification_dispatcher.metric_names import Result

WIDTH = 24
"""Columns of Grafana's grid."""

GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"
THRESHOLD_LEGEND = "alert threshold"
RESULT_COLOURS = {
    Result.QUEUED: BLUE,
    Result.PROCESSED: GREEN,
    Result.FAILED: RED,
    Result.DEDUPLICATED: "semi-dark-yellow",
    Result.DROPPED: "purple",
}

_HEALTH_INTERVAL = "5m"
_HEALTH_POINTS = 1000
"""With the interval: rates on the health row are over five minutes while the board shows three days or fewer."""
_HEATMAP_COLUMNS = 120


@dataclass(frozen=True, slots=True)
class Text:
    """What is written on a panel."""

    title: str
    description: str
    unit: str
    empty: str = "No data"
    """Shown instead of a value where there is none."""


@dataclass(frozen=True, slots=True)
class Line:
    """One query, and what its series are called."""

    expr: str
    legend: str


def steps(base: str, *above: tuple[float, str]) -> dashboard_builders.ThresholdsConfig:
    """A colour below all values, then one from each value on."""
    thresholds = [dashboard.Threshold(color=base)]
    thresholds += [dashboard.Threshold(color=colour, value=value) for value, colour in above]
    return dashboard_builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(thresholds)


def stat_panel(text: Text, thresholds: dashboard_builders.ThresholdsConfig, *lines: Line) -> stat.Panel:
    """One number, as it is now: an instant query, since the last point of a range may be an hour old."""
    panel = (
        stat.Panel()
        .title(text.title)
        .description(text.description)
        .unit(text.unit)
        .no_value(text.empty)
        .thresholds(thresholds)
        .color_scheme(dashboard_builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .justify_mode(common.BigValueJustifyMode.CENTER)
        .orientation(common.VizOrientation.AUTO)
        .text_mode(common.BigValueTextMode.VALUE if len(lines) == 1 else common.BigValueTextMode.VALUE_AND_NAME)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
        .interval(_HEALTH_INTERVAL)
        .max_data_points(_HEALTH_POINTS)
        .height(4)
        .span(WIDTH // 6)
    )
    for reference, line in _lettered(lines):
        panel.with_target(_query(reference, line).instant())
    return panel


def graph_panel(text: Text, width: int, *lines: Line) -> timeseries.Panel:
    """Lines over time, with a table of the latest and the highest values below."""
    panel = (
        timeseries.Panel()
        .title(text.title)
        .description(text.description)
        .unit(text.unit)
        .no_value(text.empty)
        .min(0)
        .color_scheme(dashboard_builders.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .draw_style(common.GraphDrawStyle.LINE)
        .line_interpolation(common.LineInterpolation.LINEAR)
        .line_width(2)
        .fill_opacity(0)
        .show_points(common.VisibilityMode.NEVER)
        .span_nulls(False)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
            .sort_by("Max")
            .sort_desc(True)
        )
        .tooltip(
            common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
        .height(9)
        .span(width)
    )
    for reference, line in _lettered(lines):
        panel.with_target(_query(reference, line).range())
    return panel


def heatmap_panel(text: Text, expr: str) -> heatmap.Panel:
    """A histogram's buckets over time. The text's unit is the buckets'."""
    return (
        heatmap.Panel()
        .title(text.title)
        .description(text.description)
        .unit(units.Short)
        .no_value(text.empty)
        .calculate(False)
        .cell_gap(1)
        .cell_values(heatmap.CellValues().unit(units.Short).decimals(0))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .fill("dark-orange")
            .scale(heatmap_models.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
        )
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .rows_frame(heatmap.RowsHeatmapOptions().layout(common.HeatmapCellLayout.LE))
        .show_value(common.VisibilityMode.NEVER)
        .y_axis(heatmap.YAxisConfig().unit(text.unit).axis_placement(common.AxisPlacement.LEFT))
        .tooltip(
            heatmap.HeatmapTooltip().mode(common.TooltipDisplayMode.SINGLE).y_histogram(True).show_color_scale(True)
        )
        .show_legend()
        .interval("1m")
        .max_data_points(_HEATMAP_COLUMNS)
        .height(7)
        .span(WIDTH)
        # Exactly `{{le}}`: with Grafana's automatic names the bucket +Inf is drawn in the wrong place.
        .with_target(_query("A", Line(expr, "{{le}}")).format(prometheus_models.PromQueryFormat.HEATMAP).range())
    )


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """Fill the area below each line, one on top of the other."""
    return panel.fill_opacity(60).line_width(1).stacking(_stacking())


def stacked_bars(panel: timeseries.Panel) -> timeseries.Panel:
    """Draw bars, one on top of the other, at most one for each minute."""
    return panel.draw_style(common.GraphDrawStyle.BARS).fill_opacity(80).stacking(_stacking()).interval("1m")


def with_threshold(panel: timeseries.Panel) -> timeseries.Panel:
    """Draw the series of the threshold as a thin dashed red line."""
    return panel.override_by_name(
        THRESHOLD_LEGEND,
        [
            fixed(RED),
            custom("drawStyle", "line"),
            custom("lineWidth", 1),
            custom("lineStyle", {"fill": "dash", "dash": [8, 8]}),
            custom("fillOpacity", 0),
            custom("stacking", {"mode": "none", "group": "A"}),
        ],
    )


def on_the_right(unit: str, label: str) -> list[dashboard.DynamicConfigValue]:
    """Give a series an axis of its own, on the right."""
    return [_value("unit", unit), custom("axisPlacement", "right"), custom("axisLabel", label)]


def plain_line() -> list[dashboard.DynamicConfigValue]:
    """Draw a series as a line that stands on no other, whatever the panel's style is."""
    return [
        custom("drawStyle", "line"),
        custom("lineWidth", 2),
        custom("fillOpacity", 0),
        custom("stacking", {"mode": "none", "group": "A"}),
    ]


def fixed(colour: str) -> dashboard.DynamicConfigValue:
    """One colour for a series."""
    return _value("color", {"mode": "fixed", "fixedColor": colour})


def shades(colour: str) -> dashboard.DynamicConfigValue:
    """Shades of one colour for a group of series."""
    return _value("color", {"mode": "shades", "fixedColor": colour})


def threshold_colours(base: str, value: float, above: str) -> dashboard.DynamicConfigValue:
    """Thresholds of one series, where the others on its panel have different ones."""
    return _value("thresholds", steps(base, (value, above)).build())


def custom(option: str, value: object) -> dashboard.DynamicConfigValue:
    """One option of how a series is drawn."""
    return _value(f"custom.{option}", value)


def _value(name: str, value: object) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(id_val=name, value=value)


def _stacking() -> common_builders.StackingConfig:
    return common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A")


def _lettered(lines: tuple[Line, ...]) -> list[tuple[str, Line]]:
    return [(chr(ord("A") + position), line) for position, line in enumerate(lines)]


def _query(reference: str, line: Line) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .ref_id(reference)
        .expr(line.expr)
        .legend_format(line.legend)
        .editor_mode(prometheus_models.QueryEditorMode.CODE)
    )
