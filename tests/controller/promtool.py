"""Runs rules through promtool: series go in, and the alerts that fire at some time are compared with those expected."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.debian import program

Groups = list[dict[str, Any]]


def promtool(*arguments: str | Path, cwd: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("prometheus", "promtool"), *arguments],
        cwd=cwd,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def check(groups: Groups, folder: Path) -> None:
    """promtool must accept the rules, and have nothing to say against them."""
    (folder / "rules.yaml").write_text(json.dumps({"groups": groups}))
    answer = promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", cwd=folder)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "FAILED" not in answer.stdout + answer.stderr


@dataclass(frozen=True)
class Story:
    """What Prometheus scraped, and what must hold at some times after."""

    series: Mapping[str, str]
    """A series and its values, in promtool's notation: `0+2x10` counts up by 2, ten times."""
    interval: str = "15s"
    """Between two scrapes, and between two evaluations."""
    expected: list[dict[str, Any]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    def query(self, when: str, expr: str, *samples: tuple[str, float]) -> Story:
        """The result of a query is just these samples."""
        found = [{"labels": labels, "value": value} for labels, value in samples]
        self.expected.append({"eval_time": when, "expr": expr, "exp_samples": found})
        return self

    def firing(self, when: str, alert: str, *labels: Mapping[str, str]) -> Story:
        """The alert fires with just these sets of labels; with none, it doesn't."""
        wanted = [f"ALERTS{_braces({'alertname': alert, 'alertstate': 'firing', **one})}" for one in labels]
        return self.query(
            when, f'ALERTS{{alertname="{alert}",alertstate="firing"}}', *((series, 1) for series in wanted)
        )

    def tells(self, when: str, alert: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Story:
        """The alert fires with just these labels, and tells people just this."""
        one = {"exp_labels": dict(labels), "exp_annotations": dict(annotations)}
        self.told.append({"eval_time": when, "alertname": alert, "exp_alerts": [one]})
        return self

    def holds(self, groups: Groups, folder: Path) -> None:
        """Let promtool say whether it is so."""
        (folder / "rules.yaml").write_text(json.dumps({"groups": groups}))
        test = {
            "interval": self.interval,
            "input_series": [{"series": series, "values": values} for series, values in self.series.items()],
            "promql_expr_test": self.expected,
            "alert_rule_test": self.told,
        }
        case = {"rule_files": ["rules.yaml"], "evaluation_interval": self.interval, "tests": [test]}
        (folder / "test.yaml").write_text(json.dumps(case))
        answer = promtool("test", "rules", "test.yaml", cwd=folder)
        assert answer.returncode == 0, answer.stdout + answer.stderr


def series(metric: str, **labels: str) -> str:
    """A scraped series of the pipeline shop/bookings; labels given take the place of its own."""
    return metric + _braces({"namespace": "shop", "pipeline": "bookings", "instance": "a", **labels})


def only(groups: Groups, *prefixes: str) -> Groups:
    """The groups whose names begin so: long stories with all of them take long."""
    return [group for group in groups if group["name"].startswith(prefixes)]


def _braces(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items()) + "}"


def values(*parts: str) -> str:
    """Parts of promtool's notation, one after the other."""
    return " ".join(parts)


Labels = Sequence[Mapping[str, str]]
