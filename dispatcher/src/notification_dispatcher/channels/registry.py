"""Makes channels of what is configured. `run` calls it at the start and after each change of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from notification_dispatcher import pipeline, slack_blocks
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


def make_channels(live: Live, client: HttpClient, clock: Clock) -> Channels:
    """Every configured channel, by name."""
    resolver = PublicResolver()
    return {channel.name: _Maker(channel, live, client, clock, resolver).make() for channel in live.routing.channels}


@dataclass(frozen=True, slots=True)
class _Maker:
    channel: pipeline.Channel
    live: Live
    client: HttpClient
    clock: Clock
    resolver: PublicResolver

    def make(self) -> Channel:
        secrets = {}
        for name in self.channel.secret_refs:
            secret = self.live.channel_secret(self.channel.name, name)
            if secret is None:
                return _NotConfigured("the channel's Secret is missing")
            secrets[name] = secret
        match self.channel.destination:
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
