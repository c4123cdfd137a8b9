"""Reconciliation: read the pipeline afresh → desired → apply → status. One coroutine for every occasion.

`workqueue` calls `Reconciler.reconcile` with a key after anything changed: the pipeline, a child, one of its pods,
a Secret that it refers to, a Prometheus, the operator's own start. Nothing is remembered between two calls that could
not be read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from notification_operator import availability, inputs, monitoring, naming, pods, status
from notification_operator.applier import Applier
from notification_operator.cluster import Cluster
from notification_operator.errors import ForbiddenError, InvalidSpecError
from notification_operator.inputs import Inputs
from notification_operator.kinds import (
    AUTOSCALER,
    DEPLOYMENT,
    NAMESPACE,
    PIPELINE,
    POD,
    PROMETHEUS,
    PROMETHEUS_AGENT,
    PROMETHEUS_RULE,
    SCALED_OBJECT,
    SECRET,
    SERVICE_MONITOR,
    TRIGGER_AUTHENTICATION,
    VOLUME_CLAIM,
    Kind,
)
from notification_operator.monitoring import MonitoringView
from notification_operator.pipeline import Pipeline
from notification_operator.pods import Pod
from notification_operator.reporting import Reporter
from notification_operator.resources import CHILDREN
from notification_operator.resources.base import Context
from notification_operator.resources.service import endpoint
from notification_operator.selection import looks_at_namespace
from notification_operator.source_secrets import SourceSecrets
from notification_operator.status import ChildState, ChildStatus, Condition, ConditionType, Reason
from notification_operator.watching import Served, Watches
from notification_operator.workqueue import Key, RetryLater

_KEDA = (TRIGGER_AUTHENTICATION, SCALED_OBJECT)
_PROMETHEUSES = (PROMETHEUS, PROMETHEUS_AGENT)
_AUTOSCALERS = (AUTOSCALER, *_KEDA)
_JUDGED = ("conditions", "observedGeneration")
_COUNTED = ("ready", "replicas", "readyReplicas")


class Reconciler:
    """Brings pipelines to what their specs say."""

    def __init__(
        self, cluster: Cluster, watches: Watches, secrets: SourceSecrets, reporter: Reporter, dispatcher_image: str
    ) -> None:
        self._cluster = cluster
        self._watches = watches
        self._secrets = secrets
        self._reporter = reporter
        self._dispatcher_image = dispatcher_image
        self._applier = Applier(cluster, watches)

    async def reconcile(self, key: Key) -> None:
        """Bring one pipeline to what its spec says. Raises OperatorError to be called again."""
        stored = await self._cluster.get(PIPELINE, key.namespace, key.name)
        if stored is None or "deletionTimestamp" in stored["metadata"]:
            # The children go by garbage collection, with or without us.
            self._secrets.need(key, set())
            self._reporter.forget(key)
            return
        try:
            pipeline = Pipeline.parse(stored)
        except InvalidSpecError as error:
            await self._leave(key, stored, _applied("False", Reason.INVALID_SPEC, str(error)))
            return
        if pipeline.spec.paused:
            message = "spec.paused is true: nothing is changed until it is false."
            await self._leave(key, stored, _applied("False", Reason.PAUSED, message))
            return
        await self._bring(key, pipeline, stored)

    async def _leave(self, key: Key, stored: Mapping[str, Any], why: Condition) -> None:
        """Change nothing, and go on telling how the dispatchers are: they serve, or don't, all the same."""
        deployment = self._live(DEPLOYMENT, key)
        # What else was said of the children is as true as it was.
        kept = {name: value for name, value in stored.get("status", {}).items() if name not in _JUDGED}
        available = self._available(key, deployment)
        await self._reporter.report(stored, [why, available], {**kept, **_counts(deployment, available, kept)})

    async def _bring(self, key: Key, pipeline: Pipeline, stored: Mapping[str, Any]) -> None:
        found = await inputs.gather(self._secrets, pipeline, partial(self._copy, key, pipeline))
        undecided = self._undecided(pipeline)
        context = self._context(key, pipeline, found)
        children = [*await self._children(pipeline, context, leave=_AUTOSCALERS if undecided else ()), *undecided]
        deployment = self._live(DEPLOYMENT, key)
        available = self._available(key, deployment)
        conditions = [
            _resources_applied(children),
            available,
            *found.conditions(pipeline, context, rules_absent=self._watches.absent(PROMETHEUS_RULE)),
            await self._monitoring(key, pipeline),
        ]
        fields = {
            **_fields(pipeline, context, children),
            **_counts(deployment, available, stored.get("status", {})),
        }
        await self._reporter.report(stored, conditions, fields)
        if failed := [child.message for child in children if child.state in (ChildState.FAILED, ChildState.CONFLICT)]:
            raise RetryLater("; ".join(failed))

    async def _children(self, pipeline: Pipeline, context: Context, leave: Sequence[Kind]) -> list[ChildStatus]:
        """Bring all children to what they should be, at the same time, but those of some kinds."""
        with self._applier.writing(pipeline) as written:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(
                        self._applier.bring(pipeline, child, manifest, written),
                        name=f"{child.kind.name} {pipeline.namespace}/{child.name(pipeline.name)}",
                    )
                    for child in CHILDREN
                    if child.kind not in leave
                    and self._applier.concerned(pipeline, child, manifest := child.build(pipeline, context))
                ]
        return [child for task in tasks if (child := task.result()) is not None]

    def _context(self, key: Key, pipeline: Pipeline, found: Inputs) -> Context:
        """What the builders need: what the Secrets gave, and the little that they must know of what is live."""
        claim = self._live(VOLUME_CLAIM, key, naming.queue(key.name))
        # Of no use to all others, and a Deployment is much to decode.
        scaled = {} if pipeline.spec.autoscaling is None else self._live(DEPLOYMENT, key)
        return replace(
            found.context(self._dispatcher_image),
            keda=self._watches.served(*_KEDA) is Served.YES,
            stopped=scaled.get("spec", {}).get("replicas") == 0,
            claimed=claim.get("spec", {}).get("resources", {}).get("requests", {}).get("storage"),
        )

    def _undecided(self, pipeline: Pipeline) -> list[ChildStatus]:
        """What is said while nobody knows which autoscaler it should be: the wrong one would fight the right one."""
        if pipeline.spec.autoscaling is None or self._watches.served(*_KEDA) is not Served.UNKNOWN:
            return []
        failures = (self._watches.failure(kind, pipeline.namespace) for kind in _KEDA)
        why = next(filter(None, failures), "it was not listed yet")
        message = f"autoscaling is left as it is, for it cannot be seen whether the cluster has KEDA: {why}"
        return [ChildStatus(AUTOSCALER.name, pipeline.name, ChildState.FAILED, message)]

    def _live(self, kind: Kind, key: Key, name: str | None = None) -> Mapping[str, Any]:
        """The child of this name (None: the pipeline's), as it was last seen; empty while there is none."""
        stored = self._watches.store(kind).get(key.namespace, name or key.name)
        return {} if stored is None else stored.decoded()

    async def _copy(self, key: Key, pipeline: Pipeline, name: str) -> Mapping[str, Any]:
        """One of the dispatchers' own Secrets, if it is this pipeline's."""
        live = self._live(SECRET, key, name)
        if not live and self._watches.failure(SECRET, key.namespace) is not None:
            # Who may not watch Secrets may still get one. Who may not do that either cannot change what it holds.
            with suppress(ForbiddenError):
                live = await self._cluster.get(SECRET, key.namespace, name) or {}
        return live if pipeline.owns(live) else {}

    def _pods(self, key: Key) -> list[Pod] | None:
        if isinstance(self._watches.failure(POD, key.namespace), ForbiddenError):
            return None
        return [pods.read(stored.content) for stored in self._watches.store(POD).of(*key)]

    def _available(self, key: Key, deployment: Mapping[str, Any]) -> Condition:
        why = self._watches.unlisted(DEPLOYMENT, key.namespace)
        return availability.unseen(why) if why and not deployment else availability.judge(deployment, self._pods(key))

    async def _monitoring(self, key: Key, pipeline: Pipeline) -> Condition:
        """The verdict on who picks up the ServiceMonitor and the PrometheusRule, as both are."""
        monitor, rule = (self._live(kind, key) for kind in (SERVICE_MONITOR, PROMETHEUS_RULE))
        absent = self._watches.absent(SERVICE_MONITOR)
        if absent or not pipeline.spec.monitoring.service_monitor.enabled:
            return monitoring.judge(pipeline, monitor, rule, MonitoringView(absent))
        prometheuses = [
            {"kind": kind.name, **stored.decoded()}
            for kind in _PROMETHEUSES
            for stored in self._watches.store(kind).all()
        ]
        looked_at = any(map(looks_at_namespace, prometheuses))
        namespace_labels = await self._namespace_labels(pipeline.namespace) if looked_at else None
        hidden = str(self._watches.unlisted(SERVICE_MONITOR, pipeline.namespace) or "")
        view = MonitoringView(absent, prometheuses, namespace_labels, self._unseen_prometheuses(), hidden)
        return monitoring.judge(pipeline, monitor, rule, view)

    def _unseen_prometheuses(self) -> str:
        """Why there may be a Prometheus that is not in sight."""
        if self._watches.forbidden(*_PROMETHEUSES):
            return "The operator may not list Prometheus objects, and one that it cannot see may do so."
        if why := self._watches.unlisted_anywhere(*_PROMETHEUSES):
            return f"Prometheus objects could not be listed ({why}), and one that cannot be seen may do so."
        if namespaces := self._watches.namespaces:
            where = ", ".join(namespaces)
            return f"The operator looks at no other namespace than {where}: a Prometheus elsewhere may do so."
        return ""

    async def _namespace_labels(self, namespace: str) -> Mapping[str, str] | None:
        try:
            found = await self._cluster.get(NAMESPACE, None, namespace)
        except ForbiddenError:
            return None
        return None if found is None else found["metadata"].get("labels", {})


def _applied(verdict: status.Verdict, reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.RESOURCES_APPLIED, verdict, reason, message)


def _resources_applied(children: Iterable[ChildStatus]) -> Condition:
    by_state: dict[ChildState, list[str]] = {}
    for child in children:
        by_state.setdefault(child.state, []).append(child.message)
    if conflicts := by_state.get(ChildState.CONFLICT):
        return _applied("False", Reason.CONFLICT, f"{'; '.join(conflicts)}.")
    if failed := by_state.get(ChildState.FAILED):
        return _applied("False", Reason.APPLY_FAILED, f"{'; '.join(failed)}.")
    count = len(by_state.get(ChildState.APPLIED, []))
    return _applied("True", Reason.APPLIED, f"{count} objects are as they should be.")


def _fields(pipeline: Pipeline, context: Context, children: Iterable[ChildStatus]) -> dict[str, Any]:
    return {
        "selector": ",".join(f"{key}={value}" for key, value in naming.selector(pipeline.name).items()),
        "endpoint": endpoint(pipeline),
        "image": context.image(pipeline),
        "children": [{"kind": child.kind, "name": child.name, "state": child.state.value} for child in children],
    }


def _counts(deployment: Mapping[str, Any], available: Condition, previous: Mapping[str, Any]) -> dict[str, Any]:
    """How many dispatchers there are, and how many of them are ready; as it was said last where it cannot be seen."""
    if available.status == "Unknown":
        return {name: previous[name] for name in _COUNTED if name in previous}
    found = deployment.get("status", {})
    wanted = deployment.get("spec", {}).get("replicas", 1)
    ready = found.get("readyReplicas", 0)
    return {"ready": f"{ready}/{wanted}", "replicas": found.get("replicas", 0), "readyReplicas": ready}
