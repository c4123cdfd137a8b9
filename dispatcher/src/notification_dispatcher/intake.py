"""The door: makes jobs of what was posted, and says what became of each item. `app` calls it.

A batch is decoded in two steps, so that one bad item doesn't fail the others: the list with its items as they came,
then each item.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Annotated, Any

import msgspec

from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import RequestError
from notification_dispatcher.job import RANKS, Job, new_id
from notification_dispatcher.metric_names import INVALID_JOB_TYPE, DropReason, Result
from notification_dispatcher.monitor import Dropped, Monitor
from notification_dispatcher.pipeline import Priority
from notification_dispatcher.queues.base import Admission, JobQueue, Verdict
from notification_dispatcher.routes import InForce

_FARTHEST_MS = 365 * 24 * 3_600_000
"""How far ahead a job may be scheduled."""

_JobType = Annotated[str, msgspec.Meta(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")]
_Key = Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[!-~]([ -~]*[!-~])?\Z")]
"""Printable ASCII: it travels in headers."""


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    notifications: list[msgspec.Raw]


class _Item(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    type: _JobType
    payload: msgspec.Raw
    id: _Key | None = None
    dedup_key: _Key | None = None
    priority: Priority | None = None
    channels: Annotated[tuple[_JobType, ...], msgspec.Meta(min_length=1, max_length=32)] | None = None
    deliver_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _Head(msgspec.Struct):
    """What can be told of an item that is invalid."""

    type: Any = None
    id: Any = None


class ItemResult(msgspec.Struct, omit_defaults=True):
    """What became of one item."""

    id: str | None
    status: Result
    reason: DropReason | None = None
    detail: str = ""
    """For people: what is wrong with the item."""


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_item = msgspec.json.Decoder(_Item).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_type = msgspec.json.Decoder(_JobType).decode
_decode_key = msgspec.json.Decoder(_Key).decode

_WORDS = {
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?": "lower-case letters, digits and hyphens, such as booking-created",
    "^[!-~]([ -~]*[!-~])?": "printable ASCII characters",
}


class _InvalidItemError(Exception):
    """An item that cannot become a job. The message names the field."""


class Intake:
    """Takes batches."""

    def __init__(self, queue: JobQueue, monitor: Monitor, clock: Clock, in_force: InForce) -> None:
        self._queue = queue
        self._monitor = monitor
        self._clock = clock
        self._in_force = in_force

    async def take(self, body: bytes) -> list[ItemResult]:
        """Store a batch; a result for each item, in order.

        Raises RequestError when the batch as a whole can't be read, QueueUnavailableError when it can't be stored.
        """
        items = self._open(body)
        jobs: list[Job] = []
        places: list[int] = []
        dropped: list[Dropped] = []
        results: list[ItemResult] = []
        now = self._clock.wall_ms()
        for number, raw in enumerate(items):
            made = self._make(raw, now)
            if isinstance(made, Job):
                jobs.append(made)
                places.append(number)
                results.append(ItemResult(made.id, Result.QUEUED))
            else:
                job_type, result = made
                results.append(result)
                dropped.append((result.reason or DropReason.INVALID_PAYLOAD, job_type, result.id or ""))
        await self._enqueue(jobs, places, results, dropped)
        return results

    def _open(self, body: bytes) -> list[msgspec.Raw]:
        try:
            # Strings that are skipped over would not be checked otherwise.
            body.decode()
            items = _decode_envelope(body).notifications
        except UnicodeDecodeError:
            raise RequestError(400, "the body is not UTF-8") from None
        except (msgspec.ValidationError, RecursionError) as error:
            raise RequestError(400, _words(error)) from None
        except msgspec.DecodeError as error:
            raise RequestError(400, f"the body is not JSON: {error}") from None
        most = self._in_force.live.max_batch
        if not items:
            raise RequestError(400, "notifications: there is none in the batch")
        if len(items) > most:
            raise RequestError(413, f"notifications: {len(items)} in one batch; at most {most} are taken")
        return items

    def _make(self, raw: msgspec.Raw, now: int) -> Job | tuple[str, ItemResult]:
        """A job of an item; or what can be said of the item, and its type for the metrics."""
        try:
            item = _decode_item(raw)
            job = self._job(item, now)
        except (msgspec.MsgspecError, RecursionError, _InvalidItemError) as error:
            head = _head(raw)
            job_type = _valid(_decode_type, head.type)
            return job_type or INVALID_JOB_TYPE, ItemResult(
                _valid(_decode_key, head.id), Result.DROPPED, DropReason.INVALID_PAYLOAD, _words(error)
            )
        if not self._in_force.routes.accepts(item.type):
            detail = f"type: {item.type} is not one of the pipeline's job types"
            return item.type, ItemResult(job.id, Result.DROPPED, DropReason.UNKNOWN_JOB_TYPE, detail)
        return job

    def _job(self, item: _Item, now: int) -> Job:
        payload = bytes(item.payload)
        if not payload.startswith(b"{"):
            raise _InvalidItemError("payload: must be an object")
        unknown = [name for name in item.channels or () if name not in self._in_force.channels]
        if unknown:
            raise _InvalidItemError(f"channels: there is no channel {unknown[0]}")
        due = now if item.deliver_at is None else max(now, round(item.deliver_at.timestamp() * 1000))
        if due > now + _FARTHEST_MS:
            raise _InvalidItemError("deliverAt: must be within a year")
        job_id = item.id or new_id()
        return Job(
            id=job_id,
            type=item.type,
            payload=payload,
            dedup_key=item.dedup_key or job_id,
            rank=self._in_force.routes.of(item.type).rank if item.priority is None else RANKS[item.priority],
            channels=item.channels,
            accepted_ms=now,
            due_ms=due,
        )

    async def _enqueue(
        self, jobs: list[Job], places: list[int], results: list[ItemResult], dropped: list[Dropped]
    ) -> None:
        """Store the jobs, and put what became of them in their places among the results."""
        limits = self._in_force.live.limits
        admission = await self._queue.enqueue(jobs, limits) if jobs else Admission([], [])
        gone = {job.id for job in admission.evicted}
        counts: Counter[tuple[Result, str]] = Counter()
        for place, job, verdict in zip(places, jobs, admission.verdicts, strict=True):
            match verdict:
                case Verdict.REJECTED:
                    dropped.append((DropReason.REJECTED, job.type, job.id))
                    results[place] = ItemResult(job.id, Result.DROPPED, DropReason.REJECTED, "the queue is full")
                case Verdict.DEDUPLICATED:
                    counts[Result.DEDUPLICATED, job.type] += 1
                    results[place] = ItemResult(job.id, Result.DEDUPLICATED)
                case _:
                    counts[Result.QUEUED, job.type] += 1
                    if job.id in gone:
                        # Later items of this very batch took its place.
                        results[place] = ItemResult(job.id, Result.DROPPED, DropReason.CAPACITY, "the queue is full")
        self._monitor.arrived(counts, dropped)
        self._monitor.evicted(admission.evicted)


def _head(raw: msgspec.Raw) -> _Head:
    try:
        return _decode_head(raw)
    except (msgspec.MsgspecError, RecursionError):
        return _Head()


def _valid(decode: Any, value: Any) -> str | None:
    try:
        return str(decode(msgspec.json.encode(value)))
    except msgspec.MsgspecError:
        return None


def _words(error: Exception) -> str:
    """msgspec's sentence, with the field first and no regular expression."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text, _, path = str(error).partition(" - at `$")
    for pattern, words in _WORDS.items():
        if pattern in text:
            text = f"must be {words}"
    field = path.removesuffix("`").removeprefix(".")
    return f"{field}: {text}" if field else text
