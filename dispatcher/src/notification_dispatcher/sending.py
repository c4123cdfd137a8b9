"""Batches of notifications for the call `send`: reads them, sends them, prints results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any

from notification_dispatcher.errors import ClientError

if TYPE_CHECKING:
    from notification_dispatcher.client import Client

_BATCH = 500

Item = dict[str, Any]


def single(options: Mapping[str, Any]) -> list[Item]:
    """One notification, from the command's options."""
    if not options["job_type"]:
        raise ClientError("say what to send: --type and --payload, or --file")
    try:
        payload = json.loads(options["payload"])
    except ValueError as error:
        raise ClientError(f"--payload is not JSON: {error}") from None
    item = {"type": options["job_type"], "payload": payload}
    return [item | ({"id": options["job_id"]} if options["job_id"] else {})]


def batch(file: IO[bytes]) -> list[Item]:
    """Notifications from a file: a batch, a list, or one a line."""
    text = file.read()
    try:
        content = json.loads(text)
    except ValueError:
        content = [_line(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if isinstance(content, dict):
        content = content.get("notifications", [content])
    if not isinstance(content, list) or not content:
        raise ClientError("--file has no notifications in it")
    return content


def send(client: Client, items: list[Item], progress: Callable[[int], None]) -> list[Item]:
    """Post them, in batches. Returns a result for each; `progress` hears how many there are so far."""
    results: list[Item] = []
    for start in range(0, len(items), _BATCH):
        body = {"notifications": items[start : start + _BATCH]}
        # A full queue is told for each item, like everything else.
        answer = client.ask("POST", "/api/notifications", body=body, also=HTTPStatus.TOO_MANY_REQUESTS)
        results += answer.get("results", [])
        progress(len(results))
    return results


def lines(results: list[Item]) -> Iterator[str]:
    """Each result as a line."""
    for one in results:
        words = (one["status"], one.get("id") or "-", one.get("reason", ""), one.get("detail", ""))
        yield " ".join(word for word in words if word)


def dropped(results: list[Item]) -> int:
    """How many of them will not be delivered."""
    return sum(one["status"] == "dropped" for one in results)


def _line(number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ClientError(f"--file, line {number} is not JSON: {error}") from None
