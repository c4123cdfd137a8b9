"""Slack's Block Kit: messages within its limits, with foreign text made harmless.

`channels.slack` and `slack_alerts` build their messages here. Limits: https://docs.slack.dev/reference/block-kit/blocks.
About 13,200 characters is what a whole message may have, which Slack says nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Block = dict[str, Any]

HEADER_CHARACTERS = 150
TEXT_CHARACTERS = 3000
FIELD_CHARACTERS = 2000
FIELDS = 10
URL_CHARACTERS = 3000

_FIELD_BUDGET = 600
"""Ten fields of the longest kind would not fit into one message."""


def escape(text: str) -> str:
    """Foreign text as text: no mention (`<!channel>`), no link. Source: Slack's own three replacements."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text: str, characters: int) -> str:
    """At most so many characters, with an ellipsis where something is missing; no entity is cut in two."""
    if len(text) <= characters:
        return text
    kept = text[: characters - 1]
    ampersand = kept.rfind("&", -5)
    if ampersand >= 0 and ";" not in kept[ampersand:]:
        kept = kept[:ampersand]
    return kept + "…"


def header(text: str) -> Block:
    """A headline. Plain text: nothing in it is interpreted."""
    return {"type": "header", "text": {"type": "plain_text", "text": cut(text, HEADER_CHARACTERS), "emoji": False}}


def section(text: str) -> Block:
    """A paragraph of mrkdwn; foreign parts must be escaped by whoever builds it."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut(text, TEXT_CHARACTERS)}}


def fields(pairs: Sequence[tuple[str, str]]) -> Block:
    """Names and values in two columns, at most ten. Values are escaped here."""
    return {
        "type": "section",
        "fields": [
            {"type": "mrkdwn", "text": cut(f"*{escape(name)}*\n{escape(value)}", _FIELD_BUDGET)}
            for name, value in pairs[:FIELDS]
        ],
    }


def buttons(links: Sequence[tuple[str, str]]) -> list[Block]:
    """A row of links; none where there are none."""
    elements = [
        {"type": "button", "text": {"type": "plain_text", "text": name}, "url": url}
        for name, url in links
        if url and len(url) <= URL_CHARACTERS
    ]
    return [{"type": "actions", "elements": elements}] if elements else []


def context(text: str) -> Block:
    """A small grey line."""
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": cut(escape(text), TEXT_CHARACTERS)}]}


def message(text: str, blocks: Sequence[Block], colour: str | None = None) -> dict[str, Any]:
    """A whole message. `text` is what notifications show; a colour puts the blocks behind a bar."""
    escaped = cut(escape(text), TEXT_CHARACTERS)
    if colour is None:
        return {"text": escaped, "blocks": list(blocks)}
    return {"text": escaped, "attachments": [{"color": colour, "blocks": list(blocks)}]}


def text_message(text: str) -> dict[str, Any]:
    """A message of mrkdwn alone, whose foreign parts are escaped already."""
    return {"text": cut(text, TEXT_CHARACTERS), "blocks": [section(text)]}
