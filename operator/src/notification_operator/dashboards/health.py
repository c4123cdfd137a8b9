"""The first row: is it well now? Used by `boards`."""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.models import dashboard, units

from notification_operator.dashboards import style
from notification_operator.dashboards.row import Row, Scene
from notification_operator.dashboards.style import BLUE, GREEN, ORANGE, RED, Line, Text


def row(scene: Scene) -> Row:
    """The row of health: numbers as they are now."""
    return Row("Health now", (*_load_stats(scene), _drain_stat(scene), _alerts_stat(scene), _targets_stat(scene)))


def _load_stats(scene: Scene) -> tuple[stat.Panel, ...]:
    # One pipeline's numbers turn red at its own thresholds; the fleet's have none that would hold for all.
    backlog = style.steps(GREEN, (scene.board.backlog_threshold, RED)) if scene.board else style.steps(BLUE)
    wait = style.steps(GREEN, (scene.board.latency_threshold_ms, RED)) if scene.board else style.steps(BLUE)
    return (
        style.stat_panel(
            Text("Backlog", "Jobs that wait: due, scheduled, or between two attempts.", units.Short),
            backlog,
            Line(scene.queries.backlog(), "backlog"),
        ),
        style.stat_panel(
            Text(
                "Success ratio",
                "Of the jobs that ended in the last five minutes, the share that was delivered. Permanent "
                "failures and drops count against it.",
                units.PercentUnit,
                empty="No jobs ended",
            ),
            style.steps(RED, (0.95, ORANGE), (0.99, GREEN)),
            Line(scene.queries.success_ratio(), "success ratio"),
        ),
        style.stat_panel(
            Text(
                "Longest p95 wait",
                "95th percentile of the time in the queue over the last five minutes, of the job type where it is "
                "longest. Above the latency threshold, NotificationHighWait fires.",
                units.Milliseconds,
                empty="No jobs started",
            ),
            wait,
            Line(scene.queries.worst_wait_p95(), "p95 wait"),
        ),
    )


def _drain_stat(scene: Scene) -> stat.Panel:
    never = dashboard.RangeMap(
        options=dashboard.DashboardRangeMapOptions(
            from_val=3_000_000_000, to=None, result=dashboard.ValueMappingResult(text="Never", color=RED, index=0)
        )
    )
    return style.stat_panel(
        Text(
            "Time to drain",
            "How long the backlog takes at the rate at which jobs were processed or failed in the last five "
            "minutes, if nothing new arrives; the slowest pipeline's. Never: jobs wait and none ends.",
            units.Seconds,
        ),
        style.steps(GREEN, (300, ORANGE), (1800, RED)),
        Line(scene.queries.seconds_to_drain(), "time to drain"),
    ).mappings([never])


def _alerts_stat(scene: Scene) -> stat.Panel:
    return style.stat_panel(
        Text(
            "Alerts firing",
            "Alerts of the rules for these pipelines that fire now. Zero as well where this data source doesn't "
            "evaluate the rules.",
            units.Short,
        ),
        style.steps(GREEN, (1, RED)),
        Line(scene.queries.alerts_firing(), "firing"),
    )


def _targets_stat(scene: Scene) -> stat.Panel:
    panel = style.stat_panel(
        Text(
            "Targets up",
            "Dispatchers that answer Prometheus, and those that don't. Without one that answers, every other "
            "panel is blind.",
            units.Short,
        ),
        style.steps(GREEN),
        Line(scene.queries.targets(up=True), "up"),
        Line(scene.queries.targets(up=False), "down"),
    )
    panel.override_by_name("up", [style.threshold_colours(RED, 1, GREEN)])
    return panel.override_by_name("down", [style.threshold_colours(GREEN, 1, RED)])
