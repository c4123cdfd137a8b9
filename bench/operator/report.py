"""Makes a summary of the rounds, and a table of the summary. `__main__` prints the one or the other."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from bench.dispatcher.report import Aim, aligned, spread

Round = dict[tuple[int, str], dict[str, float]]
"""By number of pipelines and contestant."""

_ROWS = (
    ("limit per_s", "the limit, pipelines/s", 1),
    ("ours per_s", "ours, pipelines/s", 1),
    ("ours / limit", "ratio, of the same round", 2),
    ("limit cpu_ms", "the limit's CPU for a pipeline, ms", 1),
    ("ours cpu_ms", "ours, start included, ms", 1),
    ("ours requests", "requests for a pipeline until it is quiet", 1),
    ("ours start_seconds", "start until all is listed, s", 1),
    ("ours single_p50_ms", "apply to the last child, p50, ms", 0),
    ("ours single_p99_ms", "apply to the last child, p99, ms", 0),
    ("ours rss_mib", "RSS, MiB", 0),
    ("ours steady_cpu_percent", "CPU at rest, % of a core", 2),
    ("ours restart_seconds", "restart until it is quiet, s", 1),
    ("ours restart_requests", "requests of a restart", 0),
    ("ours restart_writes", "writes of a restart", 0),
    ("ours restart_rss_mib", "RSS after a restart, MiB", 0),
)


def _aims(pipelines: int) -> tuple[Aim, ...]:
    def named(name: str) -> str:
        return f"{pipelines} {name}"

    return (
        Aim(f"beside the limit, {pipelines} pipelines", named("ours / limit"), 0.9, at_least=True),
        Aim(f"apply to the last child, p50 ms, beside {pipelines}", named("ours single_p50_ms"), 150, at_least=False),
        Aim(f"apply to the last child, p99 ms, beside {pipelines}", named("ours single_p99_ms"), 500, at_least=False),
        Aim(f"RSS with {pipelines} pipelines, MiB", named("ours rss_mib"), 150, at_least=False),
        Aim(f"CPU at rest with {pipelines} pipelines, %", named("ours steady_cpu_percent"), 1, at_least=False),
        Aim(f"writes of a restart with {pipelines} pipelines", named("ours restart_writes"), 0, at_least=False),
    )


def summary(rounds: Sequence[Round], singles: int) -> dict[str, Any]:
    """Everything that came of it, ready for JSON."""
    series: dict[str, list[float]] = {}
    for one in rounds:
        for (pipelines, contestant), figures in one.items():
            for name, value in figures.items():
                series.setdefault(f"{pipelines} {contestant} {name}", []).append(value)
        for pipelines in {size for size, _ in one}:
            ratio = one[pipelines, "ours"]["per_s"] / one[pipelines, "limit"]["per_s"]
            series.setdefault(f"{pipelines} ours / limit", []).append(ratio)
    spreads = {name: spread(values) for name, values in series.items()}
    sizes = sorted({size for size, _ in rounds[0]})
    aims = []
    for aim in (aim for size in sizes for aim in _aims(size)):
        found = spreads.get(aim.name)
        met = None if found is None else (found.median >= aim.bound if aim.at_least else found.median <= aim.bound)
        aims.append({"aim": aim.text, "bound": aim.bound, "at_least": aim.at_least, "figure": aim.name, "met": met})
    return {
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "plan": {"rounds": len(rounds), "pipelines": sizes, "singles": singles},
        "figures": {name: found._asdict() for name, found in spreads.items()},
        "aims": aims,
        "rounds": [{f"{size} {who}": figures for (size, who), figures in one.items()} for one in rounds],
    }


def table(found: Mapping[str, Any]) -> str:
    """The whole report."""
    sizes, machine = found["plan"]["pipelines"], found["machine"]
    rows = [("", *(f"{size:,} pipelines" for size in sizes))]
    rows += [(text, *(_of(found, f"{size} {name}", digits) for size in sizes)) for name, text, digits in _ROWS]
    where = f"{machine['cpus']} processors, Python {machine['python']}"
    lines = [f"{found['plan']['rounds']} rounds on {where}: median (min..max)", "", *aligned(rows)]
    if len(sizes) > 1:
        small, large = (found["figures"][f"{size} ours rss_mib"]["median"] for size in (sizes[0], sizes[-1]))
        lines.append(f"  Memory grows by {(large - small) / (sizes[-1] - sizes[0]) * 1024:.0f} KiB a pipeline.")
    lines += ["", "Aims (by the median)"]
    for aim in found["aims"]:
        verdict = {True: "met", False: "NOT MET", None: "not measured"}[aim["met"]]
        sign = ">=" if aim["at_least"] else "<="
        lines.append(f"  {verdict:13}{aim['aim']} {sign} {aim['bound']:g}: {_of(found, aim['figure'], 2)}")
    return "\n".join(lines)


def _of(found: Mapping[str, Any], name: str, digits: int) -> str:
    one = found["figures"].get(name)
    if one is None:
        return "-"
    low, middle, high = (f"{one[key]:,.{digits}f}" for key in ("min", "median", "max"))
    return middle if low == high else f"{middle} ({low}..{high})"
