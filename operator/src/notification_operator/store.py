"""What was last seen of the objects of one kind. `watching` keeps it current; `reconcile` and `run` read it.

Each object is kept as the JSON that came, deflated, and decoded when it is looked at: the children of one pipeline are
37 KB of JSON and 9 KB so, and many times that as Python objects.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from notification_operator.naming import PIPELINE_LABEL

_TOMBSTONES = 4096
_BOOKKEEPING = frozenset({"resourceVersion", "generation", "managedFields"})
"""Notes in the metadata of who wrote an object and how often."""
_LEFT_OUT = frozenset({"kind", "apiVersion"})
"""By a list, of each object."""
_FAST = 1  # the best would save a fifth more and take five times as long
# As much memory as objects of some kilobytes can use. With zlib's defaults each is a quarter of a megabyte that the
# kernel hands out and takes back: that took six times as long, and saved nothing.
_WINDOW_BITS = 14
_MEMORY_LEVEL = 6


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


class Known(Enum):
    """How much of an object is known."""

    WHOLE = "as it is"
    ASSUMED = "its metadata, and the rest as it was asked for: a watch will tell in a moment what it is"
    OUTLINE = "its metadata alone"


class Stored(NamedTuple):
    """An object as it was last seen."""

    meta: ObjectMeta
    kept: bytes
    known: Known

    @property
    def content(self) -> bytes:
        """Its JSON, or what is known of it."""
        return self.kept if self.known is Known.ASSUMED else zlib.decompress(self.kept)

    def decoded(self) -> dict[str, Any]:
        """The whole object, fresh each time."""
        return msgspec.json.decode(self.content, type=dict[str, Any])


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
        # What was told of an object that is being written, by (namespace, name): it may be that write.
        self._withheld: dict[tuple[str, str], ObjectMeta | None] = {}
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

    @contextmanager
    def writing(self, namespace: str, name: str) -> Iterator[None]:
        """For the time of a write of ours, whose answer is put in: its event may come before that, and is no news."""
        self._withheld[namespace, name] = None
        try:
            yield
        finally:
            if (meta := self._withheld.pop((namespace, name), None)) is not None:
                self._changed(meta)

    def put_answer(self, content: bytes, *, assumed: bool = False) -> None:
        """Take in what the server answered to a request of ours of an object.

        `assumed`: it was just made, and all but its metadata is as it was asked for, until a watch tells how it is.
        """
        meta = head(content)
        place = meta.namespace, meta.name
        withheld = self._withheld.get(place)
        if withheld is not None and withheld.uid == meta.uid and withheld.version <= meta.version:
            self._withheld[place] = None
        if not self._is_news(meta, whole=True):
            return
        if assumed:
            self._keep(Stored(meta, content, Known.ASSUMED))
        else:
            self._keep(Stored(meta, _deflated(self.trim(content)), Known.WHOLE))

    def put(self, content: bytes) -> None:
        """Take in what a watch or a list tells of an object, unless what is known is as new."""
        meta = head(content)
        if not self._is_news(meta, whole=True):
            return
        before = self.get(meta.namespace, meta.name)
        kept = self.trim(content)
        self._keep(Stored(meta, _deflated(kept), Known.WHOLE))
        if before is None or _differ(before, meta, kept):
            self._tell(meta)

    def put_outline(self, content: bytes) -> None:
        """Take in the metadata that a watch tells of, unless what is known is as new. The rest may have changed."""
        meta = head(content)
        if self._is_news(meta, whole=False):
            self._keep(Stored(meta, _deflated(content), Known.OUTLINE))
            self._tell(meta)

    def _is_news(self, meta: ObjectMeta, *, whole: bool) -> bool:
        """Whether there is something to be learnt of this version, of which all is told or (`whole` False) a part."""
        before = self.get(meta.namespace, meta.name)
        if before is None or before.meta.uid != meta.uid:
            return meta.version > self._removed.get(meta.uid, -1)
        more = whole and before.known is not Known.WHOLE
        return meta.version > before.meta.version - more

    def _tell(self, meta: ObjectMeta) -> None:
        if (meta.namespace, meta.name) in self._withheld:
            self._withheld[meta.namespace, meta.name] = meta
        else:
            self._changed(meta)

    def _keep(self, stored: Stored) -> None:
        meta = stored.meta
        if (known := self.get(meta.namespace, meta.name)) is not None:
            self._ungroup(known.meta)
        self._objects[meta.namespace, meta.name] = stored
        if self._by_pipeline:
            self._names.setdefault((meta.namespace, meta.labels.pipeline), set()).add(meta.name)

    def remove(self, meta: ObjectMeta) -> None:
        """Forget an object that was deleted, unless a successor has its name."""
        self._removed[meta.uid] = meta.version
        if len(self._removed) > _TOMBSTONES:
            self._removed.popitem(last=False)
        self._forget(meta)

    def _forget(self, meta: ObjectMeta) -> None:
        known = self._objects.get((meta.namespace, meta.name))
        if known is not None and known.meta.uid == meta.uid:
            del self._objects[meta.namespace, meta.name]
            self._ungroup(known.meta)
            self._changed(meta)

    def replace(self, contents: Iterable[bytes], *, namespace: str | None, version: int | None) -> None:
        """Take a whole list in. What is not in it vanished unseen: no event will ever tell of it.

        `version` is the list's: what is known to be younger was made since, and is left to the watch. None: nothing can
        be seen any longer, be it there or not.
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
                (self._forget if version is None else self.remove)(stored.meta)

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
    return msgspec.json.encode(_parts(content, without={"status"}))


def _deflated(content: bytes) -> bytes:
    compressor = zlib.compressobj(_FAST, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL)
    return compressor.compress(content) + compressor.flush()


def _differ(before: Stored, meta: ObjectMeta, kept: bytes) -> bool:
    """Whether somebody is to be told. Compared for each event: a digest would be kept of every object at all times."""
    if before.meta.uid != meta.uid:
        return True
    if before.known is Known.ASSUMED and before.meta.version == meta.version:
        return False
    parts, others = (_parts(content, without=_LEFT_OUT) for content in (before.content, kept))
    # As they were written: the API server writes the same thing the same way, and the rest is long.
    metadata, other = (_parts(one.pop("metadata"), without=_BOOKKEEPING) for one in (parts, others))
    return metadata != other or parts != others


def _parts(content: bytes | msgspec.Raw, *, without: Collection[str]) -> dict[str, msgspec.Raw]:
    """What an object consists of, undecoded."""
    found = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    return {name: part for name, part in found.items() if name not in without}
