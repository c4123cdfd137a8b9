"""Where a channel leads: the kinds of destination, each in the custom resource's own words.

`pipeline` makes channels of them, `channels.registry` what delivers to them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from notification_dispatcher.schema import ApiModel, SecretKeyRef, rule

# Printable ASCII only, and no "@" before the path: credentials in a URL would end up in logs.
_HTTP_URL = r"^https?://[A-Za-z0-9._:\[\]-]+([/?#][!-~]*)?$"
_HEADER_NAME = r"^[A-Za-z0-9-]+$"
_HEADER_VALUE = r"^[ -~]*$"


_FRAMING = {"connection", "content-length", "host", "transfer-encoding"}
"""Headers that say where a request ends or goes: not a matter of taste."""
_HEADER_SENTENCE = (
    "each header's name must be letters, digits and hyphens, at most 128 of them, and none of Connection, "
    "Content-Length, Host and Transfer-Encoding"
)

ALLOW_PRIVATE = (
    "Allow destinations inside the cluster or on other private addresses. By default only public addresses are "
    "reached, so that nobody can make the dispatcher call internal services."
)

TEMPLATE = "A Jinja template with type, id, payload, attempt and accepted_at."
_TEXT = r"^[^\x00-\x08\x0b-\x1f\x7f]*$"
Template = Annotated[str, Field(min_length=1, max_length=8192, pattern=_TEXT)]
_MAILBOX = r"^([ -;=?A-~]*<[!-;=?A-~]+@[!-;=?A-~]+>|[!-;=?A-~]+@[!-;=?A-~]+)$"


class Webhook(ApiModel):
    """An HTTP endpoint that takes each notification as a JSON POST."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "has(self.url) != has(self.urlSecretRef)", "set exactly one of url and urlSecretRef for a webhook"
        )
    )

    url: str | None = Field(
        default=None,
        pattern=_HTTP_URL,
        max_length=2048,
        description="Where to POST: an http or https URL without user name or password. Not with urlSecretRef.",
    )
    url_secret_ref: SecretKeyRef | None = Field(
        default=None, description="The URL, from a Secret: for a URL that holds a credential. Not together with url."
    )
    headers: Mapping[
        Annotated[str, Field(pattern=_HEADER_NAME)], Annotated[str, Field(pattern=_HEADER_VALUE, max_length=1024)]
    ] = Field(
        default_factory=dict,
        max_length=16,
        description="Headers to send with each request. Not for credentials: those belong into a Secret.",
        json_schema_extra=rule(
            f"self.all(name, name.matches('{_HEADER_NAME}') && size(name) <= 128"
            f" && !(name.lowerAscii() in {sorted(_FRAMING)}))",
            _HEADER_SENTENCE,
        ),
    )
    signing_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="Sign each request as the Standard Webhooks specification says, with this secret: whsec_ and "
        "base64 of 24 to 64 bytes. Several, separated by spaces, are all used: that is how one is rotated.",
    )
    allow_private_addresses: bool = Field(default=False, description=ALLOW_PRIVATE)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.url is None) == (self.url_secret_ref is None):
            raise ValueError("set exactly one of url and urlSecretRef for a webhook")
        if any(
            not re.fullmatch(_HEADER_NAME, name) or len(name) > 128 or name.lower() in _FRAMING for name in self.headers
        ):
            raise ValueError(_HEADER_SENTENCE)
        return self

    @property
    def secret_refs(self) -> Mapping[str, SecretKeyRef]:
        """The Secrets that it needs: the field's name in the custom resource → the reference."""
        refs = {"urlSecretRef": self.url_secret_ref, "signingSecretRef": self.signing_secret_ref}
        return {name: ref for name, ref in refs.items() if ref is not None}

    @property
    def templates(self) -> Sequence[tuple[str, str]]:
        """Its templates: the field → the source."""
        return ()


class Slack(ApiModel):
    """A Slack incoming webhook that takes each notification as a message."""

    webhook_secret_ref: SecretKeyRef = Field(description="The incoming webhook's URL, from a Secret.")
    text: Template | None = Field(
        default=None,
        description=f"The message, as Slack's mrkdwn. {TEMPLATE} Default: the job type and the payload's fields.",
    )
    allow_private_addresses: bool = Field(default=False, description=ALLOW_PRIVATE)

    @property
    def secret_refs(self) -> Mapping[str, SecretKeyRef]:
        """The Secrets that it needs: the field's name in the custom resource → the reference."""
        return {"webhookSecretRef": self.webhook_secret_ref}

    @property
    def templates(self) -> Sequence[tuple[str, str]]:
        """Its templates: the field → the source."""
        return () if self.text is None else (("text", self.text),)


class Email(ApiModel):
    """A mail server that sends each notification as a message."""

    smtp_url_secret_ref: SecretKeyRef = Field(
        alias="smtpURLSecretRef",
        description="The server, from a Secret: smtps://user:password@mail.example.com:465, or smtp://…:587, which "
        "turns to TLS by STARTTLS; ?starttls=never for a server inside the cluster that has no TLS.",
    )
    sender: str = Field(
        alias="from",
        min_length=3,
        max_length=320,
        pattern=_MAILBOX,
        description="The sender: notifications@example.com, or Example School <notifications@example.com>.",
    )
    to: tuple[Template, ...] = Field(
        min_length=1,
        max_length=32,
        description=f"The recipients: addresses, or templates such as {{{{ payload.email }}}}. {TEMPLATE}",
    )
    subject: Template = Field(
        default="{{ type | replace('-', ' ') | capitalize }}", description=f"The subject. {TEMPLATE}"
    )
    text: Template | None = Field(
        default=None, description=f"The body, as plain text. {TEMPLATE} Default: the payload's fields, one a line."
    )
    allow_private_addresses: bool = Field(default=False, description=ALLOW_PRIVATE)

    @property
    def secret_refs(self) -> Mapping[str, SecretKeyRef]:
        """The Secrets that it needs: the field's name in the custom resource → the reference."""
        return {"smtpURLSecretRef": self.smtp_url_secret_ref}

    @property
    def templates(self) -> Sequence[tuple[str, str]]:
        """Its templates: the field → the source."""
        return [
            *(("to", one) for one in self.to),
            ("subject", self.subject),
            *(() if self.text is None else (("text", self.text),)),
        ]


class Apprise(ApiModel):
    """Any of the services that Apprise knows."""

    url_secret_ref: SecretKeyRef = Field(
        description="An Apprise URL, from a Secret: tgram://…, msteams://…, pagerduty://… and so on."
    )
    title: Template = Field(default="{{ type | replace('-', ' ') | capitalize }}", description=f"The title. {TEMPLATE}")
    text: Template | None = Field(
        default=None, description=f"The message. {TEMPLATE} Default: the payload's fields, one a line."
    )
    allow_private_addresses: bool = Field(default=False, description=ALLOW_PRIVATE)

    @property
    def secret_refs(self) -> Mapping[str, SecretKeyRef]:
        """The Secrets that it needs: the field's name in the custom resource → the reference."""
        return {"urlSecretRef": self.url_secret_ref}

    @property
    def templates(self) -> Sequence[tuple[str, str]]:
        """Its templates: the field → the source."""
        return [("title", self.title), *(() if self.text is None else (("text", self.text),))]
