"""What each reason of a condition means, and what to do: said once, for the docs and for `kubectl notifications`.

`plugin` shows it; `python -m notification_operator.advice docs/troubleshooting.md` writes the tables of that page.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from notification_operator.status import ConditionType, Reason

_EXAMPLE = "booking"
_SECRETS = "Secrets"
_NOTHING = "\N{EN DASH}"
"""What is to be done where all is well."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A row of such a table. `{pipeline}` in it stands for the pipeline's name."""

    reasons: tuple[Reason, ...]
    means: str
    do: str
    """Empty where the section on Secrets says it."""


_ANY_SECRET = (Reason.SECRET_NOT_FOUND, Reason.SECRET_KEY_MISSING, Reason.SECRET_INVALID, Reason.SECRET_FORBIDDEN)

SECTIONS: Mapping[str, Sequence[Advice]] = {
    "ResourcesApplied": (
        Advice((Reason.APPLIED,), "All of them are.", _NOTHING),
        Advice(
            (Reason.APPLY_FAILED,),
            "The API server refused one, or doesn't answer. The others are applied; it is tried again, "
            "ever more slowly.",
            "The message has the object and the API server's words: often a quota, an admission webhook, "
            "or a permission that the operator lacks.",
        ),
        Advice(
            (Reason.CONFLICT,),
            "An object of that name belongs to somebody else, and is left alone.",
            "Rename the pipeline, or delete or rename the object.",
        ),
        Advice(
            (Reason.INVALID_SPEC,),
            "The spec is one that this operator's version does not take, though the API server stored it:"
            " the definition in the cluster is of another version.",
            "Apply the `crds/` of the operator's own version; put the field right that the message names.",
        ),
        Advice(
            (Reason.PAUSED,),
            "`spec.paused` is true: nothing is changed.",
            '`kubectl patch npl {pipeline} --type merge -p \'{"spec":{"paused":false}}\'`',
        ),
    ),
    "QueueConfigured": (
        Advice(
            (Reason.CONFIGURED,),
            "It can. The message says where jobs wait.",
            "Set `queue.persistence` if it says that they go with the pod.",
        ),
        Advice(_ANY_SECRET, "The database's URI or CA can't be had: [below](#secrets).", ""),
    ),
    "DispatcherAvailable": (
        Advice((Reason.AVAILABLE,), "As many as wanted do.", _NOTHING),
        Advice(
            (Reason.ROLLING_OUT,),
            "Fewer are ready than wanted, or new ones replace old ones; the message says what is waited for.",
            "If it stays: `kubectl describe pod`, as the message has it.",
        ),
        Advice(
            (Reason.STATUS_UNKNOWN,),
            "The operator could not list Deployments, and the message says why; dispatchers run on meanwhile.",
            "If it may not: grant it what the chart's Role has. Else look at the API server.",
        ),
        Advice(
            (Reason.IMAGE_PULL_FAILED,),
            "The image can't be had.",
            "See that `spec.image` exists, and that `imagePullSecrets` fit.",
        ),
        Advice(
            (Reason.CRASH_LOOPING,),
            "A container ends again and again.",
            "`kubectl logs --previous`, as the message has it. Killed for its memory: raise `resources.limits.memory`.",
        ),
        Advice(
            (Reason.UNSCHEDULABLE,),
            "No node takes a pod, or no pod is admitted.",
            "The message has the scheduler's or the API server's words: free resources, change "
            "`nodeSelector`, `affinity`, `tolerations`, or the quota.",
        ),
        Advice(
            (Reason.SCALED_TO_ZERO,),
            "`spec.replicas` is 0: nothing is taken or delivered, and what waits stays.",
            "`kubectl scale npl/{pipeline} --replicas=1`",
        ),
    ),
    "ChannelsConfigured, ApiSecured": (
        Advice((Reason.CONFIGURED,), "Yes.", _NOTHING),
        Advice(
            (Reason.DISABLED,),
            "`api.authTokenSecretRef` is not set: whoever reaches the Service may call.",
            "Set it, or a NetworkPolicy (`networkPolicy.enabled`).",
        ),
        Advice(
            _ANY_SECRET,
            "[Below](#secrets). Jobs of a channel without its Secret are tried again until it is there; a"
            " missing token lets nobody in.",
            "",
        ),
    ),
    "AlertingConfigured": (
        Advice((Reason.CONFIGURED,), "Yes. `kubectl notifications test-alert` shows it.", _NOTHING),
        Advice(
            (Reason.DISABLED,),
            "`alerts.slack` is not set: Slack is not told.",
            "Set it, or `alerts.mode: Alertmanager`.",
        ),
        Advice(
            (Reason.MONITORING_API_ABSENT,),
            "Alertmanager should be told, and the cluster has no PrometheusRule API.",
            "Install prometheus-operator, or set `alerts.mode: InProcess`.",
        ),
        Advice(_ANY_SECRET, "[Below](#secrets).", ""),
    ),
    "MonitoringSelected": (
        Advice(
            (Reason.SELECTED,),
            "One selects them, and has accepted the ServiceMonitor where prometheus-operator says so.",
            _NOTHING,
        ),
        Advice(
            (Reason.NO_PROMETHEUS_SELECTS,),
            "None does: no metrics, an empty board, no rules.",
            "Add the label that the message names to `monitoring.serviceMonitor.labels` or "
            "`monitoring.prometheusRule.labels`.",
        ),
        Advice((Reason.REJECTED,), "One selects it, and prometheus-operator refuses it.", "The message has its words."),
        Advice(
            (Reason.MONITORING_API_ABSENT,),
            "prometheus-operator is not installed.",
            "Install it, and the ServiceMonitor follows; or scrape the Service yourself.",
        ),
        Advice(
            (Reason.SELECTION_UNKNOWN,),
            "Not all that it depends on is in sight, and the message says what isn't: a Prometheus of a namespace that "
            "the operator doesn't look at, one that it may not list, the namespace's labels, or the ServiceMonitor, "
            "which isn't there.",
            "Look yourself: `kubectl get prometheus,prometheusagent -A -o yaml`. Or grant the operator `list` and "
            "`watch` on `prometheuses` and `prometheusagents`, and `get` on the namespace.",
        ),
        Advice(
            (Reason.DISABLED,),
            "`monitoring.serviceMonitor.enabled` is false. A scrape of your own must set the labels `namespace` and "
            "`pipeline`, by which rules and boards go; NotificationDispatcherDown is left out.",
            _NOTHING,
        ),
    ),
    "Secrets": (
        Advice(
            (Reason.SECRET_NOT_FOUND,),
            "There is no such Secret.",
            "`kubectl create secret generic slack --from-literal=url=https://…`",
        ),
        Advice((Reason.SECRET_KEY_MISSING,), "It has no such key, or the key is empty.", "Set the key."),
        Advice(
            (Reason.SECRET_INVALID,),
            "The value is not what it must be: the message says what that is. It is not handed to the "
            "dispatchers, which would refuse all of their settings for it.",
            "Set another value.",
        ),
        Advice(
            (Reason.SECRET_FORBIDDEN,),
            "The operator may not read it. The dispatchers keep what they have of it; what they have of another "
            "Secret or key, which the spec named before, is taken from them.",
            "Grant the operator's Role `watch` on Secrets in this namespace, and `list` where the API "
            "server has no streaming lists: `rbac.listSecrets` in "
            "[the chart](../deploy/helm/notification-operator/README.md).",
        ),
    ),
}
"""Each table, under the heading of the page that it stands below."""


def advice(condition: ConditionType, reason: Reason, namespace: str, pipeline: str) -> str:
    """What to do about it, as plain text with commands for this pipeline; empty where there is nothing to do."""
    own = next(rows for title, rows in SECTIONS.items() if condition in title.split(", "))
    said = (one.do for one in (*own, *SECTIONS[_SECRETS]) if reason in one.reasons and one.do)
    plain = _plain(next(said, "")).removeprefix(_NOTHING)
    return plain.replace("{pipeline}", pipeline).replace("kubectl ", f"kubectl -n {namespace} ")


def with_tables(page: str) -> str:
    """The page, with each table as it must be."""
    for title, rows in SECTIONS.items():
        heading = rf"^## {title}\n(?:(?!## |\|).*\n)*"
        found = re.search(rf"({heading})(?:\|.*\n)+", page, re.MULTILINE)
        if found is None:
            raise ValueError(f"there is no table below the heading {title}")
        page = page[: found.end(1)] + _table(rows) + page[found.end() :]
    return page


def _table(rows: Sequence[Advice]) -> str:
    lines = ["| reason | what it means | what to do |", "| --- | --- | --- |"]
    for one in rows:
        reasons = ", ".join(f"`{reason}`" for reason in one.reasons)
        lines.append(f"| {reasons} | {one.means} | {one.do} |".replace("{pipeline}", _EXAMPLE).replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def _plain(markdown: str) -> str:
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", markdown).replace("`", "")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text()))
