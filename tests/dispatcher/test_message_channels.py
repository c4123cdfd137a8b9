"""Signatures that the receivers' own library verifies, templates that cannot be abused, mail and Apprise for real."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from notification_dispatcher import settings_source, slack_blocks
from notification_dispatcher.channels.addresses import PublicResolver
from notification_dispatcher.channels.apprise import AppriseChannel
from notification_dispatcher.channels.base import DELIVERED, Delivery, Outcome
from notification_dispatcher.channels.email import EmailChannel, Letter
from notification_dispatcher.channels.http import HttpClient
from notification_dispatcher.channels.registry import ChannelMaker, Channels
from notification_dispatcher.channels.slack import SlackChannel
from notification_dispatcher.channels.templates import DEFAULT_TEXT, Text, TextError
from notification_dispatcher.channels.webhook import WebhookChannel
from notification_dispatcher.clock import SystemClock
from notification_dispatcher.errors import SettingsError
from notification_dispatcher.metric_names import FailureReason
from notification_dispatcher.secret_values import mail_server, signing_keys
from tests.dispatcher.destination import CANARY, Destination, lease, listening
from tests.dispatcher.dispatcher_process import dispatcher

ADA = b'{"student": "Ada", "email": "ada@example.com"}'
OLD, NEW = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@pytest.fixture
async def receiver() -> AsyncIterator[Destination]:
    async with listening() as made:
        yield made


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient(SystemClock()) as made:
        yield made


async def test_the_receivers_library_verifies_either_signature(receiver: Destination, client: HttpClient) -> None:
    channel = WebhookChannel(
        client, SystemClock(), receiver.url, {}, keys=signing_keys(f"{OLD} {NEW}"), allow_private=True
    )
    assert (await channel.deliver(lease(ADA))).outcome is Outcome.DELIVERED
    headers, body = receiver.requests[0]
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    for secret in (OLD, NEW):
        assert Webhook(secret).verify(body, headers)["id"] == "b-1"
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(b"x" * 32).decode()).verify(body, headers)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_!!!", f"whsec_{'A' * 8}", OLD.removeprefix("whsec_"), f"{OLD} x"]
)
def test_what_is_no_signing_secret_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(ValueError, match=r"^[a-z0-9 ]+$") as caught:
        signing_keys(secret)
    assert not secret or secret not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ payload.student }} booked", "Ada booked"),
        ("{{ type | replace('-', ' ') | capitalize }}", "Booking created"),
        ("{% for name in payload %}{{ name }} {% endfor %}", "student email "),
        ("{{ payload.note | default('none') }}", "none"),
        ("{{ id }} {{ attempt }} {{ accepted_at }}", "b-1 1 2025-06-15T15:06:40.000Z"),
        ("{% if payload.student == 'Ada' %}yes{% else %}no{% endif %}", "yes"),
        ("{{ 6 * 7 }}", "42"),
    ],
)
def test_what_templates_are_for(source: str, text: str) -> None:
    assert Text(source).render(lease(ADA)) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ payload.missing }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ payload.__init__.__globals__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ 'x' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ 'x'.center(999999999) }}",
        "{{ range(10) }}",
        "{{ lipsum(100) }}",
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% for a in payload.l %}{% for b in payload.l %}{% if a == 'x' %}y{% endif %}{% endfor %}{% endfor %}",
        "{% for a in payload.l %}{{ payload.long }}{% endfor %}",
        "{{ payload.long | replace('', payload.long) }}",
        "{% for a in payload.l recursive %}{{ loop(payload.l) }}{% endfor %}",
        "{{ 1 / 0 }}",
        "{{ payload.student + 1 }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ namespace() }}",
    ],
)
def test_what_a_template_cannot_do(source: str) -> None:
    payload = json.dumps({"student": CANARY, "l": list(range(1000)), "long": "x" * 5000}).encode()
    began = time.monotonic()
    with pytest.raises(TextError) as caught:
        Text(source).render(lease(payload))
    assert CANARY not in str(caught.value)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("source", ["{{ payload.", "{% if %}", "{{ x | nofilter }}", "{% endfor %}"])
def test_a_template_with_wrong_syntax_is_refused_when_the_settings_are_read(tmp_path: Path, source: str) -> None:
    channel = {"name": "team", "slack": {"webhookSecretRef": {"name": "s", "key": "k"}, "text": source}}
    (tmp_path / "pipeline.json").write_text(json.dumps({"channels": [channel]}))
    with pytest.raises(SettingsError, match=r"channels\.team\.slack\.text: the template is wrong"):
        settings_source.read({"NOTIFICATION_CONFIG_DIR": str(tmp_path)})


async def test_a_payload_cannot_mention_everybody_on_slack(receiver: Destination, client: HttpClient) -> None:
    text = Text("*{{ payload.student }}* <https://example.com|open>", slack_blocks.escape)
    channel = SlackChannel(client, receiver.url, text, allow_private=True)
    await channel.deliver(lease(b'{"student": "<!channel>"}'))
    body = json.loads(receiver.requests[0][1])
    assert body["blocks"][0]["text"]["text"] == "*&lt;!channel&gt;* <https://example.com|open>"
    failed = await channel.deliver(lease(b"{}"))
    assert (failed.outcome, failed.reason) == (Outcome.FAILED, FailureReason.TEMPLATE)


class Mailbox:
    """What a mail server does with what it is sent."""

    def __init__(self) -> None:
        self.answer = "250 OK"
        self.refused: dict[str, str] = {}
        """What is answered to recipients that it does not take."""
        self.letters: list[EmailMessage] = []
        self.recipients: list[str] = []

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        if address in self.refused:
            return f"{self.refused[address]} {CANARY}"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        if self.answer.startswith("250"):
            message = message_from_bytes(content, policy=policy.default)
            assert isinstance(message, EmailMessage)
            self.letters.append(message)
            self.recipients += envelope.rcpt_tos
        return self.answer


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
async def mail_port(mailbox: Mailbox) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(mailbox), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def email(port: int, *to: str, allow_private: bool = True, query: str = "?starttls=never") -> EmailChannel:
    recipients = [Text(one) for one in to or ("{{ payload.email }}",)]
    letter = Letter("Example <n@example.com>", recipients, Text("Hello {{ payload.student }}"), Text(DEFAULT_TEXT))
    server = mail_server(f"smtp://127.0.0.1:{port}{query}")
    return EmailChannel(server, letter, PublicResolver(), allow_private=allow_private)


async def test_a_mail_arrives(mailbox: Mailbox, mail_port: int) -> None:
    channel = email(mail_port)
    assert (await channel.deliver(lease(ADA))).outcome is Outcome.DELIVERED
    assert (await channel.deliver(lease(ADA))).outcome is Outcome.DELIVERED
    first, again = mailbox.letters
    assert (first["To"], first["Subject"], first["From"]) == ("ada@example.com", "Hello Ada", "Example <n@example.com>")
    assert first["Message-ID"] == again["Message-ID"], "a repetition can be told"
    assert first["Date"].datetime == datetime.fromtimestamp(1_750_000_000, UTC)
    assert "student: Ada" in first.get_content()
    assert mailbox.recipients == ["ada@example.com"] * 2


async def test_a_payload_writes_no_headers(mailbox: Mailbox, mail_port: int) -> None:
    payload = json.dumps({"student": "Ada\r\nBcc: evil@example.com", "email": "ada@example.com"}).encode()
    await email(mail_port).deliver(lease(payload))
    assert (mailbox.letters[0]["Bcc"], mailbox.letters[0]["Subject"]) == (None, "Hello Ada Bcc: evil@example.com")
    for address in ("ada@example.com\r\nBcc: evil@example.com", "a@example.com, b@example.com", "nothing", ""):
        payload = json.dumps({"student": "Ada", "email": address}).encode()
        delivery = await email(mail_port).deliver(lease(payload))
        assert (delivery.outcome, delivery.reason) == (Outcome.FAILED, FailureReason.TEMPLATE), address
    assert mailbox.recipients == ["ada@example.com"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [("451 later", Outcome.RETRY), ("452 full", Outcome.RETRY), ("550 no", Outcome.FAILED), ("554 no", Outcome.FAILED)],
)
async def test_a_servers_refusal_is_for_now_or_for_good(
    mailbox: Mailbox, mail_port: int, answer: str, outcome: Outcome
) -> None:
    mailbox.answer = f"{answer} {CANARY}"
    delivery = await email(mail_port).deliver(lease(ADA))
    assert (delivery.outcome, delivery.reason) == (outcome, FailureReason.SMTP)
    assert CANARY not in delivery.detail


async def test_a_recipient_that_does_not_exist_is_a_failure(mailbox: Mailbox, mail_port: int) -> None:
    mailbox.refused = {"nobody@example.com": "550 no such user"}
    delivery = await email(mail_port, "nobody@example.com").deliver(lease(ADA))
    assert delivery == Delivery(Outcome.FAILED, FailureReason.SMTP, "the mail server answered 550")


A, B, C = (f"{name}@example.com" for name in "abc")


@pytest.mark.parametrize(
    ("refused", "outcome", "told"),
    [
        ({B: "550 gone"}, Outcome.FAILED, "550 for 1 of 3"),
        ({B: "452 full"}, Outcome.RETRY, "452 for 1 of 3"),
        ({B: "550 gone", C: "450 later"}, Outcome.RETRY, "450 for 2 of 3"),
        ({A: "550 gone", B: "450 later", C: "550 gone"}, Outcome.RETRY, "450 for 3 of 3"),
    ],
)
async def test_a_mail_that_only_some_recipients_got_is_not_delivered(
    mailbox: Mailbox, mail_port: int, refused: dict[str, str], outcome: Outcome, told: str
) -> None:
    mailbox.refused = refused
    delivery = await email(mail_port, A, B, C).deliver(lease(ADA))
    assert delivery == Delivery(outcome, FailureReason.SMTP, f"the mail server answered {told} recipients")
    assert mailbox.recipients == [one for one in (A, B, C) if one not in refused]


async def test_a_mail_is_tried_again_for_those_alone_who_have_not_had_it(mailbox: Mailbox, mail_port: int) -> None:
    channel = email(mail_port, A, B, C)
    mailbox.refused = {B: "452 full", C: "550 gone"}
    assert (await channel.deliver(lease(ADA))).outcome is Outcome.RETRY
    mailbox.answer = "451 later"
    assert (await channel.deliver(lease(ADA, 2))).outcome is Outcome.RETRY
    mailbox.answer, mailbox.refused = "250 OK", {C: "550 gone"}
    assert (await channel.deliver(lease(ADA, 3))).outcome is Outcome.FAILED, "one of them never had it"
    assert mailbox.recipients == [A, B]
    # Somebody made a mailbox for the last, and the dead letter is replayed.
    mailbox.refused = {}
    assert await channel.deliver(lease(ADA)) == DELIVERED
    assert mailbox.recipients == [A, B, C]
    assert {letter["To"] for letter in mailbox.letters} == {f"{A}, {B}, {C}"}
    assert len({letter["Message-ID"] for letter in mailbox.letters}) == 1
    # All of them had it: what comes now is for all again.
    assert await channel.deliver(lease(ADA)) == DELIVERED
    assert mailbox.recipients == [A, B, C, A, B, C]


async def test_a_mail_server_without_starttls_gets_nothing_unless_told_so(mailbox: Mailbox, mail_port: int) -> None:
    delivery = await email(mail_port, query="").deliver(lease(ADA))
    assert (delivery.outcome, delivery.reason) == (Outcome.RETRY, FailureReason.SMTP)
    assert mailbox.letters == []


async def test_a_mail_server_that_is_not_there_or_private(mail_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    delivery = await email(free).deliver(lease(ADA))
    assert (delivery.outcome, delivery.reason) == (Outcome.RETRY, FailureReason.CONNECTION)
    delivery = await email(mail_port, allow_private=False).deliver(lease(ADA))
    assert (delivery.outcome, delivery.reason) == (Outcome.FAILED, FailureReason.BLOCKED_ADDRESS)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://mail",
        "smtp://",
        "smtp://mail/x",
        "smtp://user@mail",
        "smtp://mail?tls=no",
        "smtp://mail:99999",
        "smtp://mail?starttls=maybe",
    ],
)
def test_what_is_no_mail_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an SMTP URL"):
        mail_server(url)


def test_a_mail_servers_password_is_not_shown() -> None:
    server = mail_server(f"smtps://user:{CANARY}@mail.example.com")
    assert (server.port, server.tls, server.starttls, server.password) == (465, True, False, CANARY)
    assert CANARY not in repr(server)


def apprise(receiver: Destination, *, allow_private: bool) -> AppriseChannel:
    return AppriseChannel(
        receiver.url.replace("http", "json"),
        Text("{{ type }}"),
        Text("{{ payload.student }}"),
        allow_private=allow_private,
    )


async def test_apprise_delivers(receiver: Destination) -> None:
    assert (await apprise(receiver, allow_private=True).deliver(lease(ADA))).outcome is Outcome.DELIVERED
    body = json.loads(receiver.requests[0][1])
    assert (body["title"], body["message"]) == ("booking-created", "Ada")


async def test_apprise_does_not_get_to_private_addresses(
    receiver: Destination, capfd: pytest.CaptureFixture[str]
) -> None:
    delivery = await apprise(receiver, allow_private=False).deliver(lease(ADA))
    assert (delivery.outcome, delivery.reason) == (Outcome.FAILED, FailureReason.BLOCKED_ADDRESS)
    assert receiver.requests == []
    assert CANARY not in str(delivery) + "".join(capfd.readouterr())


# The plugin leaves its socket to the collector when it may not send.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_apprise_sends_no_datagram_to_private_addresses(host: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as private:
        private.bind(("127.0.0.1", 0))
        url = f"rsyslog://{host}:{private.getsockname()[1]}"
        delivery = await AppriseChannel(url, Text("t"), Text("x"), allow_private=False).deliver(lease(ADA))
        assert (delivery.outcome, delivery.reason) == (Outcome.FAILED, FailureReason.BLOCKED_ADDRESS)
        # One that may, to see that it is this that arrives.
        await AppriseChannel(url, Text("t"), Text("allowed"), allow_private=True).deliver(lease(ADA))
        assert private.recv(100).endswith(b"t: allowed")


async def test_apprise_does_not_get_to_services_of_the_machine(capfd: pytest.CaptureFixture[str]) -> None:
    url = "syslog://?logperror=yes"
    unseen = "the service connects in ways that cannot be looked at"
    delivery = await AppriseChannel(url, Text("t"), Text(CANARY), allow_private=False).deliver(lease(ADA))
    assert delivery == Delivery(Outcome.FAILED, FailureReason.BLOCKED_ADDRESS, unseen)
    assert CANARY not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("family", "way"),
    [
        (socket.AF_INET, lambda _: subprocess.run(["true"], check=True)),
        (socket.AF_INET, lambda _: os.posix_spawn("/bin/true", ["true"], {})),
        (socket.AF_INET, lambda one: one.sendmsg([b"x"], (), 0, ("127.0.0.1", 9))),
        (socket.AF_INET, lambda one: one.connect_ex(("127.0.0.1", 9))),
        (socket.AF_UNIX, lambda one: one.connect("/run/some.sock")),
    ],
    ids=["process", "spawned", "message", "connect_ex", "unix"],
)
async def test_apprise_has_no_way_around(
    receiver: Destination,
    monkeypatch: pytest.MonkeyPatch,
    family: socket.AddressFamily,
    way: Callable[[socket.socket], object],
) -> None:
    channel = apprise(receiver, allow_private=False)

    def notify(**_: str) -> bool:
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            way(one)
        return True

    monkeypatch.setattr(channel._service, "notify", notify)
    delivery = await channel.deliver(lease(ADA))
    assert (delivery.outcome, delivery.reason) == (Outcome.FAILED, FailureReason.BLOCKED_ADDRESS)


async def test_a_service_that_is_let_go_of_connects_no_more(receiver: Destination) -> None:
    session = {"AccessToken": "t", "User": {"Id": "u"}, "Id": "s"}
    receiver.answer = lambda: web.json_response(session if len(receiver.paths) == 1 else [])
    url = receiver.url.replace("http://", "emby://user:pass@").removesuffix(f"/{CANARY}")
    channel = AppriseChannel(url, Text("t"), Text("x"), allow_private=True)
    assert (await channel.deliver(lease(ADA))).outcome is Outcome.DELIVERED
    assert receiver.paths == ["/Users/AuthenticateByName", "/Sessions"]
    del channel
    gc.collect()
    await apprise(receiver, allow_private=True).deliver(lease(ADA))
    assert receiver.paths == ["/Users/AuthenticateByName", "/Sessions", f"/{CANARY}"]


async def test_what_apprise_cannot_deliver_is_tried_again(
    receiver: Destination, capfd: pytest.CaptureFixture[str]
) -> None:
    receiver.answer = lambda: web.Response(status=500)
    delivery = await apprise(receiver, allow_private=True).deliver(lease(ADA))
    assert (delivery.outcome, delivery.reason) == (Outcome.RETRY, FailureReason.UNKNOWN)
    assert CANARY not in str(delivery) + "".join(capfd.readouterr())


class Drip:
    """A server that sends its answer a byte at a time, without end."""

    def __init__(self) -> None:
        self.asked = asyncio.Semaphore(0)
        self._writers: list[asyncio.StreamWriter] = []
        self.url = ""

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.asked.release()
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.2)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"json://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()
            for writer in self._writers:
                writer.close()


@pytest.fixture
async def drip() -> AsyncIterator[Drip]:
    made = Drip()
    async with made.listening():
        yield made


async def test_a_service_that_drips_leaves_the_others_their_threads(receiver: Destination, drip: Drip) -> None:
    sick = AppriseChannel(drip.url, Text("t"), Text("x"), allow_private=True)
    tries = [asyncio.create_task(sick.deliver(lease(ADA))) for _ in range(9)]
    for _ in range(8):
        await asyncio.wait_for(drip.asked.acquire(), 10)
    for one in tries:
        one.cancel()
    await asyncio.gather(*tries, return_exceptions=True)
    async with asyncio.timeout(10):
        assert (await apprise(receiver, allow_private=True).deliver(lease(ADA))).outcome is Outcome.DELIVERED


async def test_a_service_that_drips_does_not_keep_the_process_from_ending(tmp_path: Path, drip: Drip) -> None:
    routing = {
        "channels": [
            {"name": "chat", "apprise": {"urlSecretRef": {"name": "s", "key": "k"}, "allowPrivateAddresses": True}}
        ]
    }
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "chat.urlSecretRef").write_text(drip.url)
    variables = {"NOTIFICATION_CONFIG_DIR": str(tmp_path / "settings"), "NOTIFICATION_DRAIN_TIMEOUT_MS": "100"}
    async with dispatcher(tmp_path, routing, **variables) as process:
        await process.post([{"type": "booking-created", "payload": {}}])
        await asyncio.wait_for(drip.asked.acquire(), 10)
        assert await process.end() == 0


async def test_a_thread_that_could_not_be_started_takes_no_place(receiver: Destination) -> None:
    channel = apprise(receiver, allow_private=True)
    # A stack that no machine has room for: no thread starts, as where there are as many as may be.
    usual = threading.stack_size(1 << 47)
    try:
        for _ in range(8):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await channel.deliver(lease(ADA))
    finally:
        threading.stack_size(usual)
    async with asyncio.timeout(10):
        assert (await channel.deliver(lease(ADA))).outcome is Outcome.DELIVERED


async def test_a_plugin_that_exits_is_told_of_like_any_other(
    receiver: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = apprise(receiver, allow_private=True)

    def notify(**_: str) -> bool:
        raise SystemExit(CANARY)

    monkeypatch.setattr(channel._service, "notify", notify)
    async with asyncio.timeout(10):
        delivery = await channel.deliver(lease(ADA))
    assert delivery == Delivery(Outcome.RETRY, FailureReason.UNKNOWN, "the service could not be told (SystemExit)")


async def test_channels_are_made_of_what_is_configured(tmp_path: Path, client: HttpClient) -> None:
    reference = {"name": "s", "key": "k"}
    channels = [
        {"name": "crm", "webhook": {"url": "https://crm.example.com", "signingSecretRef": reference}},
        {"name": "mail", "email": {"smtpURLSecretRef": reference, "from": "n@example.com", "to": ["a@example.com"]}},
        {"name": "chat", "apprise": {"urlSecretRef": reference}},
        {"name": "odd", "apprise": {"urlSecretRef": reference}},
        {"name": "late", "email": {"smtpURLSecretRef": reference, "from": "n@example.com", "to": ["a@example.com"]}},
    ]
    (tmp_path / "pipeline.json").write_text(json.dumps({"channels": channels}))
    files = {
        "crm.signingSecretRef": NEW,
        "mail.smtpURLSecretRef": f"smtps://u:{CANARY}@mail.example.com",
        "chat.urlSecretRef": "json://example.com",
        "odd.urlSecretRef": f"nosuchservice://{CANARY}",
    }
    for name, value in files.items():
        (tmp_path / name).write_text(value)
    settings = settings_source.read({"NOTIFICATION_CONFIG_DIR": str(tmp_path)})
    made = ChannelMaker(client, SystemClock())(settings.live)
    kinds = {name: type(channel).__name__ for name, channel in made.items()}
    assert kinds == {
        "crm": "WebhookChannel",
        "mail": "EmailChannel",
        "chat": "AppriseChannel",
        "odd": "_NotConfigured",
        "late": "_NotConfigured",
    }
    for name in ("odd", "late"):
        delivery = await made[name].deliver(lease(ADA))
        assert (delivery.outcome, delivery.reason) == (Outcome.RETRY, FailureReason.NOT_CONFIGURED)
        assert CANARY not in delivery.detail
    (tmp_path / "crm.signingSecretRef").write_text(CANARY)
    with pytest.raises(SettingsError, match="whsec_ and base64") as caught:
        settings_source.read({"NOTIFICATION_CONFIG_DIR": str(tmp_path)})
    assert CANARY not in str(caught.value)


async def test_a_channel_whose_definition_stays_goes_on_as_it_is(tmp_path: Path, client: HttpClient) -> None:
    reference = {"name": "s", "key": "k"}
    letter = {"smtpURLSecretRef": reference, "from": "n@example.com", "to": ["a@example.com"], "subject": "Old"}
    chat = {"name": "chat", "apprise": {"urlSecretRef": reference}}
    make = ChannelMaker(client, SystemClock())

    def made(mail: dict[str, object], password: str = CANARY) -> Channels:
        channels = [{"name": "mail", **mail}, chat]
        (tmp_path / "pipeline.json").write_text(json.dumps({"channels": channels}))
        (tmp_path / "mail.smtpURLSecretRef").write_text(f"smtps://u:{password}@mail.example.com")
        (tmp_path / "chat.urlSecretRef").write_text("json://example.com")
        return make(settings_source.read({"NOTIFICATION_CONFIG_DIR": str(tmp_path)}).live)

    first = made({"email": letter})
    assert CANARY not in repr(make._made)
    # It is the lane that has another size then.
    assert made({"email": letter, "concurrency": 3}) == first
    other = made({"email": {**letter, "subject": "New"}})
    assert (other["mail"] is first["mail"], other["chat"] is first["chat"]) == (False, True)
    rotated = made({"email": {**letter, "subject": "New"}}, password="new")
    assert (rotated["mail"] is other["mail"], rotated["chat"] is first["chat"]) == (False, True)


async def test_a_mail_server_that_hangs_can_be_broken_off() -> None:
    # It takes connections, and never says a word.
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await email(listener.getsockname()[1]).deliver(lease(ADA))
