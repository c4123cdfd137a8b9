"""The children of a pipeline, one module for each kind of them.

`reconcile` goes through `CHILDREN`; `desired` gives what should exist, without a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from notification_operator import kinds, naming
from notification_operator.kinds import Kind
from notification_operator.pipeline import Pipeline
from notification_operator.resources import (
    autoscaler,
    config_map,
    dashboard,
    deployment,
    disruption_budget,
    network_policy,
    prometheus_rule,
    scaled_object,
    secrets,
    service,
    service_account,
    service_monitor,
    volume_claim,
)
from notification_operator.resources.base import Context, Manifest


def _same(name: str) -> str:
    return name


class Child(NamedTuple):
    """One child of every pipeline: how it is called, and how it is built."""

    kind: Kind
    name: Callable[[str], str]
    build: Callable[[Pipeline, Context], Manifest | None]
    kept: bool = False
    """It goes with the pipeline alone, whatever becomes of the spec: jobs lie on it."""


CHILDREN: Sequence[Child] = (
    Child(kinds.SERVICE_ACCOUNT, _same, service_account.build),
    Child(kinds.CONFIG_MAP, naming.config, config_map.build),
    Child(kinds.SECRET, naming.slack_alerts, secrets.build_slack_alerts),
    Child(kinds.SECRET, naming.credentials, secrets.build_credentials),
    Child(kinds.SERVICE, _same, service.build),
    Child(kinds.VOLUME_CLAIM, naming.queue, volume_claim.build, kept=True),
    Child(kinds.DEPLOYMENT, _same, deployment.build),
    Child(kinds.AUTOSCALER, _same, autoscaler.build),
    Child(kinds.TRIGGER_AUTHENTICATION, _same, scaled_object.build_authentication),
    Child(kinds.SCALED_OBJECT, _same, scaled_object.build),
    Child(kinds.DISRUPTION_BUDGET, _same, disruption_budget.build),
    Child(kinds.NETWORK_POLICY, _same, network_policy.build),
    Child(kinds.SERVICE_MONITOR, _same, service_monitor.build),
    Child(kinds.PROMETHEUS_RULE, _same, prometheus_rule.build),
    Child(kinds.CONFIG_MAP, naming.dashboard, dashboard.build),
)
"""In the order in which people are shown them."""


def desired(pipeline: Pipeline, context: Context) -> list[Manifest]:
    """Every object that should exist for this pipeline."""
    manifests = (child.build(pipeline, context) for child in CHILDREN)
    return [manifest for manifest in manifests if manifest is not None]
