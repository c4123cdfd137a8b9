"""What was sent twice is taken once; dead letters are listed, queued again and deleted; traces go all the way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from notification_dispatcher import metric_names as names
from notification_dispatcher.channels import trace_headers
from notification_dispatcher.channels.base import DELIVERED, Delivery
from notification_dispatcher.job import Lease
from notification_dispatcher.queues.base import Counts
from tests.dispatcher.http_caller import GOOD, calling, post, problem
from tests.dispatcher.rig import REFUSED, Rig, rigged

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rigged(tmp_path, NOTIFICATION_QUEUE_CAPACITY="10", NOTIFICATION_QUEUE_OVERFLOW="reject") as made:
        yield made


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    async with calling(rig) as client:
        yield client


async def post_keyed(api: httpx.AsyncClient, key: str, *items: Any) -> httpx.Response:
    return await post(api, *items, Idempotency_Key=key)


async def test_a_request_that_is_sent_again_is_taken_once_and_answered_the_same(
    api: httpx.AsyncClient, rig: Rig
) -> None:
    first = await post_keyed(api, "k1", GOOD, {"type": "No!"})
    again = await post_keyed(api, '"k1"', GOOD, {"type": "No!"})
    assert (first.status_code, again.status_code, again.content) == (202, 202, first.content)
    assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
    assert rig.parts.queue.counts().ready == 1
    scrape = rig.scrape()
    assert scrape.total(names.JOBS_TOTAL, result="queued") == 1
    assert scrape.total(names.JOBS_TOTAL, result="dropped") == 1
    assert (await post_keyed(api, "k2", GOOD)).json() != first.json()


async def test_a_key_that_was_used_for_another_request_is_refused(api: httpx.AsyncClient) -> None:
    await post_keyed(api, "k1", GOOD)
    assert "take a new one" in problem(await post_keyed(api, "k1", {**GOOD, "payload": {}}), 422)


async def test_a_request_that_found_no_room_is_not_remembered(api: httpx.AsyncClient, rig: Rig) -> None:
    await rig.put(*(f"j{number}" for number in range(10)))
    assert (await post_keyed(api, "k1", GOOD)).status_code == 429
    await rig.parts.queue.claim(5)
    assert (await post_keyed(api, "k1", GOOD)).status_code == 202


@pytest.mark.parametrize("key", ["", '""', "x" * 129, "tab\there"])
async def test_a_key_must_be_one(api: httpx.AsyncClient, key: str) -> None:
    assert "Idempotency-Key: must be" in problem(await post_keyed(api, key, GOOD), 400)


async def bury(rig: Rig, *ids: str, job_type: str = "booking-created") -> None:
    rig.crm.always = REFUSED
    await rig.put(*ids, job_type=job_type)
    if not rig.running:
        rig.start()
    await rig.settle()
    rig.clock.advance(1)


async def test_dead_letters_are_listed_page_by_page(api: httpx.AsyncClient, rig: Rig) -> None:
    for name in "abcde":
        await bury(rig, name)
    await bury(rig, "r", job_type="instructor-rated")
    found, cursor = [], None
    for _ in range(3):
        query = {"state": "dead", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/api/notifications", params=query)).json()
        found += [one["id"] for one in page["notifications"]]
        cursor = page.get("nextCursor")
    assert (found, cursor) == (["r", "e", "d", "c", "b", "a"], None)
    one = (await api.get("/api/notifications", params={"type": "instructor-rated"})).json()["notifications"]
    assert [(letter["id"], letter["reason"], letter["detail"]) for letter in one] == [
        ("r", "http_4xx", "crm: answered 410")
    ]
    for wrong in ({"channel": "team"}, {"reason": "timeout"}):
        assert (await api.get("/api/notifications", params=wrong)).json() == {"notifications": []}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"state": "ready"}, "state: only dead"),
        ({"limit": "0"}, "limit: must be"),
        ({"limit": "1001"}, "limit: must be"),
        ({"limit": "٣"}, "limit: must be"),
        ({"cursor": "x"}, "cursor: it is not"),
        ({"cursor": "-1-1"}, "cursor: it is not"),
        ({"cursor": "9999999999999999999-1"}, "cursor: it is not"),
        ({"tpye": "x"}, "tpye: there is no such parameter"),
    ],
)
async def test_a_wrong_parameter_is_named(api: httpx.AsyncClient, query: dict[str, str], words: str) -> None:
    assert words in problem(await api.get("/api/notifications", params=query), 400)


async def test_a_dead_letter_is_queued_again_and_delivered(api: httpx.AsyncClient, rig: Rig) -> None:
    await bury(rig, "a/b", "c")
    rig.crm.always = DELIVERED
    answer = await api.post("/api/notifications/a%2Fb/replay")
    assert (answer.status_code, answer.json()) == (202, {"replayed": 1})
    await rig.settle()
    assert (await api.get("/api/notifications/a/b")).json() == {"id": "a/b", "state": "processed"}
    assert "and not a dead letter" in problem(await api.post("/api/notifications/a/b/replay"), 409)
    problem(await api.post("/api/notifications/nothing/replay"), 404)
    scrape = rig.scrape()
    assert scrape.total(names.JOBS_TOTAL, result="queued") == 3
    assert scrape.total(names.DEAD_LETTERS_REMOVED_TOTAL, reason="replayed") == 1
    assert scrape.total(names.DEAD_JOBS) == 1


async def test_many_are_queued_again_by_what_they_have_in_common(api: httpx.AsyncClient, rig: Rig) -> None:
    await bury(rig, "a", "b", "c")
    await bury(rig, "r", job_type="instructor-rated")
    rig.parts.worker.stop()
    await rig.settle()
    answer = await api.post("/api/dead-letters/replay", json={"type": "booking-created", "limit": 2})
    assert answer.json() == {"replayed": 2}
    assert rig.parts.queue.counts() == Counts(ready=2, scheduled=0, running=0, dead=2)
    assert "or all" in problem(await api.post("/api/dead-letters/replay", json={}), 400)
    assert "limit" in problem(await api.post("/api/dead-letters/replay", json={"all": True, "limit": 0}), 400)
    assert "not JSON" in problem(
        await api.post("/api/dead-letters/replay", content=b"{", headers={"Content-Type": "application/json"}), 400
    )
    assert (await api.post("/api/dead-letters/replay", json={"all": True})).json() == {"replayed": 2}


async def test_nothing_gives_way_to_what_is_queued_again(api: httpx.AsyncClient, rig: Rig) -> None:
    await bury(rig, "a", "b")
    rig.parts.worker.stop()
    await rig.settle()
    await rig.put(*(f"j{number}" for number in range(9)))
    assert (await api.post("/api/dead-letters/replay", json={"all": True})).json() == {"replayed": 1}
    answer = await api.post("/api/notifications/b/replay")
    assert (problem(answer, 429), answer.headers["Retry-After"]) == ("the queue is full", "5")
    assert rig.parts.queue.counts().dead == 1


async def test_dead_letters_are_deleted_one_and_many(api: httpx.AsyncClient, rig: Rig) -> None:
    await bury(rig, "a", "b", "c")
    assert (await api.delete("/api/notifications/a")).status_code == 204
    problem(await api.delete("/api/notifications/a"), 404)
    assert "or all" in problem(await api.delete("/api/dead-letters"), 400)
    assert (await api.delete("/api/dead-letters", params={"reason": "timeout"})).json() == {"deleted": 0}
    assert (await api.delete("/api/dead-letters", params={"all": "true"})).json() == {"deleted": 2}
    assert rig.scrape().total(names.DEAD_LETTERS_REMOVED_TOTAL, reason="deleted") == 3
    rig.parts.worker.stop()
    await rig.settle()
    await rig.put("waits")
    assert "is ready, and not" in problem(await api.delete("/api/notifications/waits"), 409)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/notifications"),
        ("GET", "/api/notifications/a"),
        ("DELETE", "/api/notifications/a"),
        ("POST", "/api/notifications/a/replay"),
        ("POST", "/api/dead-letters/replay"),
        ("DELETE", "/api/dead-letters?all=true"),
        ("POST", "/api/alerts/test"),
        ("POST", "/api/notifications"),
    ],
)
async def test_everything_that_is_not_public_asks_for_the_token(tmp_path: Path, method: str, path: str) -> None:
    async with rigged(tmp_path, NOTIFICATION_API_TOKEN="a-long-enough-token") as rig, calling(rig) as api:
        for authorization in ("", "Bearer wrong", "Basic a-long-enough-token", "Bearer a-long-enough-tokem"):
            answer = await api.request(method, path, headers={"Authorization": authorization}, json={})
            problem(answer, 401)
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_methods_that_are_not_there_are_told_those_that_are(api: httpx.AsyncClient) -> None:
    for path, allowed in (("/api/notifications", "GET, HEAD, POST"), ("/api/notifications/a", "DELETE, GET, HEAD")):
        answer = await api.put(path)
        problem(answer, 405)
        assert ", ".join(sorted(answer.headers["Allow"].split(", "))) == allowed


class Listening:
    """A channel that notes the headers of the trace."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []

    async def deliver(self, job: Lease) -> Delivery:
        self.seen.append(dict(trace_headers.current.get()) if job.trace else {})
        return DELIVERED


async def test_a_trace_goes_from_the_post_to_the_delivery(api: httpx.AsyncClient, rig: Rig) -> None:
    listening = Listening()
    rig.parts.in_force.channels = {"crm": listening}
    rig.start()
    other = PARENT.replace("0af7", "1af7")
    for headers, item in (
        ({"traceparent": PARENT, "tracestate": "vendor=1"}, GOOD),
        ({"traceparent": PARENT}, {**GOOD, "traceparent": other}),
        ({"traceparent": "00-nonsense"}, GOOD),
        ({"traceparent": f"00-{'0' * 32}-b7ad6b7169203331-01"}, GOOD),
        ({}, GOOD),
    ):
        await post(api, item, **headers)
        await rig.settle()
    assert listening.seen == [
        {"traceparent": PARENT, "tracestate": "vendor=1"},
        {"traceparent": other},
        {},
        {},
        {},
    ]


@pytest.mark.parametrize("value", ["", "00-x", f"00-{'0' * 32}-b7ad6b7169203331-01", PARENT.upper(), f"{PARENT}\n"])
async def test_an_items_trace_must_be_one(api: httpx.AsyncClient, value: str) -> None:
    (result,) = (await post(api, {**GOOD, "traceparent": value})).json()["results"]
    assert (result["reason"], "traceparent" in result["detail"]) == ("invalid_payload", True)


async def test_the_document_describes_what_there_is(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    item = document["components"]["schemas"]["Notification"]
    assert sorted(item["required"]) == ["payload", "type"]
    assert item["properties"]["payload"]["type"] == "object"
    assert r"\Z" not in json.dumps(document)
    assert set(document["paths"]["/api/notifications"]) == {"get", "post"}
