"""Whether a live object already holds all that we would set. `applier` asks before each write.

Server-side apply would answer the same with an empty change, at the price of a request. A live object has more than we
set (defaults, what admission and other controllers add), so the question is one of containment: every field of ours is
there with our value. Fields that we set earlier and no longer want are seen by `fingerprint`, which is stored with the
object. Where the API server adds nothing to the items of lists, what somebody else added to one is seen as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from notification_operator import naming
from notification_operator.kinds import NETWORK_POLICY, PROMETHEUS_RULE

_MERGE_KEYS = ("name", "mountPath", "containerPort", "uid")
"""Keys by which the API server merges lists of objects, for the lists that we set."""
_AS_WRITTEN = (NETWORK_POLICY.name, PROMETHEUS_RULE.name)
"""Kinds whose lists without such a key come back as they were written. One field more in an item says something else:
a peer with a `namespaceSelector` lets strangers in."""

_ATOMIC = frozenset({"selector", "podSelector", "namespaceSelector", "labelSelector", "nodeSelector"})
"""Fields that are one value to the API server, though they are maps: one label more selects something else."""

_LISTS = (list, tuple)
"""With `dict` what JSON is made of, here and as it is decoded. To ask for `Sequence` takes ten times as long."""

_LONG = 1024
"""Characters of a text in `data` from which on its digest is kept instead."""


def trimmed(content: bytes) -> bytes:
    """An object's JSON with a digest for each long text in its `data`: a thousand dashboards are 54 MB.

    The digest is an object, which `data` cannot hold, so that no text can pass for it.
    """
    if len(content) < _LONG:
        return content
    found = msgspec.json.decode(content)
    short = shortened(found)
    return content if short is found else msgspec.json.encode(short)


def shortened(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same of an object that is decoded; itself where there is no such text."""
    data = manifest.get("data") or {}
    long = {key: _digest(text) for key, text in data.items() if isinstance(text, str) and len(text) >= _LONG}
    return {**manifest, "data": {**data, **long}} if long else manifest


def _digest(text: str) -> dict[str, str]:
    return {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def fingerprint(manifest: Mapping[str, Any]) -> str:
    """A hash of which fields a manifest sets. Not of their values: some are secret, and those are compared anyway."""
    paths: list[str] = []
    _note_paths(manifest, "", paths)
    return hashlib.sha256("\n".join(sorted(paths)).encode()).hexdigest()[:16]


def stamped(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with its fingerprint as an annotation, ready to be applied."""
    metadata = dict(manifest["metadata"])
    metadata["annotations"] = {**metadata.get("annotations", {}), naming.HASH_ANNOTATION: fingerprint(manifest)}
    return {**manifest, "metadata": metadata}


def same(live: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
    """Whether a live object needs no write. Kind and version don't count: a list leaves them out."""
    as_written = manifest.get("kind") in _AS_WRITTEN
    return all(
        holds(live.get(key), value, as_written=as_written)
        for key, value in manifest.items()
        if key not in ("apiVersion", "kind")
    )


def holds(live: Any, wanted: Any, *, as_written: bool = False) -> bool:
    """Whether `live` contains `wanted`: maps by key, lists of named objects by name, all else by equality.

    Selectors hold nothing else. Items of a list that have no name may hold more, unless they should be `as_written`.
    """
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            key in live
            and holds(live[key], wanted[key], as_written=as_written)
            and (key not in _ATOMIC or holds(wanted[key], live[key]))
            for key in wanted
        )
    if isinstance(wanted, _LISTS):
        return isinstance(live, _LISTS) and _list_holds(live, wanted, as_written)
    if isinstance(wanted, str) and isinstance(live, dict):
        return live == _digest(wanted)
    return bool(live == wanted) and isinstance(live, bool) == isinstance(wanted, bool)


def _list_holds(live: Sequence[Any], wanted: Sequence[Any], as_written: bool) -> bool:
    key = _merge_key(wanted)
    if key is None and as_written:
        return list(live) == list(wanted)
    if key is None:
        return len(live) == len(wanted) and all(map(holds, live, wanted))
    by_key = {item.get(key): item for item in live if isinstance(item, dict)}
    return all(item[key] in by_key and holds(by_key[item[key]], item, as_written=as_written) for item in wanted)


def _merge_key(items: Sequence[Any]) -> str | None:
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    return next((key for key in _MERGE_KEYS if all(key in item for item in items)), None)


def _note_paths(value: Any, prefix: str, noted: list[str]) -> None:
    # Into one list: generators within generators pass each path on through all of them.
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _note_paths(inner, f"{prefix}/{key}", noted)
    elif isinstance(value, _LISTS) and value:
        merge_key = _merge_key(value)
        for number, item in enumerate(value):
            name = f"{merge_key}={item[merge_key]}" if merge_key else number
            _note_paths(item, f"{prefix}/{name}", noted)
    else:
        noted.append(prefix)
