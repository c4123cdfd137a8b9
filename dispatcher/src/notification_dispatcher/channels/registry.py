"""Makes channels of what is configured. `run` calls it at the start and after each change of the settings."""

from __future__ import annotations

from collections.abc import Mapping

from notification_dispatcher import pipeline
from notification_dispatcher.channels.base import Channel, Delivery, Outcome
from notification_dispatcher.channels.http import HttpClient
from notification_dispatcher.channels.slack import SlackChannel
from notification_dispatcher.channels.webhook import WebhookChannel
from notification_dispatcher.clock import Clock
from notification_dispatcher.job import Lease
from notification_dispatcher.metric_names import FailureReason
from notification_dispatcher.settings import Live

Channels = Mapping[str, Channel]


class _WithoutSecret:
    """A channel whose Secret isn't there yet: its jobs are tried again, as for a destination that is down."""

    async def deliver(self, job: Lease) -> Delivery:  # noqa: ARG002  it is the port's
        """Say what is missing."""
        return Delivery(Outcome.RETRY, FailureReason.NOT_CONFIGURED, "the channel's Secret is missing")


class _Unknown:
    """A channel of a kind that this version cannot deliver through: its jobs fail at once, and say so."""

    async def deliver(self, job: Lease) -> Delivery:  # noqa: ARG002  it is the port's
        """Say what is missing."""
        return Delivery(Outcome.FAILED, FailureReason.NOT_CONFIGURED, "this version has no such kind of channel")


def make_channels(live: Live, client: HttpClient, clock: Clock) -> Channels:
    """Every configured channel, by name."""
    return {channel.name: _make(channel, live, client, clock) for channel in live.routing.channels}


def _make(channel: pipeline.Channel, live: Live, client: HttpClient, clock: Clock) -> Channel:
    if channel.slack is not None:
        url = live.channel_secret(channel.name, "webhookSecretRef")
        if url is None:
            return _WithoutSecret()
        return SlackChannel(client, url, allow_private=channel.slack.allow_private_addresses)
    webhook = channel.webhook
    if webhook is None:
        return _Unknown()
    url = webhook.url or live.channel_secret(channel.name, "urlSecretRef")
    if url is None:
        return _WithoutSecret()
    return WebhookChannel(client, clock, url, webhook.headers, allow_private=webhook.allow_private_addresses)
