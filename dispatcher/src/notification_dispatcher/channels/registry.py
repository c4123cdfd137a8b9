"""Makes channels of what is configured. `run` has it do so at the start and after each change of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from notification_dispatcher import slack_blocks
from notification_dispatcher.channels.addresses import PublicResolver
from notification_dispatcher.channels.base import Channel, Delivery, Outcome
from notification_dispatcher.channels.email import EmailChannel, Letter
from notification_dispatcher.channels.http import HttpClient
from notification_dispatcher.channels.slack import SlackChannel
from notification_dispatcher.channels.templates import DEFAULT_TEXT, Text
from notification_dispatcher.channels.webhook import WebhookChannel
from notification_dispatcher.clock import Clock
from notification_dispatcher.destinations import Apprise, Email, Slack, Webhook
from notification_dispatcher.job import Lease
from notification_dispatcher.metric_names import FailureReason
from notification_dispatcher.secret_values import mail_server, signing_keys
from notification_dispatcher.settings import Live

Channels = Mapping[str, Channel]


class _NotConfigured:
    """A channel that something is missing for: its jobs are tried again, as for a destination that is down."""

    def __init__(self, detail: str) -> None:
        self._detail = detail

    async def deliver(self, job: Lease) -> Delivery:  # noqa: ARG002  it is the port's
        """Say what is missing."""
        return Delivery(Outcome.RETRY, FailureReason.NOT_CONFIGURED, self._detail)


_Destination = Webhook | Slack | Email | Apprise


class _Definition(NamedTuple):
    """All that a channel is made of. Secret."""

    destination: _Destination
    secrets: Mapping[str, str | None]

    def __repr__(self) -> str:
        return "_Definition(secret)"


class ChannelMaker:
    """Makes the channels of each settings anew, but for those whose definition stays: they go on as they are.

    A channel knows who has had a mail, and how many of its threads are busy.
    """

    def __init__(self, client: HttpClient, clock: Clock) -> None:
        self._maker = _Maker(client, clock, PublicResolver())
        self._made: dict[str, tuple[_Definition, Channel]] = {}

    def __call__(self, live: Live) -> Channels:
        """Every configured channel, by name."""
        before, self._made = self._made, {}
        for channel in live.routing.channels:
            secrets = {name: live.channel_secret(channel.name, name) for name in channel.secret_refs}
            definition = _Definition(channel.destination, secrets)
            made = before.get(channel.name)
            if made is None or made[0] != definition:
                made = definition, self._maker.make(definition)
            self._made[channel.name] = made
        return {name: channel for name, (_, channel) in self._made.items()}


@dataclass(frozen=True, slots=True)
class _Maker:
    client: HttpClient
    clock: Clock
    resolver: PublicResolver

    def make(self, definition: _Definition) -> Channel:
        secrets = {name: secret for name, secret in definition.secrets.items() if secret is not None}
        if len(secrets) < len(definition.secrets):
            return _NotConfigured("the channel's Secret is missing")
        match definition.destination:
            case Webhook() as webhook:
                return self._webhook(webhook, secrets)
            case Slack() as slack:
                return self._slack(slack, secrets)
            case Email() as email:
                return self._email(email, secrets)
            case Apprise() as apprise:
                return self._apprise(apprise, secrets)

    def _webhook(self, webhook: Webhook, secrets: Mapping[str, str]) -> Channel:
        signing = secrets.get("signingSecretRef")
        return WebhookChannel(
            self.client,
            self.clock,
            webhook.url or secrets["urlSecretRef"],
            webhook.headers,
            keys=() if signing is None else signing_keys(signing),
            allow_private=webhook.allow_private_addresses,
        )

    def _slack(self, slack: Slack, secrets: Mapping[str, str]) -> Channel:
        text = None if slack.text is None else Text(slack.text, slack_blocks.escape)
        return SlackChannel(self.client, secrets["webhookSecretRef"], text, allow_private=slack.allow_private_addresses)

    def _email(self, email: Email, secrets: Mapping[str, str]) -> Channel:
        to = [Text(one) for one in email.to]
        letter = Letter(email.sender, to, Text(email.subject), Text(email.text or DEFAULT_TEXT))
        server = mail_server(secrets["smtpURLSecretRef"])
        return EmailChannel(server, letter, self.resolver, allow_private=email.allow_private_addresses)

    def _apprise(self, apprise: Apprise, secrets: Mapping[str, str]) -> Channel:
        # It takes most of a second, and tens of MiB: only where it is used.
        from notification_dispatcher.channels.apprise import AppriseChannel  # noqa: PLC0415

        title, text = Text(apprise.title), Text(apprise.text or DEFAULT_TEXT)
        try:
            return AppriseChannel(secrets["urlSecretRef"], title, text, allow_private=apprise.allow_private_addresses)
        except ValueError:
            return _NotConfigured("the channel's Secret holds no URL that Apprise knows")
