"""What the command line says about settings: all with their defaults, and those in force. Used by `__main__`."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from pydantic.fields import FieldInfo

from notification_dispatcher.settings import Settings, is_secret, variables
from notification_dispatcher.variables import Variable

_FILES = {
    Variable.CONFIG_DIR: "Folder of files named like these variables; it wins, and is watched for changes.",
    Variable.PIPELINE_FILE: "Channels and job types, JSON or YAML; relative to the folder. Default: its pipeline.json.",
}


def _plain(value: Any) -> str:
    """As it is written in a variable."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _entry(name: str, text: str) -> str:
    wrapped = textwrap.fill(text, 92, initial_indent="      ", subsequent_indent="      ")
    return f"  {name}\n{wrapped}"


def _variables() -> str:
    told = [_entry(variable.value, text) for variable, text in _FILES.items()]
    groups: dict[bool, list[str]] = {True: [], False: []}
    for variable, field, live in variables():
        default = f" Default: {_plain(field.default)}." if field.default not in {None, ""} else ""
        groups[live].append(_entry(variable.value, f"{field.description}{default}"))
    parts = [
        "Where settings are:",
        *told,
        "",
        "In force as soon as they change in the folder:",
        *groups[True],
        "",
        "Read at the start:",
        *groups[False],
    ]
    # One paragraph that click leaves as it is.
    return "\b\n" + "\n".join(line or " " for line in "\n".join(parts).split("\n"))


VARIABLES = _variables()


def in_force(settings: Settings) -> str:
    """The settings in force, one a line, then what is routed where."""
    values = _values(settings)
    width = max(map(len, values))
    lines = [f"{name:<{width}}  {_plain(value)}" for name, value in values.items()]
    routing = settings.live.routing
    lines += ["", f"channels: {', '.join(one.name for one in routing.channels) or 'none: every job would fail'}"]
    for job_type in routing.job_types:
        lines.append(f"  {job_type.name} ({job_type.priority.value}) → {', '.join(job_type.channels or ('all',))}")
    for name in _missing(settings):
        lines.append(f"warning: {name} is not there yet; deliveries through its channel fail until it is")
    lines += [f"warning: {warning}" for warning in settings.warnings]
    return "\n".join([*lines, "", f"hash: {settings.hash}"])


def in_force_json(settings: Settings) -> str:
    """The same for programs."""
    content = {
        "valid": True,
        "hash": settings.hash,
        "variables": _values(settings),
        "routing": settings.live.routing.model_dump(mode="json", by_alias=True, exclude_none=True),
        "missing": _missing(settings),
        "warnings": list(settings.warnings),
    }
    return json.dumps(content, indent=2)


def _values(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable, field, live in variables():
        model = settings.live if live else settings.fixed
        found[variable.value] = _shown(field, getattr(model, _attribute(type(model).model_fields, variable)))
    return found


def _attribute(fields: dict[str, FieldInfo], variable: Variable) -> str:
    return next(name for name, field in fields.items() if field.alias == variable.value)


def _shown(field: FieldInfo, value: Any) -> Any:
    if is_secret(field):
        return "not set" if value is None else "set (secret)"
    if value == "":
        return "not set"
    return value if isinstance(value, (int, str)) else str(value)


def _missing(settings: Settings) -> list[str]:
    live = settings.live
    return [
        f"{channel.name}.{field}"
        for channel in live.routing.channels
        for field in channel.secret_refs
        if live.channel_secret(channel.name, field) is None
    ]
