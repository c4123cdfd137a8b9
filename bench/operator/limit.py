"""The limit: one bare client that writes what the operator writes, and nothing else. Prints JSON.

`__main__` runs it: `python -m bench.operator.limit KUBECONFIG NAMESPACE PIPELINES`. PIPELINES are worked on at once; of
each all children are created at once, by POST as the operator does it, and then the status is written, by a merge
patch, which is the cheapest way. All bodies are made beforehand; nothing is read, watched, compared, retried or logged.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import uvloop

from bench.operator.api import JSON, MERGE_PATCH, Api
from bench.operator.work import CONTEXT
from notification_operator import compare
from notification_operator.kinds import PIPELINE, kind_of
from notification_operator.naming import FIELD_MANAGER
from notification_operator.pipeline import Pipeline
from notification_operator.resources import desired
from notification_operator.status import ChildState, Condition, ConditionType, Reason, compose


class _Work(NamedTuple):
    children: list[tuple[str, bytes]]
    status: tuple[str, bytes]


def _of(stored: dict[str, Any]) -> _Work:
    """What the operator writes for a pipeline at first, ready to be sent."""
    pipeline = Pipeline.parse(stored)
    manifests = [compare.stamped(manifest) for manifest in desired(pipeline, CONTEXT)]
    manager = f"fieldManager={FIELD_MANAGER}"
    children = [
        (f"{kind_of(manifest).path(pipeline.namespace)}?{manager}", msgspec.json.encode(manifest))
        for manifest in manifests
    ]
    said = "As long as what the operator says of a pipeline that rolls out, or a little longer than that."
    conditions = [Condition(kind, "True", Reason.APPLIED, said) for kind in ConditionType]
    listed = [{"kind": m["kind"], "name": m["metadata"]["name"], "state": ChildState.APPLIED.value} for m in manifests]
    fields = {"ready": "0/1", "replicas": 0, "readyReplicas": 0, "children": listed}
    status = compose({}, pipeline.generation, conditions, fields, "2026-01-01T00:00:00Z")
    path = f"{PIPELINE.path(pipeline.namespace, pipeline.name, 'status')}?{manager}"
    return _Work(children, (path, msgspec.json.encode({"status": status})))


async def _write(api: Api, todo: Iterator[_Work]) -> None:
    for work in todo:
        await asyncio.gather(*(api.send("POST", path, body, JSON) for path, body in work.children))
        path, body = work.status
        await api.send("PATCH", path, body, MERGE_PATCH)


async def _main(kubeconfig: Path, namespace: str, at_once: int) -> None:
    async with Api(kubeconfig, connections=64) as api:
        works = [_of(stored) for stored in await api.items(PIPELINE, namespace)]
        todo = iter(works)
        began, used = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(_write(api, todo))
        seconds = time.perf_counter() - began
    figures = {"pipelines": len(works), "seconds": seconds, "cpu_seconds": time.process_time() - used}
    sys.stdout.write(msgspec.json.encode(figures).decode())


if __name__ == "__main__":
    uvloop.run(_main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
