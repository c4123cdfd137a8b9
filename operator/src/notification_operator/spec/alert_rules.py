"""`spec.alerts.rules`: what a pipeline changes of the alerts in its PrometheusRule. `alerting_rules` reads it.

The alerts' names stand here. What would stop a rule, or take an alert away from whom it concerns, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from notification_dispatcher.schema import ApiModel, DurationOrZero, Enumeration, rule, rules
from notification_operator.spec.values import LABEL_NAME, keys_rule

NOTIFIER_LABEL = "notifier"
RESERVED_LABELS = ("alertname", "namespace", "pipeline", "job_type", "severity", NOTIFIER_LABEL)
"""Labels that routes and silences find an alert by, and that tell two alerts of one rule apart."""

_RESERVED = ", ".join(RESERVED_LABELS)
_ANNOTATION = r"^([{]?[^{]|[{][{] ?[$](value|labels[.][a-zA-Z_][a-zA-Z0-9_]*) ?[}][}])*[{]?$"
"""Text in which the templates that cannot fail may stand: another's mistake would stop every rule of the pipeline."""
_LABEL_TEXT = r"^([{]?[^{])*[{]?$"
"""Text without templates."""


class AlertName(Enumeration):
    """The alerts of a PrometheusRule."""

    FAILURE_SPIKE = "NotificationFailureSpike"
    BACKLOG_GROWTH = "NotificationBacklogGrowth"
    HIGH_WAIT = "NotificationHighWait"
    HIGH_DURATION = "NotificationHighDuration"
    CAPACITY_DROPS = "NotificationCapacityDrops"
    DISPATCHER_DOWN = "NotificationDispatcherDown"
    ERROR_BUDGET_BURN_FAST = "NotificationErrorBudgetBurnFast"
    ERROR_BUDGET_BURN_SLOW = "NotificationErrorBudgetBurnSlow"

    @property
    def short(self) -> str:
        """What the dispatcher and the runbooks call it: `failure_spike`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.removeprefix("Notification")).lower()


class Severity(Enumeration):
    """How loudly an alert asks for someone: the value of its label."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


AlertLabels = Annotated[
    Mapping[
        Annotated[str, Field(pattern=LABEL_NAME, max_length=63)],
        Annotated[str, Field(pattern=_LABEL_TEXT, max_length=256)],
    ],
    Field(
        max_length=16,
        json_schema_extra=rules(
            (
                f"self.all(name, name.matches('{LABEL_NAME}') && size(name) <= 63 && !name.startsWith('__'))",
                "each key must be a name of letters, digits and single underscores in front, such as team",
            ),
            (
                f"!self.exists(name, name in {list(RESERVED_LABELS)})",
                f"the labels {_RESERVED} are the operator's: alerts are told apart and routed by them",
            ),
        ),
    ),
]
AlertAnnotations = Annotated[
    Mapping[
        Annotated[str, Field(pattern=LABEL_NAME, max_length=63)],
        Annotated[str, Field(pattern=_ANNOTATION, max_length=2048)],
    ],
    Field(
        max_length=16,
        json_schema_extra=keys_rule(
            LABEL_NAME, "each key must be a name of letters, digits and underscores, such as impact", longest=63
        ),
    ),
]


class RuleOverride(ApiModel):
    """What differs for one alert; what is not said stays as it is. Thresholds stand in spec.alerts itself."""

    enabled: bool = Field(default=True, description="Have this alert.")
    hold: DurationOrZero | None = Field(
        default=None, alias="for", description="How long it must be so before it fires; 0s fires at once."
    )
    severity: Severity | None = Field(default=None, description="The label severity, by which Alertmanager routes.")
    labels: AlertLabels = Field(
        default_factory=dict, description="Labels to add, by which Alertmanager routes: `team: bookings`."
    )
    annotations: AlertAnnotations = Field(
        default_factory=dict,
        description="Annotations to add or replace: summary, description, runbook_url, or your own. "
        "{{ $value }} and {{ $labels.NAME }} are filled in.",
    )

    @model_validator(mode="after")
    def _labels_are_free(self) -> Self:
        if taken := sorted(name for name in self.labels if name in RESERVED_LABELS or name.startswith("__")):
            raise ValueError(f"labels: {', '.join(taken)}: the labels {_RESERVED} are the operator's")
        return self


RuleOverrides = Annotated[
    Mapping[AlertName, RuleOverride],
    Field(
        max_length=len(AlertName),
        json_schema_extra=rule(
            f"self.all(name, name in {[name.value for name in AlertName]})",
            f"alerts.rules: each key must be the name of an alert: {', '.join(AlertName)}",
        ),
    ),
]
