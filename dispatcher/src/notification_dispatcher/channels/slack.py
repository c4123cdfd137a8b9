"""The Slack channel: each notification as a message to an incoming webhook. Made by `registry`."""

from __future__ import annotations

from typing import Any

import msgspec

from notification_dispatcher import slack_blocks
from notification_dispatcher.channels.base import Delivery, Outcome
from notification_dispatcher.channels.http import HttpClient, Request
from notification_dispatcher.channels.templates import Text, TextError
from notification_dispatcher.job import Lease
from notification_dispatcher.metric_names import FailureReason


class SlackChannel:
    """One incoming webhook."""

    def __init__(self, client: HttpClient, url: str, text: Text | None = None, *, allow_private: bool) -> None:
        self._client = client
        self._url = url
        self._text = text
        self._allow_private = allow_private

    async def deliver(self, job: Lease) -> Delivery:
        """Post the job as a message."""
        try:
            message = message_of(job) if self._text is None else slack_blocks.text_message(self._text.render(job))
        except TextError as error:
            return Delivery(Outcome.FAILED, FailureReason.TEMPLATE, str(error))
        body = msgspec.json.encode(message)
        headers = {"Content-Type": "application/json"}
        return await self._client.post(Request(self._url, body, headers, self._allow_private))


def message_of(job: Lease) -> dict[str, Any]:
    """A job as Slack shows it: its type, and its payload's fields."""
    payload: dict[str, Any] = msgspec.json.decode(job.payload)
    pairs = [(name, _plain(value)) for name, value in payload.items()]
    title = job.type.replace("-", " ").capitalize()
    blocks = [slack_blocks.header(title)]
    if pairs:
        blocks.append(slack_blocks.fields(pairs))
    blocks.append(slack_blocks.context(f"{job.type} · {job.id}"))
    return slack_blocks.message(title, blocks)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
