"""What shells are given to complete our commands: real shells must take it, and the commands must answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
COMMANDS = ["kubectl-notifications", "notification-dispatcher", "notification-operator"]


def run(*command: str, **variables: str) -> str:
    environment = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **variables}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_bash_completes_with_what_is_printed(command: str) -> None:
    function = f"_{command.replace('-', '_')}_completion"
    script = f"""
    source <({command} completion bash)
    COMP_WORDS=({command} comp); COMP_CWORD=1
    {function} {command}
    echo "${{COMPREPLY[@]}}"
    complete -p {command}
    """
    replied, registered = run("bash", "-c", script).splitlines()
    assert replied == "completion"
    assert function in registered


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_others_are_printed(command: str, shell: str) -> None:
    printed = run(command, "completion", shell)
    assert f"_{command.replace('-', '_').upper()}_COMPLETE={shell}_complete" in printed


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_where_to_put_it(command: str) -> None:
    assert f"source <({command} completion bash)" in run(command, "completion", "--help")
