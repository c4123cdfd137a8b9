"""What was last seen of the objects of one kind. `watching` keeps it current; `reconcile` and `run` read it.

Each object is kept as the JSON that came, deflated, and decoded when it is looked at: the children of one pipeline are
37 KB of JSON and 9 KB so, and many times that as Python objects.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from notification_operator.cluster import decode
from notification_operator.naming import PIPELINE_LABEL

_TOMBSTONES = 4096
_BOOKKEEPING = frozenset({"resourceVersion", "generation", "managedFields"})
_FAST = 1  # 0.3 ms for all children of a pipeline; the best would save a fifth more and take five times as long


class Labels(msgspec.Struct, frozen=True):
    """The one label that the watches need."""

    pipeline: str = msgspec.field(default="", name=PIPELINE_LABEL)


class ObjectMeta(msgspec.Struct, frozen=True, rename="camel"):
    """The part of an object's metadata that the watches need."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: Labels = Labels()

    @property
    def version(self) -> int:
        """The resourceVersion, which the API's own contract lets us compare as a number.

        Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
        """
        return int(self.resource_version)


class _Head(msgspec.Struct, frozen=True):
    metadata: ObjectMeta


class Stored(NamedTuple):
    """An object as it was last seen."""

    meta: ObjectMeta
    deflated: bytes

    @property
    def content(self) -> bytes:
        """Its JSON."""
        return zlib.decompress(self.deflated)

    def decoded(self) -> dict[str, Any]:
        """The whole object, fresh each time."""
        return decode(self.content)


Changed = Callable[[ObjectMeta], None]


class Store:
    """The objects of one kind by (namespace, name), and whom to tell when what is kept of one changes.

    `trim` returns the JSON of what is worth keeping of an object, its metadata included; what it returned, it returns
    again. `by_pipeline`: all objects of one pipeline are asked for, and found at once.
    """

    def __init__(self, changed: Changed, *, trim: Callable[[bytes], bytes] = bytes, by_pipeline: bool = False) -> None:
        self.trim = trim
        self._by_pipeline = by_pipeline
        self._objects: dict[tuple[str, str], Stored] = {}
        self._names: dict[tuple[str, str], set[str]] = {}
        # When what was removed was last seen, by uid: the answer to a write of ours can arrive after the event of the
        # deletion. A later version of it is no ghost: removing our label looks like a deletion too.
        self._removed: OrderedDict[str, int] = OrderedDict()
        self._changed = changed

    def get(self, namespace: str, name: str) -> Stored | None:
        """The object as last seen."""
        return self._objects.get((namespace, name))

    def all(self) -> Iterable[Stored]:
        """Every object."""
        return self._objects.values()

    def of(self, namespace: str, pipeline: str) -> list[Stored]:
        """The objects that carry this pipeline's label."""
        return [self._objects[namespace, name] for name in self._names.get((namespace, pipeline), ())]

    def put(self, content: bytes, *, quietly: bool = False) -> None:
        """Take an object in, unless what is known is as new. `quietly`: whoever calls knows of it already."""
        meta = head(content)
        known = self._objects.get((meta.namespace, meta.name))
        seen = self._removed.get(meta.uid, -1)
        if known is not None and known.meta.uid == meta.uid:
            seen = known.meta.version
        if meta.version <= seen:
            return
        kept = self.trim(content)
        told = not quietly and (known is None or known.meta.uid != meta.uid or _differ(known.content, kept))
        if known is not None:
            self._ungroup(known.meta)
        self._objects[meta.namespace, meta.name] = Stored(meta, zlib.compress(kept, _FAST))
        if self._by_pipeline:
            self._names.setdefault((meta.namespace, meta.labels.pipeline), set()).add(meta.name)
        if told:
            self._changed(meta)

    def remove(self, meta: ObjectMeta) -> None:
        """Forget an object, unless a successor has its name."""
        self._removed[meta.uid] = meta.version
        if len(self._removed) > _TOMBSTONES:
            self._removed.popitem(last=False)
        known = self._objects.get((meta.namespace, meta.name))
        if known is not None and known.meta.uid == meta.uid:
            del self._objects[meta.namespace, meta.name]
            self._ungroup(known.meta)
            self._changed(meta)

    def replace(self, contents: Iterable[bytes], *, namespace: str | None, version: int | None) -> None:
        """Take a whole list in. What is not in it vanished unseen: no event will ever tell of it.

        `version` is the list's: what is known to be younger was made since, and is left to the watch. None: all goes.
        """
        listed = set()
        for content in contents:
            meta = head(content)
            listed.add((meta.namespace, meta.name))
            self.put(content)
        for stored in list(self._objects.values()):
            inside = namespace is None or stored.meta.namespace == namespace
            older = version is None or stored.meta.version <= version
            if inside and older and (stored.meta.namespace, stored.meta.name) not in listed:
                self.remove(stored.meta)

    def _ungroup(self, meta: ObjectMeta) -> None:
        if not self._by_pipeline:
            return
        group = (meta.namespace, meta.labels.pipeline)
        self._names[group].discard(meta.name)
        if not self._names[group]:
            del self._names[group]


def head(content: bytes | msgspec.Raw) -> ObjectMeta:
    """An object's metadata, without decoding the rest."""
    return msgspec.json.decode(content, type=_Head).metadata


def without_status(content: bytes) -> bytes:
    """The JSON of an object of whose status nobody reads anything: of some it changes every few seconds."""
    if b'"status"' not in content:
        return content
    parts = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    parts.pop("status", None)
    return msgspec.json.encode(parts)


def _differ(one: bytes, other: bytes) -> bool:
    """Whether somebody is to be told. Decoded for each event: a digest would be kept of every object at all times."""
    return _telling(one) != _telling(other)


def _telling(content: bytes) -> dict[str, Any]:
    """An object without the notes of who wrote it and how often, and without what a list leaves out of each."""
    found = decode(content)
    metadata = {name: value for name, value in found["metadata"].items() if name not in _BOOKKEEPING}
    return {**found, "metadata": metadata, "kind": "", "apiVersion": ""}
