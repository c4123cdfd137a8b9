"""docs/reference/metrics.md: every metric of both processes, from the registries that they publish.

`python -m tests.docs` writes it (`make generate`). The product itself has no place for this: only here may both
programs be imported at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from prometheus_client import CollectorRegistry, Metric

from notification_dispatcher import metric_names as names
from notification_dispatcher.channels.base import Outcome
from notification_dispatcher.metric_names import DEFAULT_PREFIX
from notification_dispatcher.metrics import Metrics
from notification_dispatcher.pipeline import Routing
from notification_dispatcher.queues.base import Counts
from notification_dispatcher.routes import InForce, Routes
from notification_dispatcher.settings import Fixed, Live, Settings
from notification_operator.metrics import EventResult, OperatorMetrics, ReconcileResult
from notification_operator.status import ConditionType
from tests.controller.promql import SEED_METRICS

_UNITS = {"_ms": "milliseconds", "_seconds": "seconds", "_bytes": "bytes", "_fds": "file descriptors"}

_INTRODUCTION = """# Metrics

Every metric that the dispatcher and the operator publish. Generated from both programs by `make generate`; a test
compares it with a scrape of each.

A counter's name ends in `_total`. A histogram has the series `_bucket` (with the label `le`), `_sum` and `_count`. What
can be known of label values at the start is published from then on, at zero: so the first failure is seen by
`increase()`.
"""

_DISPATCHER = f"""## Dispatcher

`GET {names.METRICS_PATH}` on the API's port. The prefix is `{DEFAULT_PREFIX}` unless `spec.monitoring.metricsPrefix`
(`NOTIFICATION_METRICS_PREFIX`) sets another.

Dispatchers that share a PostgreSQL queue all report the same depth, and the same scheduled, dead and oldest jobs: take
`max by (namespace, pipeline)` of these gauges, and `sum` of everything else.
"""

_OPERATOR = """## Operator

`GET /metrics` on port 8080. Everything but the process's own metrics begins with `notification_operator_`; a replica
that stands by reports no pipelines.
"""

_OPEN = {
    "job_type": "each of `spec.jobTypes`, the first fifty other types that are seen, then `other`; `invalid` where the "
    "type could not be read",
    "channel": "each of `spec.channels`",
    "hash": "twelve hexadecimal digits, which change with any setting",
    "version": "that of the program, or of Python",
    "implementation": "`CPython`",
    "generation": "`0`, `1`, `2`",
    "kind": "the kind of object that is watched, such as `Secret`",
    "verb": "the HTTP method of the request, such as `PATCH`",
    "code": "the HTTP status of the answer; `0` where there was none",
}

Values = Iterable[StrEnum | str]

_THRESHOLD = (
    "The pipeline's `latencyThreshold` is always one more bound of the first two: when it changes, they begin at zero."
)


def markdown() -> str:
    """The whole page."""
    parts = [
        _INTRODUCTION,
        _DISPATCHER,
        *_table(dispatcher()),
        *_buckets(dispatcher(), _THRESHOLD),
        *_labels(_DISPATCHER_VALUES, ("job_type", "channel", "hash", "version", "implementation", "generation")),
        _OPERATOR,
        *_table(operator()),
        *_buckets(operator()),
        *_labels(_OPERATOR_VALUES, ("kind", "verb", "code", "version")),
    ]
    return "\n".join(parts).rstrip() + "\n"


def dispatcher() -> list[Metric]:
    """The dispatcher's families, each with a series of every label it can have."""
    routing = Routing.model_validate_json(
        '{"channels": [{"name": "crm", "webhook": {"url": "https://crm.example.com"}}]}'
    )
    live = Live(routing=routing)
    settings = Settings(Fixed(), live, config_dir=None, hash="0" * 12)
    registry = CollectorRegistry()
    Metrics(registry, InForce(settings, Routes(live), {})).watch(lambda: Counts(0, 0, 0, 0), lambda: 0, lambda: 0)
    found = list(registry.collect())
    order = [DEFAULT_PREFIX + name.removesuffix("_total") for name in SEED_METRICS]
    # Stable: the others stay as they are registered.
    return sorted(found, key=lambda family: order.index(family.name) if family.name in order else len(order))


def operator() -> list[Metric]:
    """The operator's families, each with a series of every label it can have."""
    metrics = OperatorMetrics(CollectorRegistry())
    metrics.request("GET", 200)
    metrics.watch_restarts.labels("Secret")
    metrics.verdicts.put(("namespace", "name"), {"Ready": "True"})
    # Its own before the process's, which are registered first.
    return sorted(metrics.registry.collect(), key=lambda family: family.name.startswith("process_"))


def name_of(family: Metric) -> str:
    """As it is written in a query."""
    return f"{family.name}_total" if family.type == "counter" else family.name


def labels_of(family: Metric) -> list[str]:
    """The labels of its series, without a histogram's bounds."""
    found = dict.fromkeys(label for sample in family.samples for label in sample.labels)
    return [label for label in found if label != "le"]


def _table(families: Iterable[Metric]) -> Iterator[str]:
    yield "| metric | type | unit | labels | what it says |\n| --- | --- | --- | --- | --- |"
    for family in families:
        labels = ", ".join(f"`{label}`" for label in labels_of(family))
        text = family.documentation.replace("|", "\\|")
        yield f"| `{name_of(family)}` | {family.type} | {_unit(family)} | {labels} | {text} |"
    yield ""


def _unit(family: Metric) -> str:
    return next((unit for suffix, unit in _UNITS.items() if family.name.endswith(suffix)), "")


def _buckets(families: Iterable[Metric], more: str = "") -> Iterator[str]:
    """Which bounds the histograms have; those that share them in one line."""
    by_bounds: dict[str, list[str]] = {}
    for family in families:
        if family.type == "histogram":
            bounds = dict.fromkeys(sample.labels["le"] for sample in family.samples if "le" in sample.labels)
            by_bounds.setdefault(", ".join(_plain(bound) for bound in bounds), []).append(f"`{family.name}`")
    yield "Buckets, by their upper bounds:\n"
    for shared, histograms in by_bounds.items():
        yield f"- {' and '.join(histograms)}: {shared}"
    yield f"\n{more}\n" if more else ""


def _plain(bound: str) -> str:
    return bound if bound == "+Inf" else f"{float(bound):g}" if float(bound) < 1000 else f"{float(bound):,.0f}"


def _labels(closed: Iterable[tuple[str, str, Values]], open_ones: Iterable[str]) -> Iterator[str]:
    yield "| label | of | values |\n| --- | --- | --- |"
    for label, metric, values in closed:
        yield f"| `{label}` | `{metric}` | {', '.join(f'`{value}`' for value in values)} |"
    for label in open_ones:
        yield f"| `{label}` | each that has it | {_OPEN[label]} |"
    yield ""


def _full(name: str) -> str:
    return DEFAULT_PREFIX + name


_DISPATCHER_VALUES: list[tuple[str, str, Values]] = [
    ("result", _full(names.JOBS_TOTAL), names.Result),
    ("reason", _full(names.JOB_FAILURES_TOTAL), names.FailureReason),
    ("reason", _full(names.JOBS_DROPPED_TOTAL), names.DropReason),
    ("outcome", _full(names.DELIVERY_ATTEMPTS_TOTAL), Outcome),
    ("reason", _full(names.POSTPONED_TOTAL), names.PostponeReason),
    ("reason", _full(names.DEAD_LETTERS_REMOVED_TOTAL), names.RemovalReason),
    ("alert", _full(names.ALERTS_TOTAL), names.Alert),
    ("outcome", _full(names.ALERTS_TOTAL), names.AlertOutcome),
    ("result", _full(names.CONFIG_RELOADS_TOTAL), names.ReloadResult),
    ("threshold", _full(names.THRESHOLD), names.Threshold),
]
_OPERATOR_VALUES: list[tuple[str, str, Values]] = [
    ("condition", "notification_operator_pipelines", ConditionType),
    ("status", "notification_operator_pipelines", ("True", "False", "Unknown")),
    (
        "result",
        "notification_operator_reconciles_total",
        (ReconcileResult.SUCCESS, ReconcileResult.RETRY, ReconcileResult.ERROR),
    ),
    ("result", "notification_operator_events_total", (EventResult.POSTED, EventResult.FAILED, EventResult.DROPPED)),
]
