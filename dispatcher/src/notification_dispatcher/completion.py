"""The command `completion`, which each `__main__` adds: prints what a shell needs to complete the others."""

from __future__ import annotations

from collections.abc import Mapping

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

_SHELLS: Mapping[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
_HELP = """Print the script with which a shell completes this command.

\b
Have it read by:
  bash  echo 'source <({program} completion bash)' >> ~/.bashrc
  zsh   echo 'source <({program} completion zsh)' >> ~/.zshrc
  fish  {program} completion fish > ~/.config/fish/completions/{program}.fish

It takes effect in the next shell. bash must be 4.4 or later.{note}
"""


def command(program: str, of: click.Command, note: str = "") -> click.Command:
    """The command, for the program of this name that runs `of`; `note` is for its help."""

    def run(shell: str) -> None:
        variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
        click.echo(_SHELLS[shell](of, {}, program, variable).source())

    run.__doc__ = _HELP.format(program=program, note=f"\n\n{note}" if note else "")
    params = [click.Argument(["shell"], type=click.Choice(list(_SHELLS)))]
    return click.command("completion", params=params, short_help="Complete this command in bash, zsh and fish.")(run)
