"""The commands that speak to a running dispatcher: send, status, dead, test-alert. `__main__` adds them.

Each ends with 0 when all was done, 1 when it was not, 2 when nothing could be asked, 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from notification_dispatcher import calls
from notification_dispatcher.calls import Call
from notification_dispatcher.client import Client
from notification_dispatcher.errors import ClientError

_NOTHING = 2

_HOW = (
    click.Option(["-o", "--output"], type=click.Choice(["text", "json"]), default="text", show_default=True),
    click.Option(
        ["--url"],
        envvar="NOTIFICATION_URL",
        default="http://127.0.0.1:4000",
        show_default=True,
        help="Where the dispatcher listens; also NOTIFICATION_URL.",
    ),
    click.Option(
        ["--token"],
        envvar="NOTIFICATION_API_TOKEN",
        help="Bearer token, where one is needed; better NOTIFICATION_API_TOKEN, which no list of processes shows.",
    ),
    click.Option(
        ["--token-file"],
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="File with the bearer token in it.",
    ),
)


def _command(name: str, call: Call, summary: str | None = None) -> click.Command:
    """A command that asks the dispatcher at an address."""

    def run(url: str, token: str | None, token_file: Path | None, **options: Any) -> None:
        try:
            given = token if token_file is None else token_file.read_text().strip()
            with Client(url, given) as client:
                call.body(client, **options)
        except (ClientError, OSError) as error:
            click.echo(f"notification-dispatcher: {error}", err=True)
            sys.exit(_NOTHING)
        except KeyboardInterrupt:
            click.echo("\nnotification-dispatcher: interrupted", err=True)
            sys.exit(130)

    # click takes the indentation out of a function's docstring, and not out of `help`.
    run.__doc__ = call.body.__doc__
    return click.command(name, params=[*call.params, *_HOW], short_help=summary)(run)


@click.group("dead", short_help="List, queue again or delete what failed for good.")
def dead() -> None:
    """Dead letters: notifications that failed for good, and are kept.

    \b
    After an outage:
      notification-dispatcher dead list --reason timeout
      notification-dispatcher dead replay --reason timeout    # deliver them after all
      notification-dispatcher dead delete --type instructor-rated --yes
    """


send = _command("send", calls.SEND)
status = _command("status", calls.SHOW, "Say where a notification is.")
test_alert = _command("test-alert", calls.TEST_ALERT, "Send a test alert to Slack.")

dead.add_command(status, "show")
dead.add_command(_command("list", calls.DEAD_LIST))
dead.add_command(_command("replay", calls.DEAD_REPLAY))
dead.add_command(_command("delete", calls.DEAD_DELETE))
