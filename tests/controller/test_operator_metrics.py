"""The operator's own metrics: what a responder asks of the operator itself."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, generate_latest

from notification_operator.metrics import OperatorMetrics
from notification_operator.workqueue import Key, WorkQueue


def lines(metrics: OperatorMetrics, name: str) -> list[str]:
    text = generate_latest(metrics.registry).decode()
    return [line for line in text.splitlines() if line.startswith(f"notification_operator_{name}")]


def test_pipelines_are_counted_by_condition_and_forgotten() -> None:
    metrics = OperatorMetrics(CollectorRegistry())
    metrics.verdicts.put(("a", "one"), {"Ready": "True", "AlertingConfigured": "False"})
    metrics.verdicts.put(("a", "two"), {"Ready": "False"})
    metrics.verdicts.put(("b", "two"), {"Ready": "True"})
    metrics.verdicts.put(("b", "two"), {"Ready": "False"})
    assert lines(metrics, "pipelines{") == [
        'notification_operator_pipelines{condition="AlertingConfigured",status="False"} 1.0',
        'notification_operator_pipelines{condition="Ready",status="False"} 2.0',
        'notification_operator_pipelines{condition="Ready",status="True"} 1.0',
    ]
    metrics.verdicts.forget(("a", "two"))
    assert 'notification_operator_pipelines{condition="Ready",status="False"} 1.0' in lines(metrics, "pipelines{")
    metrics.verdicts.clear()
    assert lines(metrics, "pipelines{") == []


async def test_the_oldest_key_has_an_age_while_it_waits() -> None:
    metrics = OperatorMetrics(CollectorRegistry())
    queue = WorkQueue(metrics)
    assert lines(metrics, "queue_oldest_age_seconds") == ["notification_operator_queue_oldest_age_seconds 0.0"]
    queue.add(Key("a", "one"))
    (line,) = lines(metrics, "queue_oldest_age_seconds")
    assert float(line.split()[1]) > 0

    async def work(_: Key) -> None:
        worked.set()

    worked = asyncio.Event()
    task = asyncio.create_task(queue.run(work, 1))
    await worked.wait()
    assert lines(metrics, "queue_oldest_age_seconds") == ["notification_operator_queue_oldest_age_seconds 0.0"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
