"""What people ask of a running dispatcher, apart from how it is reached: a body and its options for each.

`commands` makes commands of them for an address, and the operator's `plugin` for a pipeline in a cluster. A body ends
the process with 1 when not all was done; whoever makes the command says what a ClientError comes to.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

import click

from notification_dispatcher import sending, text_table

if TYPE_CHECKING:
    # It brings httpx, which takes longer to import than all else here: not for a --help, nor for a completion.
    from notification_dispatcher.client import Client, Json

_NOT_ALL = 1
_STEP = 1000
_QUIET_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Call:
    """One of them. The body takes a client, `output` ("json", or else for people), and its options by name."""

    body: Callable[..., None]
    params: tuple[click.Parameter, ...]


_JOB = click.Argument(["job_id"], metavar="ID")
_JOBS = click.Argument(["ids"], metavar="[ID]...", nargs=-1)
_WHICH = (
    click.Option(["--type", "job_type"], help="Of this job type."),
    click.Option(["--channel"], help="Could not be delivered through this channel."),
    click.Option(["--reason"], help="Failed for this reason: http_4xx, timeout, …"),
)
_EVERYTHING = click.Option(["--all", "everything"], is_flag=True, help="Every dead letter.")
_COLUMNS = {"ID": "id", "TYPE": "type", "DEAD SINCE": "deadAt", "REASON": "reason", "DETAIL": "detail"}


def _send(client: Client, output: str, **options: Any) -> None:
    """Send notifications, and print what became of each.

    Ends with 0 when all were queued or are known already, 1 when some were dropped, 2 when nothing was sent.
    """
    file: IO[bytes] | None = options.pop("file")
    items = sending.batch(file) if file is not None else sending.single(options)
    results = sending.send(client, items, _Progress("sent", len(items)))
    _print(output, {"results": results}, sending.lines(results))
    sys.exit(_NOT_ALL if sending.dropped(results) else 0)


def _show(client: Client, job_id: str, output: str) -> None:
    """Say where a notification is, and what its last attempt came to."""
    report = client.ask("GET", _path_of(job_id))
    _print(output, report, _described(report))


def _test_alert(client: Client, output: str) -> None:
    """Send a test alert to the Slack channel that alerts go to."""
    _print(output, client.ask("POST", "/api/alerts/test"), ["Slack took the test alert."])


def _dead_list(client: Client, limit: int, output: str, **which: str | None) -> None:
    """List dead letters, the latest first."""
    found: list[Json] = []
    query = {**_filters(which), "state": "dead"}
    while len(found) < limit:
        page = client.ask("GET", "/api/notifications", query={**query, "limit": min(limit - len(found), _STEP)})
        found += page["notifications"]
        if "nextCursor" not in page:
            break
        query["cursor"] = page["nextCursor"]
    rows = [[str(one.get(key, "")) for key in _COLUMNS.values()] for one in found]
    _print(output, {"notifications": found}, text_table.lines(_COLUMNS, rows) if rows else ["There are none."])


def _dead_replay(client: Client, ids: tuple[str, ...], everything: bool, output: str, **which: str | None) -> None:
    """Queue dead letters again. What was delivered of them is not delivered again.

    As many as there is room for: what is left stays a dead letter.
    """
    _check_chosen(ids, which, everything=everything)
    for job_id in ids:
        client.ask("POST", f"{_path_of(job_id)}/replay")
    count = len(ids)
    if not ids:
        chosen = {**_filters(which), "limit": _STEP} | ({"all": True} if everything else {})
        count = _all(lambda: int(client.ask("POST", "/api/dead-letters/replay", body=chosen)["replayed"]), "queued")
    _print(output, {"replayed": count}, [f"{count} queued again."])


def _dead_delete(
    client: Client, ids: tuple[str, ...], everything: bool, yes: bool, output: str, **which: str | None
) -> None:
    """Delete dead letters. They are gone for good."""
    _check_chosen(ids, which, everything=everything)
    if not yes:
        click.confirm("Delete them for good?", abort=True, err=True)
    for job_id in ids:
        client.ask("DELETE", _path_of(job_id))
    count = len(ids)
    if not ids:
        query = {**_filters(which), "limit": _STEP} | ({"all": "true"} if everything else {})
        count = _all(lambda: int(client.ask("DELETE", "/api/dead-letters", query=query)["deleted"]), "deleted")
    _print(output, {"deleted": count}, [f"{count} deleted."])


def _check_chosen(ids: tuple[str, ...], which: dict[str, str | None], *, everything: bool) -> None:
    chosen = bool(ids) + bool(_filters(which)) + everything
    if chosen != 1:
        raise click.UsageError("say which: ids, or --type, --channel and --reason, or --all")


def _filters(which: dict[str, str | None]) -> dict[str, Any]:
    named = {"type": which["job_type"], "channel": which["channel"], "reason": which["reason"]}
    return {name: value for name, value in named.items() if value is not None}


def _all(step: Callable[[], int], done: str) -> int:
    """Take bounded steps until one finds less than it might. Returns how many in all."""
    progress, total = _Progress(done), 0
    while True:
        count = step()
        total += count
        if count < _STEP:
            return total
        progress(total)


class _Progress:
    """Says on standard error how far it is, once it takes longer than somebody waits without wondering."""

    def __init__(self, done: str, total: int | None = None) -> None:
        self._words = done if total is None else f"of {total} {done}"
        self._told = time.monotonic()

    def __call__(self, count: int) -> None:
        now = time.monotonic()
        if now - self._told >= _QUIET_SECONDS:
            self._told = now
            click.echo(f"{count} {self._words} …", err=True)


def _print(output: str, content: Json, lines: Iterator[str] | list[str]) -> None:
    if output == "json":
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
        return
    for line in lines:
        click.echo(line)


def _path_of(job_id: str) -> str:
    """The path of a notification, whatever its id has in it."""
    return f"/api/notifications/{quote(job_id, safe='')}"


def _described(report: Json) -> Iterator[str]:
    for name, value in report.items():
        words = ", ".join(value) if isinstance(value, list) else str(value)
        yield f"{name + ':':<12} {text_table.printable(words)}"


SEND = Call(
    _send,
    (
        click.Option(["--type", "job_type"], help="The job type: booking-created, lesson-completed, …"),
        click.Option(["--payload"], default="{}", show_default=True, help="The payload, a JSON object."),
        click.Option(["--id", "job_id"], help="The job's id, by which repetitions are recognised. Default: a new one."),
        click.Option(
            ["--file"],
            type=click.File("rb"),
            help='A batch: {"notifications": […]}, a list, or one item a line; - for standard input.',
        ),
    ),
)
SHOW = Call(_show, (_JOB,))
TEST_ALERT = Call(_test_alert, ())
DEAD_LIST = Call(
    _dead_list,
    (
        *_WHICH,
        click.Option(["--limit"], type=click.IntRange(1), default=100, show_default=True, help="Show at most so many."),
    ),
)
DEAD_REPLAY = Call(_dead_replay, (_JOBS, *_WHICH, _EVERYTHING))
DEAD_DELETE = Call(
    _dead_delete, (_JOBS, *_WHICH, _EVERYTHING, click.Option(["--yes"], is_flag=True, help="Do not ask."))
)
