"""The commands that speak to a running dispatcher: send, status, dead, test-alert. `__main__` adds them.

Each ends with 0 when all was done, 1 when it was not, 2 when nothing could be asked, 130 after Ctrl-C.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import click

from notification_dispatcher import sending
from notification_dispatcher.client import Client, Json, path_of
from notification_dispatcher.errors import ClientError

_NOT_ALL = 1
_NOTHING = 2
_STEP = 1000
_QUIET_SECONDS = 2.0

Command = Callable[..., None]


def _client(command: Command) -> Command:
    """Give a command a client, and the options for it."""

    @click.option(
        "--url",
        envvar="NOTIFICATION_URL",
        default="http://127.0.0.1:4000",
        show_default=True,
        help="Where the dispatcher listens; also NOTIFICATION_URL.",
    )
    @click.option(
        "--token",
        envvar="NOTIFICATION_API_TOKEN",
        help="Bearer token, where one is needed; better NOTIFICATION_API_TOKEN, which no list of processes shows.",
    )
    @click.option(
        "--token-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="File with the bearer token in it.",
    )
    @functools.wraps(command)
    def run(url: str, token: str | None, token_file: Path | None, **options: Any) -> None:
        try:
            given = token if token_file is None else token_file.read_text().strip()
            with Client(url, given) as client:
                command(client, **options)
        except (ClientError, OSError) as error:
            click.echo(f"notification-dispatcher: {error}", err=True)
            sys.exit(_NOTHING)
        except KeyboardInterrupt:
            click.echo("\nnotification-dispatcher: interrupted", err=True)
            sys.exit(130)

    return run


_output = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)


def _which(command: Command) -> Command:
    """The options that say which dead letters are meant."""
    for name, words in (
        ("--reason", "Failed for this reason: http_4xx, timeout, …"),
        ("--channel", "Could not be delivered through this channel."),
        ("--type", "Of this job type."),
    ):
        command = click.option(name, name.strip("-") if name != "--type" else "job_type", help=words)(command)
    return command


@click.command("send")
@click.option("--type", "job_type", help="The job type: booking-created, lesson-completed, …")
@click.option("--payload", default="{}", show_default=True, help="The payload, a JSON object.")
@click.option("--id", "job_id", help="The job's id, by which repetitions are recognised. Default: a new one.")
@click.option(
    "--file",
    "file",
    type=click.File("rb"),
    help='A batch: {"notifications": […]}, a list, or one item a line; - for standard input.',
)
@_output
@_client
def send(client: Client, output: str, **options: Any) -> None:
    """Send notifications, and print what became of each.

    Ends with 0 when all were queued or are known already, 1 when some were dropped, 2 when nothing was sent.
    """
    file: IO[bytes] | None = options.pop("file")
    items = sending.batch(file) if file is not None else sending.single(options)
    results = sending.send(client, items, _Progress("sent", len(items)))
    _print(output, {"results": results}, sending.lines(results))
    sys.exit(_NOT_ALL if sending.dropped(results) else 0)


@click.command("status", short_help="Say where a notification is.")
@click.argument("job_id", metavar="ID")
@_output
@_client
def status(client: Client, job_id: str, output: str) -> None:
    """Say where a notification is, and what its last attempt came to."""
    report = client.ask("GET", path_of(job_id))
    _print(output, report, _described(report))


@click.command("test-alert", short_help="Send a test alert to Slack.")
@_output
@_client
def test_alert(client: Client, output: str) -> None:
    """Send a test alert to the Slack channel that alerts go to."""
    _print(output, client.ask("POST", "/api/alerts/test"), ["Slack took the test alert."])


@click.group("dead", short_help="List, queue again or delete what failed for good.")
def dead() -> None:
    """Dead letters: notifications that failed for good, and are kept.

    \b
    After an outage:
      notification-dispatcher dead list --reason timeout
      notification-dispatcher dead replay --reason timeout    # deliver them after all
      notification-dispatcher dead delete --type instructor-rated --yes
    """


dead.add_command(status, "show")


@dead.command("list")
@_which
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Show at most so many.")
@_output
@_client
def dead_list(client: Client, limit: int, output: str, **which: str | None) -> None:
    """List dead letters, the latest first."""
    found: list[Json] = []
    query = {**_filters(which), "state": "dead"}
    while len(found) < limit:
        page = client.ask("GET", "/api/notifications", query={**query, "limit": min(limit - len(found), _STEP)})
        found += page["notifications"]
        if "nextCursor" not in page:
            break
        query["cursor"] = page["nextCursor"]
    _print(output, {"notifications": found}, _table(found))


@dead.command("replay")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@_which
@click.option("--all", "everything", is_flag=True, help="Every dead letter.")
@_output
@_client
def dead_replay(client: Client, ids: tuple[str, ...], everything: bool, output: str, **which: str | None) -> None:
    """Queue dead letters again. What was delivered of them is not delivered again.

    As many as there is room for: what is left stays a dead letter.
    """
    _check_chosen(ids, which, everything=everything)
    for job_id in ids:
        client.ask("POST", f"{path_of(job_id)}/replay")
    count = len(ids)
    if not ids:
        chosen = {**_filters(which), "limit": _STEP} | ({"all": True} if everything else {})
        count = _all(lambda: int(client.ask("POST", "/api/dead-letters/replay", body=chosen)["replayed"]), "queued")
    _print(output, {"replayed": count}, [f"{count} queued again."])


@dead.command("delete")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@_which
@click.option("--all", "everything", is_flag=True, help="Every dead letter.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_output
@_client
def dead_delete(
    client: Client, ids: tuple[str, ...], everything: bool, yes: bool, output: str, **which: str | None
) -> None:
    """Delete dead letters. They are gone for good."""
    _check_chosen(ids, which, everything=everything)
    if not yes:
        click.confirm("Delete them for good?", abort=True, err=True)
    for job_id in ids:
        client.ask("DELETE", path_of(job_id))
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


def _described(report: Json) -> Iterator[str]:
    for name, value in report.items():
        words = ", ".join(value) if isinstance(value, list) else str(value)
        yield f"{name + ':':<12} {words}"


_COLUMNS = (("ID", "id"), ("TYPE", "type"), ("DEAD SINCE", "deadAt"), ("REASON", "reason"), ("DETAIL", "detail"))


def _table(found: list[Json]) -> Iterator[str]:
    if not found:
        yield "There are none."
        return
    rows = [[title for title, _ in _COLUMNS], *([str(one.get(key, "")) for _, key in _COLUMNS] for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
