"""What is remembered for a while: the memory engine's dedup keys, delivered ids and answered requests."""

from __future__ import annotations

from itertools import takewhile
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Fading(Generic[Value]):
    """Values by key, each with the time until which it is remembered. Kept in the order in which they were noted."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Value, int]] = {}

    def get(self, key: str) -> tuple[Value, int] | None:
        """The value and until when, as long as it is not forgotten."""
        return self._kept.get(key)

    def note(self, key: str, value: Value, until_ms: int) -> None:
        """Remember it, as the latest."""
        self._kept.pop(key, None)
        self._kept[key] = (value, until_ms)

    def drop(self, key: str) -> None:
        """Forget it before its time."""
        del self._kept[key]

    def forget(self, now_ms: int) -> None:
        """Forget those at the front whose time is over: as a rule, they are noted in the order in which they fade."""
        for key in list(takewhile(lambda one: self._kept[one][1] <= now_ms, self._kept)):
            del self._kept[key]

    def move(self, by_ms: int) -> None:
        """Move all along with a clock that was set."""
        self._kept = {key: (value, until + by_ms) for key, (value, until) in self._kept.items()}
