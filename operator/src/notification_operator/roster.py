"""Which pipelines there are: as the watch tells of them, checked every so often against a list of our own.

`run` feeds it. A watch can die, or hang with its connection open, and its owner lives on without a word: what the list
shows and the watch has not told of is the only sure sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from notification_operator.workqueue import Key

_PATIENCE = 2


class _Watched:
    """What one watch has told of, and how often it missed something since it last told of anything newer."""

    def __init__(self) -> None:
        self.present: dict[Key, int] = {}
        self.deleted: dict[Key, int] = {}
        self.misses = 0
        self.missed_at = 0

    def told(self, version: int) -> None:
        if version > self.missed_at:
            self.misses = 0

    def newest(self, key: Key) -> int:
        return max(self.present.get(key, 0), self.deleted.get(key, 0))


class Roster:
    """The pipelines by key, each with the resourceVersion that was last heard of."""

    def __init__(self, namespaces: Sequence[str | None]) -> None:
        self._watched = {namespace: _Watched() for namespace in namespaces}

    def __contains__(self, key: Key) -> bool:
        return key in self._of(key).present

    def __iter__(self) -> Iterator[Key]:
        for watched in self._watched.values():
            yield from watched.present

    @property
    def lost(self) -> bool:
        """A watch missed something twice, and told of nothing newer: it will not come back by itself."""
        return any(watched.misses >= _PATIENCE for watched in self._watched.values())

    def seen(self, key: Key, version: int) -> None:
        """The watch told of a pipeline that is there."""
        watched = self._of(key)
        watched.told(version)
        watched.present[key] = version

    def gone(self, key: Key, version: int) -> None:
        """The watch told of a deletion."""
        watched = self._of(key)
        watched.told(version)
        watched.present.pop(key, None)
        watched.deleted[key] = version

    def clear(self) -> set[Key]:
        """Forget all: the watches begin anew. Returns the pipelines that were there."""
        known = set(self)
        self._watched = {namespace: _Watched() for namespace in self._watched}
        return known

    def check(self, namespace: str | None, listed: Mapping[Key, int], version: int) -> set[Key]:
        """Compare with a list that is old enough for the watch to have told of all that is in it, and take it over.

        `version` is the list's. Returns the pipelines of which the watch had not told what the list says.
        """
        watched = self._watched[namespace]
        behind = {key for key, found in listed.items() if watched.newest(key) < found}
        vanished = {key for key, known in watched.present.items() if key not in listed and known <= version}
        for key in behind:
            watched.present[key] = listed[key]
        for key in vanished:
            del watched.present[key]
        watched.deleted = {key: deleted for key, deleted in watched.deleted.items() if deleted > version}
        if behind or vanished:
            watched.misses += 1
            watched.missed_at = version
        return behind | vanished

    def _of(self, key: Key) -> _Watched:
        return self._watched.get(key.namespace) or self._watched[None]
