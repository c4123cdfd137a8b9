"""What a channel's secrets and templates must look like. `settings_source` asks, before anything is put in force."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import SecretStr

from notification_dispatcher.channels.email import server_of
from notification_dispatcher.channels.signing import keys_of
from notification_dispatcher.channels.templates import Text, TextError
from notification_dispatcher.pipeline import Channel
from notification_dispatcher.settings import http_url


class _Check(NamedTuple):
    parse: Callable[[str], Any]
    """Raises ValueError."""
    expected: str


def _apprise_url(text: str) -> None:
    # Whether Apprise knows the service is found out when the channel is made: it takes long to import.
    if not re.fullmatch(r"[A-Za-z0-9]+://\S+", text):
        raise ValueError("not a URL")


_HTTP = _Check(lambda text: http_url(SecretStr(text)), "an http:// or https:// URL without a user name")
_CHECKS: Mapping[tuple[str, str], _Check] = {
    ("webhook", "urlSecretRef"): _HTTP,
    ("webhook", "signingSecretRef"): _Check(
        keys_of, "whsec_ and base64 of 24 to 64 bytes; echo whsec_$(openssl rand -base64 32) makes one"
    ),
    ("slack", "webhookSecretRef"): _HTTP,
    ("email", "smtpURLSecretRef"): _Check(
        server_of, "smtps://user:password@host:465 or smtp://user:password@host:587, with ?starttls=never for no TLS"
    ),
    ("apprise", "urlSecretRef"): _Check(_apprise_url, "an Apprise URL, such as tgram://…"),
}


def expected_of(channel: Channel, field: str, secret: str) -> str | None:
    """What a secret should have been, in words; None: it is."""
    check = _CHECKS[channel.kind, field]
    try:
        check.parse(secret)
    except ValueError:
        return check.expected
    return None


def bad_templates(channel: Channel) -> Iterator[tuple[str, str]]:
    """The templates of a channel that are none: the field, and what is wrong."""
    for field, source in channel.destination.templates:
        try:
            Text(source)
        except TextError as error:
            yield field, str(error)
