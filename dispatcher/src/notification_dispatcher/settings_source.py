"""Reads the settings: from the environment, and from the folder that NOTIFICATION_CONFIG_DIR names, which wins.

`__main__` calls `read` at the start and `reload` again after a change; nothing else reads the environment. A wrong
value raises SettingsError with a sentence for each problem, in which no value of a secret stands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from notification_dispatcher.channels.templates import mistake
from notification_dispatcher.errors import SettingsError
from notification_dispatcher.pipeline import Routing
from notification_dispatcher.secret_values import OF_CHANNELS, text_of
from notification_dispatcher.settings import Fixed, Live, Settings, expectation, is_secret, variables
from notification_dispatcher.variables import ROUTING_FILE, Variable, channel_secret_file

Model = TypeVar("Model", bound=BaseModel)

_MOST_BYTES = 1_048_576
"""Of one file of the folder: a ConfigMap holds no more."""

_KNOWN = {variable.value for variable in Variable}
_ELSEWHERE = ("NOTIFICATION_OPERATOR_", "NOTIFICATION_PORT_", "NOTIFICATION_SERVICE_")
"""The operator's own, and what Kubernetes sets for a Service that is called `notification`."""


def read(environment: Mapping[str, str]) -> Settings:
    """Read everything. Raises SettingsError with every problem at once."""
    folder = environment.get(Variable.CONFIG_DIR)
    config_dir = Path(folder) if folder else None
    files = {} if config_dir is None else _files(config_dir)
    # An empty value is the same as none, so that a template may always name the variable.
    values = {name: text for name, text in {**environment, **files}.items() if name in _KNOWN and text}
    problems: list[str] = []
    routing = _read_routing(values.get(Variable.PIPELINE_FILE), config_dir, files, problems)
    secrets = _channel_secrets(routing, files, problems)
    fixed = _validated(Fixed, values, problems)
    live = _validated(Live, {**values, "routing": routing, "channel_secrets": secrets}, problems)
    if live is not None and live.initial_backoff_ms > live.max_backoff_ms:
        problems.append(
            f"{Variable.RETRY_INITIAL_BACKOFF_MS} is {live.initial_backoff_ms}, and {Variable.RETRY_MAX_BACKOFF_MS} is"
            f" {live.max_backoff_ms}: raise the second or lower the first."
        )
    if fixed is not None and fixed.queue_engine == "postgresql" and not values.get(Variable.QUEUE_DSN):
        problems.append(
            f"{Variable.QUEUE_DSN} must be set when {Variable.QUEUE_ENGINE} is postgresql:"
            " postgresql://user:password@host:5432/database."
        )
    if problems or fixed is None or live is None:
        raise SettingsError(problems)
    told = {**values, **secrets, ROUTING_FILE: routing.model_dump_json()}
    return Settings(fixed, live, config_dir, _hash(told), tuple(_warnings(environment, files, config_dir)))


def _hash(told: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(told.items()):
        digest.update(f"{len(name)}:{name}{len(value)}:{value}".encode())
    return digest.hexdigest()[:12]


def _files(folder: Path) -> dict[str, str]:
    """The folder's files by name. What starts with a dot is the kubelet's own."""
    if not folder.is_dir():
        raise SettingsError(
            [f"{Variable.CONFIG_DIR} is {str(folder)!r}, which is not a folder: create it, or unset it."]
        )
    found: dict[str, str] = {}
    problems: list[str] = []
    try:
        # The kubelet swaps the link `..data`; through it resolved, all files are of one moment.
        current = (folder / "..data").resolve() if (folder / "..data").exists() else folder
        for path in sorted(current.iterdir()):
            if not path.name.startswith(".") and path.is_file():
                _take(path, found, problems)
    except OSError as error:
        problems.append(f"{Variable.CONFIG_DIR}: {folder} cannot be read: {error.strerror}.")
    if problems:
        raise SettingsError(problems)
    return found


def _take(path: Path, found: dict[str, str], problems: list[str]) -> None:
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        problems.append(
            f"{Variable.CONFIG_DIR}: the file {path.name} is larger than 1 MiB, more than any setting needs."
        )
        return
    try:
        found[path.name] = text_of(content)
    except UnicodeDecodeError:
        problems.append(f"{Variable.CONFIG_DIR}: the file {path.name} is not text in UTF-8.")


def _read_routing(named: str | None, config_dir: Path | None, files: Mapping[str, str], problems: list[str]) -> Routing:
    """The pipeline file: the one that is named (beside the settings, if relative), else the folder's own, else none."""
    if named is None and ROUTING_FILE not in files:
        return Routing()
    path = (config_dir or Path()) / (named or ROUTING_FILE)
    try:
        text = files[ROUTING_FILE] if named is None else path.read_text()
        content = yaml.safe_load(text)
        # JSON mode: lists become tuples, and nothing else is converted.
        return Routing.model_validate_json(json.dumps({} if content is None else content))
    except OSError as error:
        problems.append(f"{Variable.PIPELINE_FILE}: {path} cannot be read: {error.strerror}.")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problems.append(f"{Variable.PIPELINE_FILE}: {path.name}{where} is neither JSON nor YAML.")
    except ValidationError as error:
        problems += [f"{Variable.PIPELINE_FILE}: {path.name}: {sentence}" for sentence in _routing_sentences(error)]
    except (TypeError, ValueError):
        problems.append(f"{Variable.PIPELINE_FILE}: {path.name} has values that JSON does not know, or is not UTF-8.")
    return Routing()


def _routing_sentences(error: ValidationError) -> Iterator[str]:
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(map(str, one["loc"]))
        message = one["msg"].removeprefix("Value error, ")
        yield f"{where}: {message}." if where else f"{message}."


def _channel_secrets(routing: Routing, files: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """The channels' secrets that are there."""
    found = {}
    for channel in routing.channels:
        problems += [
            f"{Variable.PIPELINE_FILE}: channels.{channel.name}.{channel.kind}.{field}: the template is wrong: {why}."
            for field, source in channel.destination.templates
            if (why := mistake(source)) is not None
        ]
        for field in channel.secret_refs:
            name = channel_secret_file(channel.name, field)
            if not files.get(name):
                continue
            found[name] = files[name]
            shape = OF_CHANNELS[channel.kind, field]
            if not shape.fits(files[name]):
                problems.append(f"{name} must hold {shape.expected}. It is a secret: not shown.")
    return found


def _validated(model: type[Model], values: Mapping[str, Any], problems: list[str]) -> Model | None:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fields = {variable.value: field for variable, field, _ in variables()}
        for name in dict.fromkeys(str(one["loc"][0]) for one in error.errors(include_url=False, include_input=False)):
            field = fields[name]
            value = "set to something else (a secret: not shown)" if is_secret(field) else repr(values[name])
            default = "" if field.default in (None, "") else f" The default is {str(field.default).lower()}."
            problems.append(f"{name} must be {expectation(field)}, and is {value}.{default}")
        return None


def _warnings(environment: Mapping[str, str], files: Mapping[str, str], config_dir: Path | None) -> Iterator[str]:
    for place, names in (("the environment", environment), (str(config_dir), files)):
        for name in sorted(names):
            ours = name.startswith("NOTIFICATION_") and not name.startswith(_ELSEWHERE)
            if ours and name not in _KNOWN:
                yield f"{name} in {place} is no setting, and is ignored: is it misspelled?"
