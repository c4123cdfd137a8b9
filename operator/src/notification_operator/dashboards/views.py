"""The four views of the observability guide, in its order. Used by `boards`."""

from __future__ import annotations

from grafana_foundation_sdk.builders import heatmap, timeseries
from grafana_foundation_sdk.models import dashboard, units

from notification_dispatcher import metric_names as names
from notification_dispatcher.metric_names import Result, Threshold
from notification_operator.dashboards import style
from notification_operator.dashboards.row import Row, Scene
from notification_operator.dashboards.style import BLUE, ORANGE, RED, THRESHOLD_LEGEND, WIDTH, Line, Text


def backlog(scene: Scene) -> Row:
    """View 1: dispatcher backlog and active workers."""
    timeline = style.graph_panel(
        Text(
            "Dispatcher backlog and active workers",
            "Is work piling up, and is anyone working on it? Backlog on the left, jobs that run now on the right. "
            "The dashed line is the backlog threshold in force"
            + (f" ({scene.board.backlog_threshold} jobs here)." if scene.board else ", the lowest of those shown."),
            units.Short,
        ),
        12,
        Line(scene.queries.backlog_of_each(), scene.named("backlog")),
        Line(scene.queries.active_jobs(), "active workers"),
        Line(scene.queries.threshold(Threshold.BACKLOG), THRESHOLD_LEGEND),
    )
    timeline.override_by_name("backlog", [style.fixed(ORANGE), style.custom("fillOpacity", 20)])
    timeline.override_by_name("active workers", [style.fixed(BLUE), *style.on_the_right(units.Short, "active workers")])
    return Row("Backlog and workers", (style.with_threshold(timeline), *_waiting(scene), *_held_up(scene)))


def _waiting(scene: Scene) -> tuple[timeseries.Panel, ...]:
    waiting = style.graph_panel(
        Text(
            "Scheduled jobs and dead letters",
            "Scheduled: jobs that wait for their time or for their next attempt; they are part of the backlog. "
            "Dead letters: jobs that failed for good and are kept for a replay.",
            units.Short,
        ),
        6,
        Line(scene.queries.scheduled_jobs(), "scheduled"),
        Line(scene.queries.dead_jobs(), "dead letters"),
    )
    waiting.override_by_name("scheduled", [style.fixed(BLUE)])
    waiting.override_by_name("dead letters", [style.fixed("dark-red")])
    oldest = style.graph_panel(
        Text(
            "Age of the oldest job",
            "How long the job that has waited longest waits. It grows steadily when the queue is stuck, even "
            "while the backlog is small.",
            units.Seconds,
        ),
        6,
        Line(scene.queries.oldest_job_age(), scene.named("oldest job")),
    )
    return (waiting, oldest)


def _held_up(scene: Scene) -> tuple[timeseries.Panel, ...]:
    postponed = style.graph_panel(
        Text(
            "What jobs wait for",
            "Jobs that were put back because a rate limit, a limit of concurrency or an open circuit held them up. "
            "It costs them no attempt. A backlog with none of these wants more workers.",
            units.OpsPerSecond,
        ),
        8,
        Line(scene.queries.postponed(), "{{reason}}"),
    )
    spared = style.graph_panel(
        Text(
            "Channels taken to be down",
            "Channels whose deliveries failed many times in a row, and how many dispatchers spare them: their jobs "
            "wait, and one at a time is let through to probe. It ends by itself when the receiver is back.",
            units.Short,
            empty="None",
        ),
        8,
        Line(scene.queries.open_circuits(), scene.named("{{channel}}")),
    )
    gone = style.graph_panel(
        Text(
            "Dead letters that went",
            "Dead letters that are no longer kept: replayed, deleted, or dropped since they were too old or too many. "
            "What retention drops was never delivered.",
            units.OpsPerMinute,
        ),
        8,
        Line(scene.queries.dead_letters_removed(), "{{reason}}"),
    )
    return (postponed.height(7), spared.height(7), gone.height(7))


def results(scene: Scene) -> Row:
    """View 2: how jobs end."""
    split = style.stacked(
        style.graph_panel(
            Text(
                "Job results: processed, failed, dropped",
                "How jobs end: delivered, failed for good, or discarded before they ran. The height is the rate "
                "at which jobs leave the pipeline.",
                units.OpsPerSecond,
            ),
            12,
            Line(scene.queries.results(Result.PROCESSED, Result.FAILED, Result.DROPPED), "{{result}}"),
        )
    )
    arrivals = style.graph_panel(
        Text(
            "Arrivals: queued and deduplicated",
            "Jobs that were accepted, and repetitions that were not queued again. More queued than processed "
            "means that the backlog grows.",
            units.OpsPerSecond,
        ),
        6,
        Line(scene.queries.results(Result.QUEUED, Result.DEDUPLICATED), "{{result}}"),
    )
    for panel in (split, arrivals):
        for result, colour in style.RESULT_COLOURS.items():
            panel.override_by_name(result.value, [style.fixed(colour)])
    by_job_type = style.graph_panel(
        Text("Processed by job type", "Which kinds of notification are delivered, and how many.", "ops"),
        6,
        Line(scene.queries.processed_by_job_type(), "{{job_type}}"),
    )
    return Row("Job results", (split, arrivals, style.stacked(by_job_type)))


def latency(scene: Scene) -> Row:
    """View 3: wait beside processing, for each job type."""
    wait, duration = names.JOB_WAIT_DURATION_MS, names.JOB_DURATION_MS
    return Row(
        "Wait and processing latency by job type",
        (
            _heatmap(scene, "Wait", "Time in the queue before an attempt starts", wait),
            _heatmap(scene, "Processing", "Time that an attempt takes, without the wait", duration),
            _quantiles(scene, "Wait", "Time in the queue; NotificationHighWait looks at p95", wait),
            _quantiles(scene, "Processing", "Time an attempt takes; NotificationHighDuration looks at p95", duration),
        ),
    )


def _heatmap(scene: Scene, what: str, meaning: str, histogram: str) -> heatmap.Panel:
    text = Text(
        f"{what} time: $job_type",
        f"{meaning}, for this job type alone. Darker: more jobs. A dark band that climbs is a slowdown of all "
        "jobs, a second band above it a slowdown of some.",
        units.Milliseconds,
    )
    panel = style.heatmap_panel(text, scene.queries.heatmap(histogram))
    return panel.repeat("job_type").repeat_direction("h").max_per_row(3)


def _quantiles(scene: Scene, what: str, meaning: str, histogram: str) -> timeseries.Panel:
    text = Text(
        f"{what} time: p50, p95, p99",
        f"{meaning}. Solid: p95, dotted: p50, dashed: p99. The dashed red line is the latency threshold in force"
        + (f" ({scene.board.latency_threshold_ms} ms here)." if scene.board else ", the lowest of those shown."),
        units.Milliseconds,
    )
    panel = style.graph_panel(
        text,
        WIDTH // 2,
        *(Line(scene.queries.quantile(histogram, q), f"p{q * 100:.0f} {{{{job_type}}}}") for q in (0.5, 0.95, 0.99)),
        Line(scene.queries.threshold(Threshold.LATENCY_MS), THRESHOLD_LEGEND),
    )
    for quantile, dash in (("p50", [2, 4]), ("p99", [10, 5])):
        fill = "dot" if quantile == "p50" else "dash"
        looks = [style.custom("lineWidth", 1), style.custom("lineStyle", {"fill": fill, "dash": dash})]
        panel.override_by_regexp(f"/^{quantile} /", looks)
    return style.with_threshold(panel)


def failures(scene: Scene) -> Row:
    """View 4: failures and drops, with the alerts that they raised."""
    rate = style.graph_panel(
        Text(
            "Failures and drops, with firing alerts",
            "Bars: permanent failures (red) and drops (purple) a minute, by reason. Line, on the right: the share "
            "of attempted jobs that failed. Marks on the time axis: alerts that fired. The dashed line is the "
            "rate which, kept up for the failure window, raises a Failure Spike"
            + (f" ({scene.board.failure_threshold} failures within it here)." if scene.board else "."),
            units.OpsPerMinute,
        ),
        WIDTH,
        Line(scene.queries.failures_by("reason"), "failed: {{reason}}"),
        Line(scene.queries.drops_by_reason(), "dropped: {{reason}}"),
        Line(scene.queries.failure_ratio(), "failure ratio"),
        Line(scene.queries.failure_threshold_per_minute(), THRESHOLD_LEGEND),
    )
    overlay = style.with_threshold(style.stacked_bars(rate))
    overlay.override_by_regexp("/^failed: /", [style.shades(RED)])
    overlay.override_by_regexp("/^dropped: /", [style.shades("purple")])
    ratio = [style.fixed("yellow"), *style.plain_line(), *style.on_the_right(units.PercentUnit, "failure ratio")]
    overlay.override_by_name("failure ratio", [*ratio, dashboard.DynamicConfigValue("max", 1)])
    return Row("Failures and drops", (overlay.height(10), *_failure_details(scene)))


def _failure_details(scene: Scene) -> tuple[timeseries.Panel, ...]:
    by_job_type = style.graph_panel(
        Text("Failures by job type", "Which kinds of notification fail for good.", units.OpsPerMinute, empty="None"),
        8,
        Line(scene.queries.failures_by("job_type"), "{{job_type}}"),
    )
    attempts = style.graph_panel(
        Text(
            "Delivery attempts by channel",
            "Each attempt, by channel and outcome, and the retries among them. Failures of one channel alone "
            "point at its receiver.",
            units.OpsPerSecond,
        ),
        8,
        Line(scene.queries.attempts(), "{{channel}} {{outcome}}"),
        Line(scene.queries.retries(), "retries"),
    )
    messages = style.graph_panel(
        Text(
            "Slack alerts of the dispatcher",
            "What became of each alert: sent, suppressed within the cooldown, or failed, which means that Slack "
            "was not told.",
            units.OpsPerMinute,
            empty="None",
        ),
        8,
        Line(scene.queries.alert_messages(), "{{alert}} {{outcome}}"),
    )
    messages.override_by_regexp("/ failed$/", [style.fixed(RED)])
    return (by_job_type, attempts, style.stacked_bars(messages))
