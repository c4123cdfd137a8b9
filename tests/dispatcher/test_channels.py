"""What every HTTP channel does with what destinations do. One table, for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from notification_dispatcher.channels.base import Channel, Delivery, Outcome
from notification_dispatcher.channels.http import HttpClient
from notification_dispatcher.channels.slack import SlackChannel, message_of
from notification_dispatcher.channels.webhook import WebhookChannel
from notification_dispatcher.clock import VirtualClock
from notification_dispatcher.metric_names import FailureReason
from tests.dispatcher.destination import CANARY, Destination, lease, listening

CLOCK = VirtualClock()

Make = Callable[..., Channel]


def webhook(client: HttpClient, url: str, *, allow_private: bool = True) -> Channel:
    return WebhookChannel(client, CLOCK, url, {"X-Team": "crm"}, allow_private=allow_private)


def slack(client: HttpClient, url: str, *, allow_private: bool = True) -> Channel:
    return SlackChannel(client, url, allow_private=allow_private)


@pytest.fixture(params=[webhook, slack], ids=["webhook", "slack"])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@pytest.fixture
async def destination() -> AsyncIterator[Destination]:
    async with listening() as made:
        yield made


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient(CLOCK) as made:
        yield made


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (200, Outcome.DELIVERED, None),
        (201, Outcome.DELIVERED, None),
        (204, Outcome.DELIVERED, None),
        (299, Outcome.DELIVERED, None),
        (301, Outcome.FAILED, FailureReason.HTTP_4XX),
        (302, Outcome.FAILED, FailureReason.HTTP_4XX),
        (307, Outcome.FAILED, FailureReason.HTTP_4XX),
        (400, Outcome.FAILED, FailureReason.HTTP_4XX),
        (401, Outcome.FAILED, FailureReason.HTTP_4XX),
        (403, Outcome.FAILED, FailureReason.HTTP_4XX),
        (404, Outcome.FAILED, FailureReason.HTTP_4XX),
        (408, Outcome.RETRY, FailureReason.HTTP_4XX),
        (410, Outcome.FAILED, FailureReason.HTTP_4XX),
        (422, Outcome.FAILED, FailureReason.HTTP_4XX),
        (425, Outcome.RETRY, FailureReason.HTTP_4XX),
        (429, Outcome.RETRY, FailureReason.HTTP_4XX),
        (500, Outcome.RETRY, FailureReason.HTTP_5XX),
        (503, Outcome.RETRY, FailureReason.HTTP_5XX),
        (599, Outcome.RETRY, FailureReason.HTTP_5XX),
    ],
)
async def test_statuses(
    make: Make,
    client: HttpClient,
    destination: Destination,
    status: int,
    outcome: Outcome,
    reason: FailureReason | None,
) -> None:
    headers = {"Location": destination.url + "/elsewhere"}
    destination.answer = lambda: web.Response(status=status, headers=headers)
    delivery = await make(client, destination.url).deliver(lease())
    assert (delivery.outcome, delivery.reason) == (outcome, reason)
    assert delivery.detail == ("" if reason is None else f"answered {status}")
    assert destination.paths == [f"/{CANARY}"], "no redirect is followed, and nothing is sent twice"


@pytest.mark.parametrize(("status", "value", "after"), [(429, "7", 7000), (503, "7", 7000), (503, "soon", None)])
async def test_retry_after_is_passed_on(
    make: Make, client: HttpClient, destination: Destination, status: int, value: str, after: int | None
) -> None:
    destination.answer = lambda: web.Response(status=status, headers={"Retry-After": value})
    assert (await make(client, destination.url).deliver(lease())).retry_after_ms == after


async def test_a_giant_answer_is_not_read(make: Make, client: HttpClient, destination: Destination) -> None:
    destination.answer = lambda: web.Response(body=b"x" * 50_000_000)
    delivery = await make(client, destination.url).deliver(lease())
    assert delivery.outcome is Outcome.DELIVERED


async def test_a_connection_is_used_again(make: Make, client: HttpClient, destination: Destination) -> None:
    channel = make(client, destination.url)
    for _ in range(3):
        await channel.deliver(lease())
    assert len(destination.requests) == 3


@contextlib.asynccontextmanager
async def server(behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]) -> AsyncIterator[int]:
    """A server that speaks no HTTP."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(100)
            behave(reader, writer)
            writer.close()
            await writer.wait_closed()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def test_what_is_no_answer_is_tried_again(make: Make, client: HttpClient) -> None:
    def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    for behave in (nonsense, hang_up):
        async with server(behave) as port:
            delivery = await make(client, f"http://127.0.0.1:{port}/{CANARY}").deliver(lease())
            assert (delivery.outcome, delivery.reason) == (Outcome.RETRY, FailureReason.CONNECTION)


async def test_nobody_there_is_tried_again(make: Make, client: HttpClient) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        delivery = await make(client, f"http://127.0.0.1:{taken.getsockname()[1]}/{CANARY}").deliver(lease())
    assert delivery == Delivery(Outcome.RETRY, FailureReason.CONNECTION, "no connection (ConnectionRefusedError)")


async def test_no_tls_is_tried_again(make: Make, client: HttpClient, destination: Destination) -> None:
    delivery = await make(client, destination.url.replace("http:", "https:")).deliver(lease())
    assert (delivery.outcome, delivery.reason) == (Outcome.RETRY, FailureReason.TLS)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/{canary}",
        "http://localhost:{port}/{canary}",
        "http://[::1]:{port}/{canary}",
        "http://[::ffff:127.0.0.1]:{port}/{canary}",
        "http://2130706433:{port}/{canary}",
        "http://0x7f.1:{port}/{canary}",
        "http://127.1:{port}/{canary}",
        "http://0:{port}/{canary}",
        "http://169.254.169.254/{canary}",
    ],
)
async def test_private_addresses_are_not_reached(
    make: Make, client: HttpClient, destination: Destination, url: str
) -> None:
    port = destination.url.split(":")[2].split("/")[0]
    channel = make(client, url.format(port=port, canary=CANARY), allow_private=False)
    delivery = await channel.deliver(lease())
    assert (delivery.outcome, delivery.reason) == (Outcome.FAILED, FailureReason.BLOCKED_ADDRESS)
    assert destination.requests == []


async def test_proxies_of_the_environment_are_not_used(
    make: Make, client: HttpClient, destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await make(client, destination.url).deliver(lease())).outcome is Outcome.DELIVERED


async def test_cookies_are_not_kept(make: Make, client: HttpClient, destination: Destination) -> None:
    destination.answer = lambda: web.Response(headers={"Set-Cookie": "a=b"})
    channel = make(client, destination.url)
    await channel.deliver(lease())
    await channel.deliver(lease())
    assert "Cookie" not in destination.requests[1][0]


@pytest.mark.parametrize(
    "url",
    [
        f"http://127.0.0.1:1/{CANARY}",
        f"https://127.0.0.1:1/{CANARY}",
        f"http://nothing.invalid/{CANARY}",
        f"http://[::1/{CANARY}",
        f"http:///{CANARY}",
        f"{CANARY}",
        f"http://127.0.0.1:99999/{CANARY}",
        f"http://{'x' * 70}.example/{CANARY}",
    ],
)
async def test_no_secret_leaks(make: Make, client: HttpClient, url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logs:
        channel = make(client, url)
        delivery = await channel.deliver(lease())
    assert delivery.outcome is not Outcome.DELIVERED
    told = f"{delivery} {logs} {caplog.text} {channel!r} {channel}"
    assert CANARY not in told


async def test_the_webhooks_request(client: HttpClient, destination: Destination) -> None:
    await webhook(client, destination.url).deliver(lease(b'{"a":1.0}', attempt=3))
    headers, body = destination.requests[0]
    assert body == (
        b'{"id":"b-1","type":"booking-created","attempt":3,"timestamp":"2025-06-15T15:06:40.000Z","payload":{"a":1.0}}'
    )
    assert headers["Content-Type"] == "application/json"
    assert headers["webhook-id"] == headers["Idempotency-Key"] == "b-1"
    assert headers["webhook-timestamp"] == "1750000000"
    assert headers["X-Team"] == "crm"
    assert headers["User-Agent"].startswith("notification-dispatcher/")


async def test_the_slack_message(client: HttpClient, destination: Destination) -> None:
    await slack(client, destination.url).deliver(lease(b'{"student": "<!channel> & co", "amount": 5, "x": [1]}'))
    message = json.loads(destination.requests[0][1])
    assert message["text"] == "Booking created"
    assert [block["type"] for block in message["blocks"]] == ["header", "section", "context"]
    assert [field["text"] for field in message["blocks"][1]["fields"]] == [
        "*student*\n&lt;!channel&gt; &amp; co",
        "*amount*\n5",
        "*x*\n[1]",
    ]


def test_a_large_payload_fits_into_a_slack_message() -> None:
    payload = json.dumps({f"field {number}" * 50: "&" * 5000 for number in range(50)}).encode()
    message = message_of(lease(payload))
    assert len(message["blocks"][1]["fields"]) == 10
    assert all(len(field["text"]) <= 2000 for field in message["blocks"][1]["fields"])
    assert len(json.dumps(message)) < 13_200


def test_an_empty_payload_is_a_message_too() -> None:
    assert [block["type"] for block in message_of(lease(b"{}"))["blocks"]] == ["header", "context"]
