"""Reads PromQL for the tests of boards and rules: which series a query selects, and inside which functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser
from promql_parser import AggregateExpr, BinaryExpr, Call, MatchOp, MatrixSelector, ParenExpr, VectorSelector

from notification_dispatcher import metric_names as names

OPERATORS = ((MatchOp.Equal, "="), (MatchOp.NotEqual, "!="), (MatchOp.Re, "=~"), (MatchOp.NotRe, "!~"))
HISTOGRAMS = {names.JOB_WAIT_DURATION_MS, names.JOB_DURATION_MS, names.EVENT_LOOP_LAG_SECONDS}
PLAIN_METRICS = {
    value
    for name, value in vars(names).items()
    if name.isupper() and isinstance(value, str) and value.startswith("notification_")
} - HISTOGRAMS
SEED_METRICS = (
    names.QUEUE_DEPTH,
    names.ACTIVE_JOBS,
    names.JOBS_TOTAL,
    names.JOB_WAIT_DURATION_MS,
    names.JOB_DURATION_MS,
    names.JOB_FAILURES_TOTAL,
    names.JOBS_DROPPED_TOTAL,
)
"""The document's own, in its order: what boards and alerts of others are built on."""


@dataclass(frozen=True)
class Selected:
    """One selector of a query."""

    metric: str
    matchers: frozenset[tuple[str, str, str]]
    functions: tuple[str, ...]
    """What it stands in, outermost first."""
    ranged: bool

    def base(self, prefix: str) -> str:
        """Its name without the prefix, and for a histogram without what Prometheus adds."""
        name = self.metric.removeprefix(prefix)
        stem = name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        return stem if stem in HISTOGRAMS else name


def is_published(selected: Selected, prefix: str) -> bool:
    """Whether a dispatcher publishes the metric, as its own or as its runtime's."""
    name = selected.base(prefix)
    runtime = name.startswith(("process_", "python_"))
    return selected.metric.startswith(prefix) and (name in PLAIN_METRICS | HISTOGRAMS or runtime)


def selectors(query: str) -> list[Selected]:
    """Every selector of a query, which must be valid PromQL."""
    return list(_walk(promql_parser.parse(query), ()))


def _walk(node: Any, functions: tuple[str, ...]) -> Iterator[Selected]:
    match node:
        case VectorSelector():
            yield _selected(node, functions, ranged=False)
        case MatrixSelector():
            yield _selected(node.vector_selector, functions, ranged=True)
        case Call():
            for argument in node.args:
                yield from _walk(argument, (*functions, node.func.name))
        case AggregateExpr():
            yield from _walk(node.expr, (*functions, str(node.op)))
        case BinaryExpr():
            yield from _walk(node.lhs, functions)
            yield from _walk(node.rhs, functions)
        case ParenExpr():
            yield from _walk(node.expr, functions)


def _selected(node: VectorSelector, functions: tuple[str, ...], *, ranged: bool) -> Selected:
    matchers = frozenset(
        (matcher.name, sign, matcher.value)
        for matcher in node.matchers.matchers
        for operator, sign in OPERATORS
        if matcher.op == operator
    )
    return Selected(node.name or "", matchers, functions, ranged)
