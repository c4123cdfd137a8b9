"""What a pipeline is on one machine: its dispatcher's files and environment, taken from the rendered children.

`dev` runs it. A pure function but for the Secrets that were given.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from notification_dispatcher.metric_names import METRICS_PATH
from notification_dispatcher.schema import SecretKeyRef
from notification_dispatcher.variables import Variable
from notification_operator import naming, resources
from notification_operator.inputs import Inputs, Resolved
from notification_operator.kinds import CONFIG_MAP, DEPLOYMENT, SECRET
from notification_operator.offline import given_secrets
from notification_operator.offline.given_secrets import GivenSecrets
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Manifest
from notification_operator.settings import DEFAULT_IMAGE
from notification_operator.wanted_secrets import Wanted, references

ADDRESS = "127.0.0.1"
SETTINGS_VOLUME = "settings"
DATA_VOLUME = "data"
_TEMPORARY_VOLUME = "tmp"
_VOLUME_KINDS = {"configMap": CONFIG_MAP.name, "secret": SECRET.name}


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a pipeline is to run."""

    folder: Path
    """One that only this user can read; it goes when the dispatcher has ended."""
    data: Path
    """Where the queue's file lies."""
    port: int

    @property
    def folders(self) -> Sequence[Path]:
        """What must be there before the dispatcher starts."""
        return self.data, self.volume(SETTINGS_VOLUME), self.volume(_TEMPORARY_VOLUME)

    def volume(self, name: str) -> Path:
        """The folder in a volume's place."""
        return self.data if name == DATA_VOLUME else self.folder / name


@dataclass(frozen=True, slots=True)
class Layout:
    """One pipeline as it runs on one machine."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)
    template: str
    """Tells two pod templates apart: with another one, a cluster's pods would be replaced."""
    grace_seconds: float
    missing: Sequence[str]
    """What was not given, each with where it belongs and how to give it."""


def lay_out(pipeline: Pipeline, given: GivenSecrets, machine: Machine) -> Layout:
    """The pipeline on this machine, with what was given of its Secrets."""
    missing: list[str] = []
    parts = [_resolved(part, given, missing) for part in references(pipeline)]
    children = resources.desired(pipeline, Inputs(*parts).context(DEFAULT_IMAGE))
    (deployment,) = [child for child in children if child["kind"] == DEPLOYMENT.name]
    template = deployment["spec"]["template"]
    pod = template["spec"]
    container = pod["containers"][0]
    return Layout(
        command=[*container["command"], *container["args"]],
        environment=_environment(container, given, machine, missing),
        files=dict(_files(pod, children)),
        template=template["metadata"]["annotations"][naming.TEMPLATE_ANNOTATION],
        grace_seconds=pod["terminationGracePeriodSeconds"],
        missing=missing,
    )


def endpoint(machine: Machine) -> str:
    """Where the dispatcher listens."""
    return f"http://{ADDRESS}:{machine.port}"


def how_to_call(pipeline: Pipeline, machine: Machine) -> str:
    """Commands that work as they stand, for people. A token is read from its file, so that none is shown."""
    types = pipeline.spec.job_types
    item = {"type": types[0].name if types else "booking-created", "payload": {"student": "Ada"}}
    body = json.dumps({"notifications": [item]})
    token = machine.volume(SETTINGS_VOLUME) / Variable.API_TOKEN.value
    header = (
        "" if pipeline.spec.api.auth_token_secret_ref is None else f" -H \"Authorization: Bearer $(cat '{token}')\""
    )
    return (
        f"  curl{header} -H 'Content-Type: application/json' {endpoint(machine)}/api/notifications -d '{body}'\n"
        f"  curl{header} -s {endpoint(machine)}{METRICS_PATH}"
    )


def _resolved(part: Sequence[Wanted], given: GivenSecrets, missing: list[str]) -> Resolved:
    found = {item.target: value for item in part if (value := given.find(item.ref)) is not None}
    missing += (f"spec.{_without(item.field, item.ref)}" for item in part if item.target not in found)
    return Resolved(found)


def _without(place: str, ref: SecretKeyRef) -> str:
    return f"{place}: the key {ref.key} of the Secret {ref.name} is not known here: {given_secrets.how_to_give(ref)}"


def _files(pod: Manifest, children: Sequence[Manifest]) -> Iterator[tuple[str, bytes]]:
    by_name = {(child["kind"], child["metadata"]["name"]): child for child in children}
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == SETTINGS_VOLUME]
    for source in volume["projected"]["sources"]:
        for kind, reference in source.items():
            child = by_name.get((_VOLUME_KINDS[kind], reference["name"]), {})
            for name, value in child.get("data", {}).items():
                yield name, value.encode() if child["kind"] == CONFIG_MAP.name else b64decode(value)


def _environment(container: Manifest, given: GivenSecrets, machine: Machine, missing: list[str]) -> dict[str, str]:
    made = {}
    for entry in container["env"]:
        value = entry.get("value", "") if "valueFrom" not in entry else _referred(entry, given, missing)
        if value is not None:
            made[entry["name"]] = _translated(value, container["volumeMounts"], machine)
    return made | {
        Variable.HOST.value: ADDRESS,
        Variable.PORT.value: str(machine.port),
        Variable.LOG_FORMAT.value: "text",
    }


def _referred(entry: Mapping[str, Any], given: GivenSecrets, missing: list[str]) -> str | None:
    place = f"spec.env[{entry['name']}]"
    source = entry["valueFrom"].get("secretKeyRef")
    if source is None:
        missing.append(f"{place}: ConfigMaps are not read here; the variable is left out")
        return None
    ref = SecretKeyRef(name=source["name"], key=source["key"])
    value = given.find(ref)
    if value is None:
        missing.append(_without(place, ref))
    return None if value is None else value.decode(errors="replace")


def _translated(value: str, mounts: Sequence[Mapping[str, str]], machine: Machine) -> str:
    """A path within a mount, as a path of this machine."""
    for mount in mounts:
        inside = mount["mountPath"]
        if value == inside or value.startswith(f"{inside}/"):
            return str(machine.volume(mount["name"])) + value.removeprefix(inside)
    return value
