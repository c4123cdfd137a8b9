"""The door: makes jobs of what was posted, and says what became of each item. `app` calls it.

A batch is decoded at once if all of it is well; else in two steps, so that one bad item doesn't fail the others: the
list with its items as they came, then each item.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from notification_dispatcher import tracing
from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import RequestError
from notification_dispatcher.job import RANKS, Job, new_id
from notification_dispatcher.messages import (
    Batch,
    Envelope,
    Head,
    ItemResult,
    JobType,
    Key,
    Notification,
    Results,
    words_of,
)
from notification_dispatcher.metric_names import INVALID_JOB_TYPE, DropReason, Result
from notification_dispatcher.monitor import Dropped, Monitor
from notification_dispatcher.queues.base import Admission, JobQueue, Receipt, Verdict
from notification_dispatcher.routes import InForce

_FARTHEST_MS = 365 * 24 * 3_600_000
"""How far ahead a job may be scheduled."""


class Taken(NamedTuple):
    """What came of a request."""

    results: list[ItemResult]
    recalled: bytes | None = None
    """The answer to the same request, when it came before: nothing of this one was taken."""

    @property
    def rejected(self) -> bool:
        """Nothing was taken, and the queue is why."""
        return all(one.status is Result.DROPPED for one in self.results) and any(
            one.reason is DropReason.REJECTED for one in self.results
        )


class _Sorted(NamedTuple):
    """A batch, sorted into what can be stored and what cannot."""

    jobs: list[Job]
    places: list[int]
    """Where each job stands among the items."""
    results: list[ItemResult]
    dropped: list[Dropped]


_encode = msgspec.json.Encoder().encode
_decode_batch = msgspec.json.Decoder(Batch).decode
_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_item = msgspec.json.Decoder(Notification).decode
_decode_head = msgspec.json.Decoder(Head).decode
_decode_type = msgspec.json.Decoder(JobType).decode
_decode_key = msgspec.json.Decoder(Key).decode


class _InvalidItemError(Exception):
    """An item that cannot become a job. The message names the field."""


class Intake:
    """Takes batches."""

    def __init__(self, queue: JobQueue, monitor: Monitor, clock: Clock, in_force: InForce) -> None:
        self._queue = queue
        self._monitor = monitor
        self._clock = clock
        self._in_force = in_force

    async def take(self, body: bytes, trace: str = "", key: str | None = None) -> Taken:
        """Store a batch; a result for each item, in order. With a key, the same request is stored once.

        `trace` is that of the request (`tracing.carried`). Raises RequestError when the batch as a whole can't be read,
        or the key was used for another; QueueUnavailableError when it can't be stored.
        """
        batch = self._sort(self._open(body), trace)
        if not batch.jobs:
            return self._told(batch, Admission([], []))
        limits = self._in_force.live.limits
        if key is None:
            return self._told(batch, await self._queue.enqueue(batch.jobs, limits))
        fingerprint = hashlib.sha256(body).digest()

        def answer(admission: Admission) -> bytes:
            taken = Taken(_results(batch, admission))
            return b"" if taken.rejected else _encode(Results(taken.results))

        admission = await self._queue.enqueue(batch.jobs, limits, Receipt(key, fingerprint, answer))
        if admission.recalled is None:
            return self._told(batch, admission)
        if admission.recalled.fingerprint != fingerprint:
            raise RequestError(422, "Idempotency-Key: it was used for another request; take a new one for each")
        return Taken([], admission.recalled.answer)

    def _open(self, body: bytes) -> Sequence[Notification | msgspec.Raw]:
        """The batch's items; those of a batch with something wrong as they came."""
        items: Sequence[Notification | msgspec.Raw]
        try:
            # Strings that are skipped over would not be checked otherwise.
            body.decode()
            try:
                items = _decode_batch(body).notifications
            except msgspec.ValidationError:
                items = _decode_envelope(body).notifications
        except UnicodeDecodeError:
            raise RequestError(400, "the body is not UTF-8") from None
        except (msgspec.ValidationError, RecursionError) as error:
            raise RequestError(400, words_of(error)) from None
        except msgspec.DecodeError as error:
            raise RequestError(400, f"the body is not JSON: {error}") from None
        most = self._in_force.live.max_batch
        if not items:
            raise RequestError(400, "notifications: there is none in the batch")
        if len(items) > most:
            raise RequestError(413, f"notifications: {len(items)} in one batch; at most {most} are taken")
        return items

    def _sort(self, items: Sequence[Notification | msgspec.Raw], trace: str) -> _Sorted:
        batch = _Sorted([], [], [], [])
        now = self._clock.wall_ms()
        for number, item in enumerate(items):
            made = self._make(item, now, trace)
            if isinstance(made, Job):
                batch.jobs.append(made)
                batch.places.append(number)
                batch.results.append(ItemResult(made.id, Result.QUEUED))
            else:
                job_type, result = made
                batch.results.append(result)
                batch.dropped.append((result.reason or DropReason.INVALID_PAYLOAD, job_type, result.id or ""))
        return batch

    def _make(self, item: Notification | msgspec.Raw, now: int, trace: str) -> Job | tuple[str, ItemResult]:
        """A job of an item; or what can be said of the item, and its type for the metrics."""
        try:
            known = item if isinstance(item, Notification) else _decode_item(item)
            job = self._job(known, now, trace)
        except (msgspec.MsgspecError, RecursionError, _InvalidItemError) as error:
            head = _head(item)
            job_type = _valid(_decode_type, head.type)
            return job_type or INVALID_JOB_TYPE, ItemResult(
                _valid(_decode_key, head.id), Result.DROPPED, DropReason.INVALID_PAYLOAD, words_of(error)
            )
        if not self._in_force.routes.accepts(job.type):
            detail = f"type: {job.type} is not one of the pipeline's job types"
            return job.type, ItemResult(job.id, Result.DROPPED, DropReason.UNKNOWN_JOB_TYPE, detail)
        return job

    def _job(self, item: Notification, now: int, trace: str) -> Job:
        payload = bytes(item.payload)
        if not payload.startswith(b"{"):
            raise _InvalidItemError("payload: must be an object")
        unknown = [name for name in item.channels or () if name not in self._in_force.channels]
        if unknown:
            raise _InvalidItemError(f"channels: there is no channel {unknown[0]}")
        due = 0 if item.deliver_at is None else round(item.deliver_at.timestamp() * 1000)
        if due > now + _FARTHEST_MS:
            raise _InvalidItemError("deliverAt: must be within a year")
        if item.traceparent is not None:
            trace = tracing.carried({"traceparent": item.traceparent})
        job_id = item.id or new_id()
        return Job(
            id=job_id,
            type=item.type,
            payload=payload,
            dedup_key=item.dedup_key or job_id,
            rank=self._in_force.routes.of(item.type).rank if item.priority is None else RANKS[item.priority],
            channels=item.channels,
            due_ms=due,
            trace=trace,
        )

    def _told(self, batch: _Sorted, admission: Admission) -> Taken:
        """Count what became of a batch, and put it in words."""
        counts: Counter[tuple[Result, str]] = Counter()
        dropped = list(batch.dropped)
        last = None
        for job, verdict in zip(batch.jobs, admission.verdicts, strict=True):
            match verdict:
                case Verdict.QUEUED:
                    counts[Result.QUEUED, job.type] += 1
                    last = job
                case Verdict.DEDUPLICATED:
                    counts[Result.DEDUPLICATED, job.type] += 1
                case _:
                    dropped.append((DropReason.REJECTED, job.type, job.id))
        self._monitor.arrived(counts, dropped, last)
        self._monitor.evicted(admission.evicted)
        return Taken(_results(batch, admission))


def _results(batch: _Sorted, admission: Admission) -> list[ItemResult]:
    """The results, with what the queue said in its places."""
    results = list(batch.results)
    gone = {job.id for job in admission.evicted}
    for place, job, verdict in zip(batch.places, batch.jobs, admission.verdicts, strict=True):
        if verdict is Verdict.REJECTED:
            results[place] = ItemResult(job.id, Result.DROPPED, DropReason.REJECTED, "the queue is full")
        elif verdict is Verdict.DEDUPLICATED:
            results[place] = ItemResult(job.id, Result.DEDUPLICATED)
        elif gone and job.id in gone:
            # Later items of this very batch took its place.
            results[place] = ItemResult(job.id, Result.DROPPED, DropReason.CAPACITY, "the queue is full")
    return results


def _head(raw: Notification | msgspec.Raw) -> Head:
    if isinstance(raw, Notification):
        return Head(raw.type, raw.id)
    try:
        return _decode_head(raw)
    except (msgspec.MsgspecError, RecursionError):
        return Head()


def _valid(decode: Any, value: Any) -> str | None:
    try:
        return str(decode(msgspec.json.encode(value)))
    except msgspec.MsgspecError:
        return None
