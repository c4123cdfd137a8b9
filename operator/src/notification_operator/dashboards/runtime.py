"""The last row, collapsed: the processes themselves. Used by `boards`."""

from __future__ import annotations

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.models import units

from notification_dispatcher import metric_names as names
from notification_operator.dashboards import style
from notification_operator.dashboards.row import Row, Scene
from notification_operator.dashboards.style import WIDTH, Line, Text


def row(scene: Scene) -> Row:
    """The row of the processes."""
    return Row("Runtime", (*_process(scene), *_interpreter(scene), *_configuration(scene)), collapsed=True)


def _process(scene: Scene) -> tuple[timeseries.Panel, ...]:
    queries = scene.queries
    return (
        _third(
            Text("CPU", "CPU seconds used a second; 1 is one core, all that one process uses.", units.Short),
            Line(queries.rate_by_instance("process_cpu_seconds_total"), "{{instance}}"),
        ),
        _third(
            Text("Memory", "Resident memory of each instance.", units.BytesIEC),
            Line(queries.by_instance("process_resident_memory_bytes"), "{{instance}}"),
        ),
        _third(
            Text("Open files", "File descriptors and sockets that are open, beside the limit.", units.Short),
            Line(queries.by_instance("process_open_fds"), "{{instance}}"),
            Line(queries.by_instance("process_max_fds"), "limit {{instance}}"),
        ),
    )


def _interpreter(scene: Scene) -> tuple[timeseries.Panel, ...]:
    queries = scene.queries
    return (
        _third(
            Text(
                "Event-loop lag, p99",
                "How late the event loop runs what is due. Above 0.1 s something blocks it, and every job waits.",
                units.Seconds,
            ),
            Line(queries.loop_lag_p99(), "{{instance}}"),
        ),
        _third(
            Text("Garbage collections", "Runs of Python's collector a second.", units.OpsPerSecond),
            Line(queries.rate_by_instance("python_gc_collections_total"), "{{instance}}"),
        ),
        _third(
            Text("Uptime", "Time since each instance started: a fall to zero is a restart.", units.Seconds),
            Line(queries.uptime(), "{{instance}}"),
        ),
    )


def _configuration(scene: Scene) -> tuple[timeseries.Panel, ...]:
    queries = scene.queries
    return (
        _third(
            Text("Instances by version", "What runs; two versions at once mean a rollout.", units.Short),
            Line(queries.running_by("version", names.BUILD_INFO), "{{version}}"),
        ),
        _third(
            Text(
                "Instances by configuration",
                "Hash of the configuration in force; two at once mean that a change is on its way.",
                units.Short,
            ),
            Line(queries.running_by("hash", names.CONFIG_INFO), "{{hash}}"),
        ),
        _third(
            Text(
                "Configuration reloads",
                "Reloads a minute, by result. One that failed leaves the configuration of before in force.",
                units.OpsPerMinute,
            ),
            Line(queries.reloads(), "{{result}}"),
        ),
    )


def _third(text: Text, *lines: Line) -> timeseries.Panel:
    return style.graph_panel(text, WIDTH // 3, *lines).height(7)
