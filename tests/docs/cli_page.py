"""docs/reference/cli.md: every command with its options, from click, and every setting of the dispatcher.

`python -m tests.docs` writes it (`make generate`). Which commands there are is what pyproject.toml installs.
"""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from notification_dispatcher.settings import expectation, is_secret, variables
from notification_dispatcher.variables import Variable

_PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"

_INTRODUCTION = """# Commands and settings

Generated from the commands themselves by `make generate`: it is what `--help` says. Each command takes `-h` or
`--help`, and ends with 0 when all went well.

"""

_SETTINGS = """## The dispatcher's settings

Each is an environment variable, or a file of that name in the folder that `NOTIFICATION_CONFIG_DIR` names; the folder
wins, and is watched. The operator writes all of them from the pipeline: set them yourself where a dispatcher runs
without Kubernetes. `notification-dispatcher check` says what would be in force.
"""


def markdown() -> str:
    """The whole page."""
    sections = [part for name, command in commands() for part in _sections(name, command, None)]
    return "\n".join([_INTRODUCTION.rstrip() + "\n", *sections, *_settings()]).rstrip() + "\n"


def commands() -> Iterator[tuple[str, click.Command]]:
    """The programs that are installed, and what click knows of them. One that serves another's shell is no other."""
    seen: list[click.Command] = []
    for name, target in tomllib.loads(_PYPROJECT.read_text())["project"]["scripts"].items():
        command = _command_of(target)
        if command not in seen:
            seen.append(command)
            yield name, command


def _command_of(target: str) -> click.Command:
    """What an entry point leads to: the command, or a function around the one of its module."""
    module_name, _, attribute = target.partition(":")
    module = importlib.import_module(module_name)
    found = getattr(module, attribute)
    if isinstance(found, click.Command):
        return found
    return next(one for one in vars(module).values() if isinstance(one, click.Group))


def _sections(path: str, command: click.Command, parent: click.Context | None) -> Iterator[str]:
    """A command, then those within it."""
    name = path.rpartition(" ")[2]
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    yield f"{'##' if parent is None else '###'} {path}\n"
    yield f"```text\n{' '.join([path, *command.collect_usage_pieces(context)])}\n```\n"
    yield from _prose(command.help or "")
    if rows := [
        _row(option, context)
        for option in command.params
        if isinstance(option, click.Option) and option.expose_value and not option.hidden
    ]:
        yield "| option | variable | default | what it does |\n| --- | --- | --- | --- |"
        yield from rows
        yield ""
    if isinstance(command, click.Group):
        for inner, one in command.commands.items():
            yield from _sections(f"{path} {inner}", one, context)


def _prose(text: str) -> Iterator[str]:
    """Paragraphs, and what click is told to leave as it is as a block."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        first, _, rest = paragraph.partition("\n")
        if first.strip() == "\b":
            title, _, body = rest.partition("\n")
            indented = body.startswith(" ")
            yield f"{title}\n\n```text\n{inspect.cleandoc(body)}\n```\n" if indented else rest + "\n"
        else:
            yield paragraph + "\n"


def _row(option: click.Option, context: click.Context) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    shown = names if option.is_flag else f"{names} {option.make_metavar(context)}"
    given = option.envvar or _automatic(option, context)
    variable = f"`{given}`" if given else ""
    return f"| `{_cell(shown)}` | {variable} | {_default(option, context)} | {_cell(option.help or '')} |"


def _automatic(option: click.Option, context: click.Context) -> str:
    """The variable that click makes of an option's name, where a command has it do so."""
    prefix = context.auto_envvar_prefix
    return f"{prefix}_{option.name.upper()}" if prefix and option.name and option.allow_from_autoenv else ""


def _default(option: click.Option, context: click.Context) -> str:
    value: Any = option.get_default(context, call=False)
    if option.show_default is not True or value is None or value == ():
        return ""
    return f"`{value}`"


def _settings() -> Iterator[str]:
    yield _SETTINGS
    live_ones, fixed = ([found for found in variables() if found[2] is live] for live in (True, False))
    for title, found in (("In force as soon as they change in the folder", live_ones), ("Read at the start", fixed)):
        yield f"### {title}\n"
        yield "| setting | default | a good value is | what it does |\n| --- | --- | --- | --- |"
        for variable, field, _ in found:
            default = "" if field.default in {None, ""} else f"`{_plain(field.default)}`"
            expected = f"{'a secret: ' if is_secret(field) else ''}{expectation(field)}"
            yield f"| `{variable}` | {default} | {_cell(expected)} | {_cell(field.description or '')} |"
        yield ""
    yield (
        f"`{Variable.CONFIG_DIR}` names the folder, `{Variable.PIPELINE_FILE}` the file with channels and job types: "
        "JSON or\nYAML, relative to the folder, its `pipeline.json` if nothing is said.\n"
    )


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
