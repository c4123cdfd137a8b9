"""Compares what the API server makes of a pipeline with what the operator makes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from notification_operator import compare
from notification_operator.kinds import PIPELINE, POD, kind_of
from notification_operator.offline import documents
from notification_operator.offline.documents import Document
from notification_operator.offline.validating import judge
from notification_operator.pipeline import Pipeline
from notification_operator.resources import desired
from notification_operator.resources.base import Context, Manifest
from notification_operator.wanted_secrets import references
from tests.controller.acceptance.dry_run import Answer, DryRun


class DisagreementError(AssertionError):
    """The API server and the operator differ on a pipeline."""

    def __init__(self, manifest: Mapping[str, Any], *told: object) -> None:
        super().__init__("\n".join([json.dumps(manifest), *map(str, told)]))


async def check(server: DryRun, manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Raise DisagreementError where they differ. Returns the stored spec; None for one that is refused."""
    sent = _as_sent(manifest)
    answer = await server.create(PIPELINE, sent)
    judged = judge(sent, server.namespace)
    if (answer.stored is None) != (judged.pipeline is None):
        raise DisagreementError(
            manifest, f"the API server: {answer.refusal or 'accepted'}", f"the model: {judged.findings}"
        )
    if answer.stored is None or judged.pipeline is None:
        return None
    stored = Pipeline.parse(answer.stored)
    read, kept = _said(judged.pipeline), _without_nothing(answer.stored["spec"])
    if stored.spec != judged.pipeline.spec or not _same(read, kept):
        raise DisagreementError(manifest, f"the API server stores: {kept}", f"the model reads: {read}")
    await asyncio.gather(*(_check_child(server, manifest, child) for child in _children(stored)))
    spec: Mapping[str, Any] = answer.stored["spec"]
    return spec


def _as_sent(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The manifest as kubectl reads it from a file, and `validate` too: 5.0 is the whole number 5."""
    (document,) = documents.parse("booking.json", json.dumps(manifest).encode())
    assert isinstance(document, Document)
    return document.content


def _same(read: Any, kept: Any) -> bool:
    """Whether the two say the same; a quantity may be a number, and is read as its text."""
    if isinstance(read, Mapping) and isinstance(kept, Mapping):
        return read.keys() == kept.keys() and all(_same(read[key], kept[key]) for key in read)
    if isinstance(read, list) and isinstance(kept, list):
        return len(read) == len(kept) and all(map(_same, read, kept))
    return bool(read == kept) or (isinstance(read, str) and type(kept) is int and read == str(kept))


def _said(pipeline: Pipeline) -> Any:
    return _without_nothing(pipeline.spec.model_dump(mode="json", by_alias=True))


def _without_nothing(value: Any) -> Any:
    """Without what is unset or empty: a default that is nothing isn't stored."""
    if isinstance(value, list):
        return [_without_nothing(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    inner = {key: _without_nothing(item) for key, item in value.items()}
    return {key: item for key, item in inner.items() if item not in (None, "", {}, [])}


def full_context(pipeline: Pipeline) -> Context:
    """What its children are built with where all Secrets are there that it refers to."""
    alerts, *others = references(pipeline)
    return Context(
        "dispatcher:1",
        slack_alerts={item.target: b"x" for item in alerts},
        credentials={item.target: b"x" for part in others for item in part},
    )


def _children(pipeline: Pipeline) -> Iterator[Manifest]:
    """All that it may have, on clusters with KEDA and without."""
    context = full_context(pipeline)
    yield from desired(pipeline, context)
    if pipeline.spec.autoscaling is not None:
        yield from (child for child in desired(pipeline, replace(context, keda=True)) if "keda" in child["apiVersion"])


async def _check_child(server: DryRun, manifest: Mapping[str, Any], child: Manifest) -> None:
    wanted = compare.stamped(_of_nobody(child))
    answer = await server.create_once(kind_of(child), wanted)
    if answer.stored is None:
        raise DisagreementError(manifest, f"its {child['kind']} is refused: {answer.refusal}")
    if not compare.same(answer.stored, wanted):
        raise DisagreementError(manifest, f"its {child['kind']} is stored otherwise", json.dumps(wanted), answer.stored)
    if child["kind"] == "Deployment":
        pod = await _create_pod(server, child["spec"]["template"])
        if pod.stored is None:
            raise DisagreementError(manifest, f"its pod is refused: {pod.refusal}")


def _of_nobody(child: Manifest) -> Manifest:
    """Without the owner's uid, which is another in each dry run."""
    metadata = {key: value for key, value in child["metadata"].items() if key != "ownerReferences"}
    return {**child, "metadata": metadata}


async def _create_pod(server: DryRun, template: Manifest) -> Answer:
    """A pod of the template; but for the account and the priority class, which would have to be there."""
    spec = {
        key: value for key, value in template["spec"].items() if key not in ("serviceAccountName", "priorityClassName")
    }
    metadata = {**template["metadata"], "generateName": "pod-", "namespace": server.namespace}
    return await server.create_once(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
