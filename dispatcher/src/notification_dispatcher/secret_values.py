"""What each secret must look like. The dispatcher's settings ask before they are put in force; so does the operator,
before it hands a value to a dispatcher, which would refuse all of its settings for one that is wrong.

No value ever stands in an error.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from notification_dispatcher.variables import Variable

_MOST_CHARACTERS = 4096
_POSTGRESQL_URL = re.compile(r"postgres(ql)?://([!-.0->A-~]*@)?[!-.0->A-~]*/[!-~]+\Z")
_TOKEN = re.compile(r"[!-~]{8,4096}\Z")
_APPRISE_URL = re.compile(r"[A-Za-z0-9]+://\S+\Z")
_SMTP_PORTS = {"smtp": 587, "smtps": 465}
_SIGNING_PREFIX = "whsec_"
_SIGNING_KEY_BYTES = range(24, 65)


class Shape(NamedTuple):
    """What a good value is."""

    parse: Callable[[str], Any]
    """Raises ValueError, without any of the value."""

    expected: str
    """In words that go on after "must be"."""

    def fits(self, value: str) -> bool:
        """Whether it is one."""
        try:
            self.parse(value)
        except ValueError:
            return False
        return True


def text_of(content: bytes) -> str:
    """What a mounted file says: text, without the end of its last line. Raises UnicodeDecodeError, a ValueError."""
    return content.decode().removesuffix("\n")


def http_url(value: str) -> str:
    """A URL that can be posted to. Raises ValueError."""
    start = next((scheme for scheme in ("https://", "http://") if value.startswith(scheme)), None)
    bare = start is None or len(value) == len(start)
    if start is None or bare or len(value) > _MOST_CHARACTERS or not value.isascii() or not value.isprintable():
        raise ValueError("not an http or https URL")
    if " " in value or "@" in value[len(start) :].partition("/")[0]:
        raise ValueError("a URL with a space, a user name or a password in it")
    return value


def postgresql_url(value: str) -> str:
    """`postgresql://user:password@host:port/database?options`; commas divide several hosts. Raises ValueError."""
    if len(value) > _MOST_CHARACTERS or not _POSTGRESQL_URL.match(value):
        raise ValueError("not a URL of a PostgreSQL database")
    return value


def certificates(value: str) -> str:
    """PEM text with a certificate. Raises ValueError."""
    try:
        ssl.create_default_context(cadata=value)
    except (ssl.SSLError, ValueError):
        raise ValueError("not PEM text with a certificate") from None
    return value


def token(value: str) -> str:
    """A bearer token, which must fit into a header: no space before, within or after it. Raises ValueError."""
    if not _TOKEN.match(value):
        raise ValueError("not a token")
    return value


def signing_keys(value: str) -> tuple[bytes, ...]:
    """The keys of Standard Webhooks that a secret holds. Raises ValueError."""
    keys = []
    for one in value.split():
        try:
            key = base64.b64decode(one.removeprefix(_SIGNING_PREFIX), validate=True)
        except binascii.Error:
            raise ValueError("not base64") from None
        if not one.startswith(_SIGNING_PREFIX) or len(key) not in _SIGNING_KEY_BYTES:
            raise ValueError("not a signing secret")
        keys.append(key)
    if not keys:
        raise ValueError("empty")
    return tuple(keys)


@dataclass(frozen=True, slots=True)
class MailServer:
    """A mail server, and who we are to it."""

    host: str
    port: int
    tls: bool
    """TLS from the first byte."""
    starttls: bool
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


def mail_server(value: str) -> MailServer:
    """The server that an SMTP URL names. Raises ValueError."""
    parts = urlsplit(value)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    starttls = query.pop("starttls", "always")
    if parts.scheme not in _SMTP_PORTS or not parts.hostname or parts.path not in {"", "/"} or parts.fragment:
        raise ValueError("not an SMTP URL")
    if query or starttls not in {"always", "never"} or bool(parts.username) != bool(parts.password):
        raise ValueError("not an SMTP URL")
    try:
        port = parts.port or _SMTP_PORTS[parts.scheme]
    except ValueError:
        raise ValueError("not an SMTP URL") from None
    tls = parts.scheme == "smtps"
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return MailServer(parts.hostname, port, tls, not tls and starttls == "always", user, password)


def apprise_url(value: str) -> str:
    """A URL; whether Apprise knows the service is found out when it is used. Raises ValueError."""
    if not _APPRISE_URL.match(value):
        raise ValueError("not a URL")
    return value


HTTP_URL = Shape(http_url, "an http:// or https:// URL without a user name")
TOKEN = Shape(token, "a token of 8 to 4096 visible ASCII characters without a space; openssl rand -hex 32 makes one")
DATABASE_URL = Shape(postgresql_url, "postgresql://user:password@host:5432/database")
CERTIFICATES = Shape(certificates, "the CA's certificate as PEM text")

OF_VARIABLES: Mapping[Variable, Shape] = {
    Variable.SLACK_ALERT_WEBHOOK_URL: HTTP_URL,
    Variable.SLACK_WEBHOOK_URL: HTTP_URL,
    Variable.API_TOKEN: TOKEN,
    Variable.QUEUE_DSN: DATABASE_URL,
    Variable.QUEUE_CA: CERTIFICATES,
}
"""The settings that come from Secrets."""

OF_CHANNELS: Mapping[tuple[str, str], Shape] = {
    ("webhook", "urlSecretRef"): HTTP_URL,
    ("webhook", "signingSecretRef"): Shape(
        signing_keys, "whsec_ and base64 of 24 to 64 bytes; echo whsec_$(openssl rand -base64 32) makes one"
    ),
    ("slack", "webhookSecretRef"): HTTP_URL,
    ("email", "smtpURLSecretRef"): Shape(
        mail_server, "smtps://user:password@host:465 or smtp://user:password@host:587, with ?starttls=never for no TLS"
    ),
    ("apprise", "urlSecretRef"): Shape(apprise_url, "an Apprise URL, such as tgram://…"),
}
"""What a channel of this kind refers to in this field."""
