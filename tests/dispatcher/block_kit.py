"""Slack's own limits for messages, as its reference has them: what breaks one, Slack refuses whole.

Source: https://docs.slack.dev/reference/block-kit/blocks, and 13,200 characters in all, which was found by trying.
"""

from __future__ import annotations

import json
from typing import Any

_TEXTS = {"plain_text": {"type", "text", "emoji"}, "mrkdwn": {"type", "text", "verbatim"}}


def check_message(message: dict[str, Any]) -> None:
    """Raise AssertionError unless Slack would take it."""
    assert message.keys() <= {"text", "blocks", "attachments"}
    # Without it, a notification on a telephone is empty.
    assert 0 < len(message["text"]) <= 3000
    assert len(json.dumps(message, ensure_ascii=False)) <= 13_200
    holders = [message, *message.get("attachments", [])]
    blocks = [block for holder in holders for block in holder.get("blocks", [])]
    assert 0 < len(blocks) <= 50
    for block in blocks:
        _CHECKS[block["type"]](block)


def _text(text: dict[str, Any], most: int, kinds: tuple[str, ...] = ("plain_text", "mrkdwn")) -> None:
    assert text["type"] in kinds
    assert text.keys() <= _TEXTS[text["type"]]
    assert 0 < len(text["text"]) <= most, text


def _header(block: dict[str, Any]) -> None:
    assert block.keys() == {"type", "text"}
    _text(block["text"], 150, ("plain_text",))


def _section(block: dict[str, Any]) -> None:
    assert block.keys() in ({"type", "text"}, {"type", "fields"})
    if "text" in block:
        _text(block["text"], 3000)
    else:
        assert 0 < len(block["fields"]) <= 10
        for field in block["fields"]:
            _text(field, 2000)


def _actions(block: dict[str, Any]) -> None:
    assert block.keys() == {"type", "elements"}
    assert 0 < len(block["elements"]) <= 25
    for element in block["elements"]:
        assert element.keys() == {"type", "text", "url"}
        assert element["type"] == "button"
        _text(element["text"], 75, ("plain_text",))
        assert element["url"].startswith(("http://", "https://"))
        assert len(element["url"]) <= 3000


def _context(block: dict[str, Any]) -> None:
    assert block.keys() == {"type", "elements"}
    assert 0 < len(block["elements"]) <= 10
    for element in block["elements"]:
        _text(element, 3000)


_CHECKS = {"header": _header, "section": _section, "actions": _actions, "context": _context}
