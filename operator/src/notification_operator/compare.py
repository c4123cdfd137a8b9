"""Whether a live object already holds all that we would set. `applier` asks before each write.

Server-side apply would answer the same with an empty change, at the price of a request. A live object has more than we
set (defaults, what admission and other controllers add), so the question is one of containment: every field of ours is
there with our value. Fields that we set earlier and no longer want are seen by `fingerprint`, which is stored with the
object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from notification_operator import naming

_MERGE_KEYS = ("name", "mountPath", "containerPort", "uid")
"""Keys by which the API server merges lists of objects, for the lists that we set."""


_LONG = 1024
"""Characters of a text in `data` from which on its digest is kept instead."""


def trimmed(content: bytes) -> bytes:
    """An object's JSON with a digest for each long text in its `data`: a thousand dashboards are 54 MB.

    The digest is an object, which `data` cannot hold, so that no text can pass for it.
    """
    if len(content) < _LONG:
        return content
    found = msgspec.json.decode(content)
    data = found.get("data") or {}
    long = {key: _digest(text) for key, text in data.items() if isinstance(text, str) and len(text) >= _LONG}
    return msgspec.json.encode({**found, "data": {**data, **long}}) if long else content


def _digest(text: str) -> dict[str, str]:
    return {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def fingerprint(manifest: Mapping[str, Any]) -> str:
    """A hash of which fields a manifest sets. Not of their values: some are secret, and those are compared anyway."""
    return hashlib.sha256("\n".join(sorted(_paths(manifest, ""))).encode()).hexdigest()[:16]


def stamped(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with its fingerprint as an annotation, ready to be applied."""
    metadata = dict(manifest["metadata"])
    metadata["annotations"] = {**metadata.get("annotations", {}), naming.HASH_ANNOTATION: fingerprint(manifest)}
    return {**manifest, "metadata": metadata}


def same(live: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
    """Whether a live object needs no write. Kind and version don't count: a list leaves them out."""
    return all(holds(live.get(key), value) for key, value in manifest.items() if key not in ("apiVersion", "kind"))


def holds(live: Any, wanted: Any) -> bool:
    """Whether `live` contains `wanted`: maps by key, lists of named objects by name, all else by equality."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(key in live and holds(live[key], wanted[key]) for key in wanted)
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return isinstance(live, Sequence) and not isinstance(live, str) and _list_holds(live, wanted)
    if isinstance(wanted, str) and isinstance(live, Mapping):
        return live == _digest(wanted)
    return bool(live == wanted) and isinstance(live, bool) == isinstance(wanted, bool)


def _list_holds(live: Sequence[Any], wanted: Sequence[Any]) -> bool:
    key = _merge_key(wanted)
    if key is None:
        return len(live) == len(wanted) and all(map(holds, live, wanted))
    by_key = {item.get(key): item for item in live if isinstance(item, Mapping)}
    return all(item[key] in by_key and holds(by_key[item[key]], item) for item in wanted)


def _merge_key(items: Sequence[Any]) -> str | None:
    if not items or not all(isinstance(item, Mapping) for item in items):
        return None
    return next((key for key in _MERGE_KEYS if all(key in item for item in items)), None)


def _paths(value: Any, prefix: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _paths(inner, f"{prefix}/{key}")
    elif isinstance(value, Sequence) and not isinstance(value, str) and (merge_key := _merge_key(value)):
        for item in value:
            yield from _paths(item, f"{prefix}/{merge_key}={item[merge_key]}")
    else:
        yield prefix
