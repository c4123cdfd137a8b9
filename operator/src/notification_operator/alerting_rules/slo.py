"""The error budget: recorded ratios of errors, and alerts on how fast it is spent. Called by the package itself.

Multi-window, multi-burn-rate alerts, as chapter 5 of Google's SRE Workbook has them: a long window so that what is
alerted on matters, a short one so that the alert ends when the trouble does. An error is a job that failed for good, or
that was lost because the queue was full; what callers got wrong is none. Few jobs say little about a ratio: below
`minEvents` in the long window nothing alerts. The book's shares of a short `window` are spent by
fewer errors than the objective allows, which are not worth an alert: there is a least rate.
Source: https://sre.google/workbook/alerting-on-slos/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from notification_dispatcher import metric_names as names
from notification_dispatcher.metric_names import Result
from notification_operator.alerting_rules.input import BY_PIPELINE, FULL, Group, Rule, RuleInput
from notification_operator.dashboards.promql import is_one_of
from notification_operator.spec.alert_rules import AlertName, Severity

EVENTS = "slo:sli_event:increase"
"""Jobs that ended; the window follows, as in all three names."""
ERRORS = "slo:sli_error:increase"
"""Those of them that were errors."""
RATIO = "slo:sli_error:ratio_rate"
"""Their share, 0 to 1. Absent while there are no jobs."""

_TICKETS_EVERY = "2m"
"""Windows of days hold many samples, and change slowly."""


@dataclass(frozen=True, slots=True)
class _Burn:
    """Spending `share` of the budget within `long`, and at least `least` times as fast as it lasts."""

    share: Decimal
    long: str
    long_hours: int
    short: str
    least: Decimal

    def spent(self, rules: RuleInput) -> Decimal:
        """The share of the budget that goes within `long`."""
        return max(self.share, self.least * self.long_hours / _hours(rules))

    def ratio(self, rules: RuleInput) -> str:
        """The ratio of errors that spends so much, as PromQL writes it."""
        factor = self.spent(rules) * _hours(rules) / self.long_hours
        return f"{(factor * rules.slo.budget).quantize(Decimal('1e-9')).normalize():f}"


def _hours(rules: RuleInput) -> Decimal:
    return Decimal(rules.slo.window.milliseconds) / 3_600_000


_LASTS = Decimal(1)
"""Whoever spends it no faster has met the objective at the end."""
_LASTS_HALF = Decimal(2)
"""Slower than that, there is time to look at it by day."""

# For a window of 30 days: 14.4, 6, 3 and once as fast as the budget lasts.
_PAGE = (_Burn(Decimal("0.02"), "1h", 1, "5m", _LASTS_HALF), _Burn(Decimal("0.05"), "6h", 6, "30m", _LASTS_HALF))
_TICKET = (_Burn(Decimal("0.10"), "1d", 24, "2h", _LASTS), _Burn(Decimal("0.10"), "3d", 72, "6h", _LASTS))


def slo_groups(rules: RuleInput) -> list[Group]:
    """Two groups: the windows and alerts of hours, and those of days. None where it is switched off."""
    if not rules.slo.enabled:
        return []
    page = _alert(rules, AlertName.ERROR_BUDGET_BURN_FAST, Severity.CRITICAL, _PAGE)
    ticket = _alert(rules, AlertName.ERROR_BUDGET_BURN_SLOW, Severity.WARNING, _TICKET)
    return [
        Group("notification-slo-page", _recordings(rules, ("5m", "30m", "1h", "6h")), [page]),
        Group(
            "notification-slo-ticket", _recordings(rules, ("2h", "1d", "3d")), [ticket], {"interval": _TICKETS_EVERY}
        ),
    ]


def _recordings(rules: RuleInput, windows: Sequence[str]) -> list[dict[str, Any]]:
    return [recording for window in windows for recording in _recordings_of(rules, window)]


def _recordings_of(rules: RuleInput, window: str) -> list[dict[str, Any]]:
    events, errors = (rules.recorded(f"{name}{window}") for name in (EVENTS, ERRORS))
    # Where there is no series of errors the ratio is 0, and where there are no jobs there is none.
    ratio = f"({errors} or 0 * {events}) / ({events} > 0)"
    return [
        {"record": f"{EVENTS}{window}", "expr": _increase(rules, window, Result.PROCESSED, Result.FAILED)},
        {"record": f"{ERRORS}{window}", "expr": _increase(rules, window, Result.FAILED)},
        {"record": f"{RATIO}{window}", "expr": ratio},
    ]


def _increase(rules: RuleInput, window: str, *results: Result) -> str:
    """Jobs with these results, and those that a full queue lost: what was dropped for other reasons was no job."""
    ended = rules.series(names.JOBS_TOTAL, is_one_of("result", results))
    lost = rules.series(names.JOBS_DROPPED_TOTAL, is_one_of("reason", FULL))
    return f"sum by ({BY_PIPELINE}) (increase({ended}[{window}]) or increase({lost}[{window}]))"


def _alert(rules: RuleInput, name: AlertName, severity: Severity, burns: Sequence[_Burn]) -> Rule:
    fast, slow = (f"{burn.spent(rules):.0%}" for burn in burns)
    spent = f"{fast} of the error budget within {burns[0].long}, or {slow} within {burns[1].long}"
    return Rule(
        alert=name,
        expr=" or ".join(_burning(rules, burn) for burn in burns),
        severity=severity,
        summary=f"{rules.title} spends its error budget too fast",
        description=f"{{{{ $value | humanizePercentage }}}} of the jobs fail or are lost; the objective is "
        f"{rules.slo.objective} % within {rules.slo.window.normalised}. Such a rate spends {spent}.{rules.load()}",
    )


def _burning(rules: RuleInput, burn: _Burn) -> str:
    above = burn.ratio(rules)
    long, short = rules.recorded(f"{RATIO}{burn.long}"), rules.recorded(f"{RATIO}{burn.short}")
    enough = f"{rules.recorded(f'{EVENTS}{burn.long}')} >= {rules.slo.min_events}"
    return f"({long} > {above} and {short} > {above} and {enough})"
