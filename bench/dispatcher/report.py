"""Makes a summary of the rounds, and a table of the summary. `__main__` prints the one or the other.

Ratios are of figures of the same round, never of one round's best with another's worst.
"""

from __future__ import annotations

import itertools
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.dispatcher.peer import PEERS
from bench.dispatcher.rounds import CONCURRENCIES, PROCESSES, Figures, Plan

OURS = ("ours", "postgresql")
"""With one process: on SQLite and on PostgreSQL."""

Round = Mapping[str, Figures]
"""By measurement. What could not be measured is absent."""


class Spread(NamedTuple):
    """One figure over all rounds."""

    min: float
    median: float
    max: float


class Aim(NamedTuple):
    """What is aimed at: a figure, and the bound that its median should keep."""

    text: str
    name: str
    bound: float
    at_least: bool


_AIMS = (
    Aim("no-op throughput beside taskiq", "ours / taskiq", 10, at_least=True),
    Aim("no-op throughput on PostgreSQL beside taskiq", "postgresql / taskiq", 8, at_least=True),
    Aim("two processes on one PostgreSQL beside one", "postgresql-2 / postgresql", 1, at_least=True),
    Aim("rate after a churn, of the rate before", "churn last / first", 0.9, at_least=True),
    Aim("rate with a deep backlog, of that with a shallow one", "churn deep / shallow", 0.5, at_least=True),
    *(
        Aim(f"webhooks beside the bare aiohttp client, {n} at once", f"webhooks-{n} / bare", 0.7, at_least=True)
        for n in CONCURRENCIES
    ),
    Aim("HTTP ingestion in batches of 100, jobs/s", "ours enqueued_per_s", 60_000, at_least=True),
    Aim("p99 wait at half load, no-op jobs, ms", "ours wait_p99_ms", 50, at_least=False),
    *(
        Aim(f"p99 wait at half load, webhooks, {n} at once, ms", f"webhooks-{n} wait_p99_ms", 50, at_least=False)
        for n in CONCURRENCIES
    ),
    Aim("RSS with the backlog waiting, MiB", "ours waiting_rss_mib", 150, at_least=False),
    Aim("metrics and alerts, % of a no-op job's processor time", "monitor cpu_percent", 5, at_least=False),
)


def summary(rounds: Sequence[Round], plan: Plan, not_measured: Mapping[str, str]) -> dict[str, Any]:
    """Everything that came of it, ready for JSON."""
    spreads = {name: spread(values) for name, values in _series(rounds).items() if values}
    aims = []
    for aim in _AIMS:
        found = spreads.get(aim.name)
        met = None if found is None else (found.median >= aim.bound) == aim.at_least or found.median == aim.bound
        aims.append({"aim": aim.text, "bound": aim.bound, "at_least": aim.at_least, "figure": aim.name, "met": met})
    return {
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "plan": {"rounds": len(rounds), **{name: getattr(plan, name) for name in Plan.__slots__}},
        "figures": {name: spread._asdict() for name, spread in spreads.items()},
        "aims": aims,
        "not_measured": dict(not_measured),
        "rounds": [dict(one) for one in rounds],
    }


def _series(rounds: Sequence[Round]) -> dict[str, list[float]]:
    """Each figure's values, round by round, and the ratios."""
    series: dict[str, list[float]] = {}
    for one in rounds:
        for part, figures in one.items():
            for name, value in figures.items():
                series.setdefault(f"{part} {name}", []).append(value)
        for name, value in _ratios(one).items():
            series.setdefault(name, []).append(value)
    return series


def _ratios(one: Round) -> Figures:
    found: Figures = {}
    for engine, name in itertools.product(OURS, PEERS):
        if engine in one and name in one:
            found[f"{engine} / {name}"] = one[engine]["jobs_per_s"] / one[name]["jobs_per_s"]
            found[f"{engine} / {name} enqueued"] = one[engine]["enqueued_per_s"] / one[name]["enqueued_per_s"]
    for processes in PROCESSES:
        if (fleet := one.get(f"postgresql-{processes}")) and (alone := one.get("postgresql")):
            found[f"postgresql-{processes} / postgresql"] = fleet["jobs_per_s"] / alone["jobs_per_s"]
    if churn := one.get("churn"):
        found["churn last / first"] = churn["last_per_s"] / churn["first_per_s"]
        found["churn deep / shallow"] = churn["deep_per_s"] / churn["shallow_per_s"]
    for concurrency in CONCURRENCIES:
        if webhooks := one.get(f"webhooks-{concurrency}"):
            found[f"webhooks-{concurrency} / bare"] = webhooks["jobs_per_s"] / webhooks["bare_per_s"]
    if monitor := one.get("monitor"):
        found["monitor cost_percent"] = (1 - monitor["with_per_s"] / monitor["without_per_s"]) * 100
        found["monitor cpu_percent"] = (monitor["with_cpu_us"] / monitor["without_cpu_us"] - 1) * 100
    return found


def spread(values: Sequence[float]) -> Spread:
    """The figure over these rounds."""
    return Spread(min(values), statistics.median(values), max(values))


class _Table:
    """The summary's figures as text."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._figures: Mapping[str, Mapping[str, float]] = found["figures"]
        self._found = found

    def has(self, part: str) -> bool:
        return any(f"{part} {name}" in self._figures for name in ("jobs_per_s", "with_per_s", "deep_per_s"))

    def of(self, name: str, digits: int = 0) -> str:
        """Median, and from what to what."""
        one = self._figures.get(name)
        if one is None:
            return "-"
        low, middle, high = (f"{one[key]:,.{digits}f}" for key in ("min", "median", "max"))
        return middle if low == high else f"{middle} ({low}..{high})"

    def waits(self, part: str) -> str:
        middle, slow = (self._figures.get(f"{part} {name}") for name in ("wait_p50_ms", "wait_p99_ms"))
        return "-" if middle is None or slow is None else f"{middle['median']:.1f} / {slow['median']:.1f}"


def table(found: Mapping[str, Any]) -> str:
    """The whole report."""
    made = _Table(found)
    plan, machine = found["plan"], found["machine"]
    lines = [
        f"{plan['rounds']} rounds on {machine['cpus']} processors, Python {machine['python']}: median (min..max)",
        *_no_op(made, found),
        *_ingestion(made, plan),
        *_fleet(made, plan),
        *_churn(made, plan),
        *_webhooks(made, plan),
        *_monitor(made),
        "",
        "Aims (by the median)",
    ]
    for aim in found["aims"]:
        verdict = {True: "met", False: "NOT MET", None: "not measured"}[aim["met"]]
        sign = ">=" if aim["at_least"] else "<="
        digits = 2 if aim["bound"] < 1 else 1
        lines.append(f"  {verdict:13}{aim['aim']} {sign} {aim['bound']:,g}: {made.of(aim['figure'], digits)}")
    lines += [f"NOT MEASURED  {name}: {why}" for name, why in found["not_measured"].items()]
    return "\n".join(lines)


def _no_op(made: _Table, found: Mapping[str, Any]) -> list[str]:
    if not any(made.has(name) for name in (*OURS, *PEERS)):
        return []
    plan = found["plan"]
    rows = [("", "jobs/s", "ours is", "postgresql is", "enqueued/s", "wait p50/p99 ms", "RSS MiB", "setting")]
    for name in (*OURS, *PEERS):
        if not made.has(name):
            continue
        ratios = [made.of(f"{engine} / {name}", 1) if name in PEERS else "" for engine in OURS]
        setting = f"{PEERS[name].setting}; sent {PEERS[name].at_once}" if name in PEERS else _SETTINGS[name]
        figures = (made.of(f"{name} jobs_per_s"), *ratios, made.of(f"{name} enqueued_per_s"), made.waits(name))
        rows.append((name, *figures, made.of(f"{name} rss_mib"), setting))
    backlog = f"{plan['jobs']:,} ours, {plan['peer_jobs']:,} each peer"
    return [
        "",
        f"No-op jobs, one worker process each: a backlog ({backlog}) drained, then half of that rate offered",
        *aligned(rows),
        *(
            f"  Half load, {name}: half of what it accepts and delivers together, {made.of(f'{name} half_per_s')}/s."
            for name in OURS
            if made.has(name)
        ),
        "  Ours commits with fsync before it answers and before a job is gone; Redis runs without persistence.",
    ]


_SETTINGS = {
    name: f"{engine}, metrics and alerts on, concurrency 32; sent over HTTP, batches of 100, 8 connections"
    for name, engine in zip(OURS, ("sqlite FULL", "one dispatcher, fsync on"), strict=True)
}


def _ingestion(made: _Table, plan: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in filter(made.has, OURS):
        rows = [("", "jobs/s", "request p99 ms")]
        for text, rate, slow in (
            ("batches of 100, nothing delivered", "enqueued_per_s", "enqueue_p99_ms"),
            ("batches of 100 while delivering", "delivering_enqueued_per_s", "delivering_enqueue_p99_ms"),
            ("one job a request, 50 connections", "singles_per_s", "singles_p99_ms"),
        ):
            rows.append((text, made.of(f"{name} {rate}"), made.of(f"{name} {slow}", 1)))
        rows.append((f"RSS with {plan['jobs']:,} waiting, MiB", made.of(f"{name} waiting_rss_mib"), ""))
        lines += ["", f"HTTP ingestion, {name}, stored before it is answered", *aligned(rows)]
    return lines


def _fleet(made: _Table, plan: Mapping[str, Any]) -> list[str]:
    rows = [("processes", "jobs/s", "beside one", "enqueued/s", "their processors", "RSS MiB each")]
    for processes in PROCESSES:
        name = f"postgresql-{processes}"
        if made.has(name):
            rates = (
                made.of(f"{name} jobs_per_s"),
                made.of(f"{name} / postgresql", 2),
                made.of(f"{name} enqueued_per_s"),
            )
            rows.append((str(processes), *rates, made.of(f"{name} cores", 2), made.of(f"{name} rss_mib")))
    if len(rows) == 1:
        return []
    return ["", f"A fleet on one PostgreSQL: {plan['jobs']:,} accepted by all, then drained by all", *aligned(rows)]


def _churn(made: _Table, plan: Mapping[str, Any]) -> list[str]:
    if not made.has("churn"):
        return []
    rows = [("", "jobs/s", "MiB with indexes")]
    for text, name in (("at the beginning", "first"), ("at the end", "last")):
        rows.append((text, made.of(f"churn {name}_per_s"), made.of(f"churn {name}_mib", 1)))
    for text, name in ((f"drained from {plan['waiting_jobs']:,} on", "deep"), ("drained to the end", "shallow")):
        rows.append((text, made.of(f"churn {name}_per_s"), ""))
    return ["", f"One PostgreSQL schema, through which {plan['churn_jobs']:,} jobs went", *aligned(rows)]


def _webhooks(made: _Table, plan: Mapping[str, Any]) -> list[str]:
    rows = [("at once", "ours/s", "bare aiohttp/s", "ratio", "wait p50/p99 ms", "CPU us ours", "bare", "RSS MiB")]
    for concurrency in CONCURRENCIES:
        name = f"webhooks-{concurrency}"
        if made.has(name):
            rates = (made.of(f"{name} jobs_per_s"), made.of(f"{name} bare_per_s"), made.of(f"{name} / bare", 2))
            cost = (made.of(f"{name} cpu_us"), made.of(f"{name} bare_cpu_us"))
            rows.append((str(concurrency), *rates, made.waits(name), *cost, made.of(f"{name} rss_mib")))
    if len(rows) == 1:
        return []
    return [
        "",
        f"Webhooks: a backlog of {plan['webhooks']:,} delivered; then half of that rate, until they reach the receiver",
        *aligned(rows),
    ]


def _monitor(made: _Table) -> list[str]:
    if not made.has("monitor"):
        return []
    rows = [
        ("metrics and alerts", "jobs/s", "CPU us a job"),
        *(
            (name, made.of(f"monitor {name}_per_s"), made.of(f"monitor {name}_cpu_us", 1))
            for name in ("with", "without")
        ),
        ("cost, %", made.of("monitor cost_percent", 1), made.of("monitor cpu_percent", 1)),
    ]
    return ["", "What metrics and alerts cost, no-op jobs", *aligned(rows)]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells, each column as wide as its widest."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
