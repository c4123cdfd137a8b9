"""Some 2,000 notifications as a booking platform would send them, and what must become of them.

Seeded: each run sends the same. Some go to a service whose quota is used up, some are sent twice, some are invalid.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Notification = dict[str, Any]

WORKING = {"booking-created": 1000, "lesson-completed": 740, "refund-requested": 20}
FAILING = {"instructor-rated": 60}
TWICE = 120
INVALID = 60
BATCH = 100

_FIRST = ("Ada", "Bruno", "Chiara", "Deniz", "Elif", "Farid", "Greta", "Hugo")
_LESSONS = ("kitesurfing", "windsurfing", "wing foil", "sailing")


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent, and what must be counted for it."""

    notifications: list[Notification]
    queued: Counter[str]
    """Jobs accepted, by type."""

    @property
    def failed(self) -> int:
        """Jobs that must fail for good."""
        return sum(self.queued[name] for name in FAILING)

    @property
    def processed(self) -> int:
        """Jobs that must be delivered."""
        return self.queued.total() - self.failed

    @property
    def batches(self) -> Iterator[list[Notification]]:
        """The notifications in the sizes in which they are posted."""
        for start in range(0, len(self.notifications), BATCH):
            yield self.notifications[start : start + BATCH]


def make(seed: int = 2026) -> Load:
    """The load."""
    dice = random.Random(seed)
    types = [name for name, count in (WORKING | FAILING).items() for _ in range(count)]
    valid = [_notification(dice, number, name) for number, name in enumerate(types)]
    broken = [_broken(dice, valid) for _ in range(INVALID)]
    first = [*valid, *broken]
    dice.shuffle(first)
    # A repetition comes after what it repeats.
    again = dice.sample(valid, TWICE)
    return Load([*first, *again], Counter(types))


def _notification(dice: random.Random, number: int, name: str) -> Notification:
    return {
        "id": f"{name}-{number:05d}",
        "type": name,
        "payload": {
            "bookingId": dice.randrange(10**6),
            "student": dice.choice(_FIRST),
            "lesson": dice.choice(_LESSONS),
            "amountCents": dice.randrange(2_000, 30_000),
            "startsAt": f"2026-07-{dice.randrange(1, 31):02d}T{dice.randrange(8, 18):02d}:00:00Z",
        },
    }


def _broken(dice: random.Random, valid: list[Notification]) -> Notification:
    """A notification as a careless caller sends it."""
    copy = {**dice.choice(valid), "id": f"broken-{dice.randrange(10**9)}"}
    match dice.randrange(3):
        case 0:
            del copy["type"]
        case 1:
            copy["payload"] = "not an object"
        case _:
            copy["type"] = "Booking Created!"
    return copy
