"""The HTTP interface, as callers see it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from notification_dispatcher import metric_names as names
from notification_dispatcher.app import make_app
from notification_dispatcher.clock import VirtualClock, rfc3339
from notification_dispatcher.errors import QueueUnavailableError
from notification_dispatcher.job import Rank
from notification_dispatcher.queues.memory import MemoryQueue
from tests.dispatcher.http_caller import GOOD, calling, post, problem
from tests.dispatcher.rig import ROUTING, Rig, rigged


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rigged(tmp_path, NOTIFICATION_API_MAX_BATCH="5", NOTIFICATION_API_MAX_BODY_BYTES="2000") as made:
        yield made


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    async with calling(rig) as client:
        yield client


async def post_raw(api: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await api.post("/api/notifications", content=body, headers=sent)


async def test_each_item_is_answered_in_order(api: httpx.AsyncClient, rig: Rig) -> None:
    answer = await post(api, {**GOOD, "id": "a"}, {"type": "No!"}, {**GOOD, "id": "a"}, GOOD)
    assert answer.status_code == 202
    first, second, third, fourth = answer.json()["results"]
    assert first == {"id": "a", "status": "queued"}
    assert (second["id"], second["status"], second["reason"]) == (None, "dropped", "invalid_payload")
    assert third == {"id": "a", "status": "deduplicated"}
    assert (len(fourth["id"]), fourth["status"]) == (36, "queued")
    assert rig.parts.queue.counts().ready == 2


async def test_what_an_item_says_reaches_the_queue(api: httpx.AsyncClient, rig: Rig) -> None:
    item = b'{"type":"refund-requested","id":"r 1","payload":{"a": 1.0,"\xc3\xa5":[null]},"dedupKey":"k",'
    item += b'"priority":"High","channels":["team"],"deliverAt":"2025-06-15T17:06:50+02:00"}'
    assert (await post_raw(api, b'{"notifications":[' + item + b"]}")).status_code == 202
    assert rig.parts.queue.counts().scheduled == 1
    rig.clock.advance(10)
    (lease,) = await rig.parts.queue.claim(1)
    assert (lease.id, lease.type, lease.rank, lease.channels) == ("r 1", "refund-requested", Rank.HIGH, ("team",))
    assert lease.payload == '{"a": 1.0,"å":[null]}'.encode(), "not a byte is changed"
    assert lease.due_ms == rig.clock.wall_ms()


async def test_priority_is_the_job_types_unless_given(api: httpx.AsyncClient, rig: Rig) -> None:
    await post(api, GOOD, {**GOOD, "type": "unlisted"}, {**GOOD, "priority": "Low"})
    assert [lease.rank for lease in await rig.parts.queue.claim(3)] == [Rank.HIGH, Rank.NORMAL, Rank.LOW]


@pytest.mark.parametrize("ahead", [3600, -3600])
async def test_when_a_job_is_due_is_told_by_the_queues_clock(tmp_path: Path, ahead: int) -> None:
    queues = VirtualClock()
    async with rigged(tmp_path, ROUTING, lambda _: MemoryQueue(queues)) as rig:
        rig.clock.jump(ahead)
        now = queues.wall_ms()
        await rig.take(
            {**GOOD, "id": "soon", "deliverAt": rfc3339(now + 1_800_000)},
            {**GOOD, "id": "missed", "deliverAt": rfc3339(now - 1_800_000)},
        )
        (missed,) = await rig.parts.queue.claim(2)
        assert (missed.id, missed.due_ms) == ("missed", now)
        queues.advance(1800)
        assert [lease.id for lease in await rig.parts.queue.claim(2)] == ["soon"]


async def test_a_time_that_has_passed_is_now(api: httpx.AsyncClient, rig: Rig) -> None:
    await post(api, {**GOOD, "deliverAt": "2020-01-01T00:00:00Z"})
    (lease,) = await rig.parts.queue.claim(1)
    assert lease.due_ms == rig.clock.wall_ms()


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (1, "Expected `object`, got `int`"),
        (None, "Expected `object`, got `null`"),
        ({"payload": {}}, "Object missing required field `type`"),
        ({"type": "t"}, "Object missing required field `payload`"),
        ({"type": "t", "payload": "text"}, "payload: must be an object"),
        ({"type": "t", "payload": None}, "payload: must be an object"),
        ({"type": "T", "payload": {}}, "type: must be lower-case letters, digits and hyphens, such as booking-created"),
        ({"type": "t\n", "payload": {}}, "type: must be lower-case letters"),
        ({"type": "t" * 64, "payload": {}}, "type: Expected `str` of length <= 63"),
        ({"type": 5, "payload": {}}, "type: Expected `str`, got `int`"),
        ({**GOOD, "id": ""}, "id: must be printable ASCII characters"),
        ({**GOOD, "id": "a\r\nb"}, "id: must be printable ASCII characters"),
        ({**GOOD, "id": "x" * 129}, "id: Expected `str` of length <= 128"),
        ({**GOOD, "dedupKey": "å"}, "dedupKey: must be printable ASCII characters"),
        ({**GOOD, "priority": "Urgent"}, "priority: Invalid enum value 'Urgent'"),
        ({**GOOD, "channels": []}, "channels: Expected `array` of length >= 1"),
        ({**GOOD, "channels": ["fax"]}, "channels: there is no channel fax"),
        ({**GOOD, "deliverAt": "tomorrow"}, "deliverAt: Invalid RFC3339 encoded datetime"),
        ({**GOOD, "deliverAt": "2025-06-15T15:00:00"}, "deliverAt: Expected `datetime` with a timezone component"),
        ({**GOOD, "deliverAt": "2027-06-15T15:00:00Z"}, "deliverAt: must be within a year"),
        ({**GOOD, "delay": 5}, "Object contains unknown field `delay`"),
    ],
)
async def test_an_invalid_item_is_dropped_with_a_sentence(
    api: httpx.AsyncClient, rig: Rig, item: Any, sentence: str
) -> None:
    answer = await post(api, item, GOOD)
    dropped, queued = answer.json()["results"]
    assert (dropped["status"], dropped["reason"], queued["status"]) == ("dropped", "invalid_payload", "queued")
    assert dropped["detail"].startswith(sentence)
    assert "[a-z" not in dropped["detail"]
    assert rig.scrape().total(names.JOBS_DROPPED_TOTAL, reason="invalid_payload") == 1


async def test_a_dropped_item_keeps_its_id_and_type_where_they_can_be_read(api: httpx.AsyncClient, rig: Rig) -> None:
    answer = await post(api, {"type": "booking-created", "id": "a", "payload": 1}, {"type": {}, "id": {}})
    assert [result["id"] for result in answer.json()["results"]] == ["a", None]
    scrape = rig.scrape()
    assert scrape.total(names.JOBS_TOTAL, result="dropped", job_type="booking-created") == 1
    assert scrape.total(names.JOBS_TOTAL, result="dropped", job_type="invalid") == 1


async def test_unknown_job_types_are_refused_where_the_pipeline_says_so(tmp_path: Path) -> None:
    async with rigged(tmp_path, {**ROUTING, "unknownJobTypes": "Reject"}) as rig:
        known, unknown = await rig.take(GOOD, {**GOOD, "type": "unlisted"})
        assert (known.status, unknown.status, unknown.reason) == ("queued", "dropped", "unknown_job_type")
        assert rig.scrape().total(names.JOBS_DROPPED_TOTAL, reason="unknown_job_type") == 1


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b'{"notifications": [{]}', "the body is not JSON"),
        (b'{"notifications": ["\xff"]}', "the body is not UTF-8"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "Object missing required field `notifications`"),
        (b'{"notifications": {}}', "notifications: Expected `array`, got `object`"),
        (b'{"notifications": []}', "notifications: there is none in the batch"),
        (b'{"notifications": [], "more": 1}', "Object contains unknown field `more`"),
    ],
)
async def test_a_body_that_is_no_batch_is_refused(api: httpx.AsyncClient, rig: Rig, body: bytes, sentence: str) -> None:
    assert problem(await post_raw(api, body), 400).startswith(sentence)
    assert rig.scrape().total(names.JOBS_TOTAL) == 0


async def test_deep_nesting_harms_nobody(tmp_path: Path) -> None:
    async with rigged(tmp_path) as rig:
        deep = b'{"a":' * 200_000 + b"1" + b"}" * 200_000
        body = b'{"notifications": [{"type": "t", "payload": ' + deep + b"}]}"
        client = httpx.AsyncClient(transport=httpx.ASGITransport(make_app(rig.parts)), base_url="http://dispatcher")
        async with client as api:
            assert (await post_raw(api, body)).status_code in {202, 400}


async def test_too_large_a_batch_or_body_is_refused(api: httpx.AsyncClient) -> None:
    assert problem(await post(api, *[GOOD] * 6), 413) == "notifications: 6 in one batch; at most 5 are taken"
    sentence = "the body is larger than 2000 bytes"
    assert problem(await post_raw(api, b"x" * 2001), 413) == sentence

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100
        raise AssertionError("it must not be read to its end")

    answer = await api.post("/api/notifications", content=drip(), headers={"Content-Type": "application/json"})
    assert problem(answer, 413) == sentence


async def test_only_plain_json_is_taken(api: httpx.AsyncClient) -> None:
    body = json.dumps({"notifications": [GOOD]}).encode()
    assert (
        problem(await post_raw(api, body, Content_Type="text/plain"), 415) == "Content-Type: must be application/json"
    )
    assert problem(await post_raw(api, body, Content_Encoding="gzip"), 415).startswith("Content-Encoding: ")
    assert (await post_raw(api, body, Content_Type="application/json; charset=utf-8")).status_code == 202


async def test_what_is_not_there_is_a_problem_too(api: httpx.AsyncClient) -> None:
    assert problem(await api.get("/nothing"), 404) == "Not Found"
    answer = await api.put("/api/notifications")
    assert problem(answer, 405) == "Method Not Allowed"
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


async def test_a_full_queue_answers_429_when_nothing_was_taken(tmp_path: Path) -> None:
    async with rigged(tmp_path, NOTIFICATION_QUEUE_CAPACITY="1", NOTIFICATION_QUEUE_OVERFLOW="reject") as rig:
        transport = httpx.ASGITransport(make_app(rig.parts))
        async with httpx.AsyncClient(transport=transport, base_url="http://dispatcher") as api:
            some = await post(api, {**GOOD, "id": "a"}, {**GOOD, "id": "b"})
            assert some.status_code == 202
            assert [result["status"] for result in some.json()["results"]] == ["queued", "dropped"]
            none = await post(api, {**GOOD, "id": "b"}, {"type": 5})
            assert problem(none, 429) == "the queue is full"
            assert int(none.headers["Retry-After"]) > 0
            assert [result.get("reason") for result in none.json()["results"]] == ["rejected", "invalid_payload"]
            assert (await post(api, {**GOOD, "id": "a"})).status_code == 202, "a repetition needs no room"


async def test_what_a_batch_evicts_of_itself_is_not_called_queued(tmp_path: Path) -> None:
    async with rigged(tmp_path, NOTIFICATION_QUEUE_CAPACITY="2") as rig:
        results = await rig.take(*({**GOOD, "id": name} for name in "abc"))
        assert [(one.status.value, one.reason) for one in results] == [
            ("dropped", "capacity"),
            ("queued", None),
            ("queued", None),
        ]
        scrape = rig.scrape()
        assert scrape.total(names.JOBS_TOTAL, result="queued") == 3
        assert scrape.total(names.JOBS_DROPPED_TOTAL, reason="capacity") == 1


async def test_a_queue_that_cannot_store_is_503_and_never_202(
    api: httpx.AsyncClient, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise QueueUnavailableError("the queue's database failed: disk full")

    for method in ("enqueue", "report", "oldest_due_ms", "probe"):
        monkeypatch.setattr(rig.parts.queue, method, broken)
    monkeypatch.setattr(type(rig.parts.queue), "available", False)
    answer = await post(api, GOOD)
    assert "nothing of the request was taken" in problem(answer, 503)
    assert answer.headers["Retry-After"] == "5"
    problem(await api.get("/api/notifications/a"), 503)
    assert (await api.get("/readyz")).status_code == 503
    assert (await api.get("/healthz")).status_code == 200
    assert (await api.get(names.METRICS_PATH)).status_code == 200
    assert rig.scrape().total(names.JOBS_TOTAL) == 0


async def test_it_is_ready_again_when_the_queue_can_store_again(
    api: httpx.AsyncClient, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(rig.parts.queue), "available", False)
    assert (await api.get("/readyz")).status_code == 200


async def test_a_bug_is_500_without_a_word_of_it(
    api: httpx.AsyncClient, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bug(*_: Any) -> None:
        raise ZeroDivisionError("canary")

    monkeypatch.setattr(rig.parts.queue, "enqueue", bug)
    assert problem(await post(api, GOOD), 500) == "an error in the dispatcher; its log says more"


async def test_while_it_shuts_down_nothing_is_taken(api: httpx.AsyncClient, rig: Rig) -> None:
    rig.parts.draining = True
    assert problem(await post(api, GOOD), 503) == "the dispatcher is shutting down"
    assert (await api.get("/readyz")).status_code == 503
    assert (await api.get("/healthz")).status_code == 200


async def test_a_job_can_be_looked_up(api: httpx.AsyncClient) -> None:
    await post(api, {**GOOD, "id": "a/b"})
    assert (await api.get("/api/notifications/a%2Fb")).json() == {
        "id": "a/b",
        "type": "booking-created",
        "state": "ready",
        "attempts": 0,
        "acceptedAt": "2025-06-15T15:06:40.000Z",
        "dueAt": "2025-06-15T15:06:40.000Z",
    }
    assert "no such notification" in problem(await api.get("/api/notifications/other"), 404)


async def test_a_token_is_asked_for_where_one_is_set(tmp_path: Path) -> None:
    async with rigged(tmp_path, NOTIFICATION_API_TOKEN="correct-horse") as rig:
        transport = httpx.ASGITransport(make_app(rig.parts))
        async with httpx.AsyncClient(transport=transport, base_url="http://dispatcher") as api:
            for value in ("", "Bearer wrong-horse", "Basic correct-horse", "Bearer ", "correct-horse", "Bearer ö"):
                headers = {b"Authorization": value.encode()} if value else {}
                requests = [
                    api.post("/api/notifications", headers=headers, json={"notifications": [GOOD]}),
                    api.get("/api/notifications/a", headers=headers),
                    api.post("/api/alerts/test", headers=headers),
                ]
                for answer in await asyncio.gather(*requests):
                    problem(answer, 401)
                    assert answer.headers["WWW-Authenticate"] == "Bearer"
            api.headers["Authorization"] = "Bearer correct-horse"
            assert (await post(api, GOOD)).status_code == 202
            del api.headers["Authorization"]
            for path in ("/healthz", "/readyz", names.METRICS_PATH):
                assert (await api.get(path)).status_code == 200


async def test_nobody_is_let_in_while_the_token_that_must_be_there_is_not(tmp_path: Path) -> None:
    async with rigged(tmp_path, NOTIFICATION_API_TOKEN_REQUIRED="true") as rig:
        transport = httpx.ASGITransport(make_app(rig.parts))
        async with httpx.AsyncClient(transport=transport, base_url="http://dispatcher") as api:
            assert "token is not there yet" in problem(await post(api, GOOD), 503)
            assert "token is not there yet" in problem(await api.get("/api/notifications/a"), 503)
            assert (await api.get("/readyz")).status_code == 200


async def test_the_oldest_jobs_age_is_measured(api: httpx.AsyncClient, rig: Rig) -> None:
    await post(api, GOOD)
    rig.clock.advance(12)
    await api.get(names.METRICS_PATH)
    assert rig.scrape().total(names.OLDEST_JOB_AGE_SECONDS) == 12


async def test_a_test_alert_without_a_webhook_says_what_to_set(api: httpx.AsyncClient) -> None:
    assert "SLACK_ALERT_WEBHOOK_URL" in problem(await api.post("/api/alerts/test"), 409)
