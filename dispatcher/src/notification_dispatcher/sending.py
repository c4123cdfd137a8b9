"""The client side of `POST /api/notifications`, for the command line: reads batches, sends them, prints results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import IO, Any

import httpx

from notification_dispatcher.errors import SendError

_BATCH = 500
_SECONDS = 30.0

Item = dict[str, Any]


def single(options: Mapping[str, Any]) -> list[Item]:
    """One notification, from the command's options."""
    if not options["job_type"]:
        raise SendError("say what to send: --type and --payload, or --file")
    try:
        payload = json.loads(options["payload"])
    except ValueError as error:
        raise SendError(f"--payload is not JSON: {error}") from None
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
        raise SendError("--file has no notifications in it")
    return content


async def send(url: str, token: str | None, items: list[Item]) -> list[Item]:
    """Post them, in batches. Returns a result for each."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    results: list[Item] = []
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=_SECONDS, trust_env=False) as client:
        for start in range(0, len(items), _BATCH):
            results += await _post(client, items[start : start + _BATCH])
    return results


async def _post(client: httpx.AsyncClient, items: list[Item]) -> list[Item]:
    url = client.base_url
    try:
        answer = await client.post("/api/notifications", json={"notifications": items})
    except httpx.HTTPError as error:
        raise SendError(f"{url} cannot be reached: {str(error) or type(error).__name__}") from None
    try:
        content = answer.json()
    except ValueError:
        raise SendError(f"{url} answered {answer.status_code}, and not as a dispatcher does") from None
    if "results" not in content:
        raise SendError(f"{url} answered {answer.status_code}: {content.get('detail', '')}")
    results: list[Item] = content["results"]
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
        raise SendError(f"--file, line {number} is not JSON: {error}") from None
