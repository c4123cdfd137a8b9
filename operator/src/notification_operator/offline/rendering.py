"""A pipeline's children as text, as the operator would make them. `commands` prints them, `dev` takes them apart.

What only a cluster knows is left out: the owner's uid, and what the Secrets hold, for which the reference stands.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import yaml

from notification_operator import resources
from notification_operator.inputs import Inputs, Resolved
from notification_operator.kinds import SECRET
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Manifest
from notification_operator.wanted_secrets import Wanted, references


class _Dumper(yaml.SafeDumper):
    """YAML for reviewers: no anchors, and a text of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  the base class's signature
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def render(pipeline: Pipeline, dispatcher_image: str, *, keda: bool) -> list[Manifest]:
    """The children, in the order in which people are shown them, ready for `kubectl diff`."""
    given = Inputs(*(Resolved({item.target: _placeholder(item) for item in part}) for part in references(pipeline)))
    context = replace(given.context(dispatcher_image), keda=keda)
    return [_offline(manifest) for manifest in resources.desired(pipeline, context)]


def to_yaml(manifests: Iterable[Manifest]) -> str:
    """As YAML documents, every mapping sorted."""
    return "".join(f"---\n{yaml.dump(one, Dumper=_Dumper, width=120, allow_unicode=True)}" for one in manifests)


def to_json(manifests: Sequence[Manifest]) -> str:
    """As one List, every mapping sorted."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}, indent=2, sort_keys=True) + "\n"


def _placeholder(wanted: Wanted) -> bytes:
    return f"<from Secret {wanted.ref.name}, key {wanted.ref.key}>".encode()


def _offline(manifest: Manifest) -> Manifest:
    """Without its owner; and a Secret in words, since nothing in it is one."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "ownerReferences"}
    made = {**manifest, "metadata": metadata}
    if manifest["kind"] == SECRET.name:
        made["stringData"] = {name: b64decode(value).decode() for name, value in made.pop("data").items()}
    return made
