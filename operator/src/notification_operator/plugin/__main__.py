"""The command `kubectl notifications`: kubectl finds the program `kubectl-notifications` on the PATH and runs it.

`complete` is the program `kubectl_complete-notifications`, which kubectl's own completion asks.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import click
from click.shell_completion import ShellComplete

from notification_dispatcher import completion
from notification_operator import __version__
from notification_operator.plugin import asking
from notification_operator.plugin.logs import logs
from notification_operator.plugin.session import CLUSTER
from notification_operator.plugin.status import status
from notification_operator.plugin.top import top

_PROGRAM = "kubectl-notifications"
_INTERRUPTED = 130
_FILES, _NO_FILES = 0, 4  # what cobra calls ShellCompDirectiveDefault and ShellCompDirectiveNoFileComp


class _Commands(click.Group):
    """A group that ends as other programs do when it is interrupted: for `--watch` that is no failure to be told."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(err=True)
            ctx.exit(_INTERRUPTED)


@click.group(
    cls=_Commands,
    params=list(CLUSTER),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="kubectl notifications")
def cli(**_: Any) -> None:
    """Look after notification pipelines: what is wrong, what flows, what failed, and what to do.

    \b
    Woken up by an alert:
      kubectl notifications status -A                         # which pipeline, in a word why
      kubectl notifications status booking                    # what is wrong, and what to do
      kubectl notifications top --watch                       # does it flow again?
      kubectl notifications logs booking --level warning -f
      kubectl notifications dead-letters booking              # what could not be delivered
      kubectl notifications replay booking --reason timeout   # deliver it after all

    \b
    Ends with 0 when all is well or done, 1 when it is not, 2 when it could not be asked, 130 after Ctrl-C.
    """


for _command in (status, top, logs):
    cli.add_command(_command)
for _command in (asking.send, asking.show, asking.dead_letters, asking.replay, asking.discard, asking.test_alert):
    cli.add_command(_command)
_KUBECTLS = (
    "`kubectl notifications` needs none of it where kubectl's own completion is on: kubectl asks the program "
    "kubectl_complete-notifications, which is installed beside this one."
)
cli.add_command(completion.command(_PROGRAM, cli, _KUBECTLS))


def main() -> None:
    """Run it. However it ends, it ends the kubectls that it has started."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    cli(prog_name="kubectl notifications", complete_var="_KUBECTL_NOTIFICATIONS_COMPLETE")


def complete() -> None:
    """Answer kubectl, which hands over the words after `kubectl notifications`, the last of them incomplete."""
    *words, incomplete = sys.argv[1:] or [""]
    found = ShellComplete(cli, {}, _PROGRAM, "").get_completions(words, incomplete)
    for item in found:
        if item.type == "plain":
            click.echo(f"{item.value}\t{item.help}" if item.help else item.value)
    click.echo(f":{_NO_FILES if all(item.type == 'plain' for item in found) else _FILES}")


if __name__ == "__main__":
    main()
