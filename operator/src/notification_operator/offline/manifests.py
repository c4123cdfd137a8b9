"""The pipelines of some files, and what is wrong with them: what `commands` and `dev` have in common."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from notification_operator.findings import Finding
from notification_operator.group import KIND
from notification_operator.offline import documents
from notification_operator.offline.documents import Document, Place, Unreadable
from notification_operator.offline.validating import concerns, judge
from notification_operator.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Wrong:
    """One finding, and where it stands."""

    place: Place
    name: str
    finding: Finding

    def __str__(self) -> str:
        named = f"{self.place}, {self.name}" if self.name else str(self.place)
        return f"{named}: {self.finding}"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self.place), "name": self.name, **asdict(self.finding)}


@dataclass(slots=True)
class Manifests:
    """What was found in the files, in order."""

    pipelines: list[tuple[Place, Pipeline]] = field(default_factory=list)
    wrong: list[Wrong] = field(default_factory=list)
    skipped: list[Document] = field(default_factory=list)


def read(files: Iterable[str], namespace: str | None) -> Manifests:
    """Read and judge all that the files hold. `namespace`: the one that was asked for."""
    return gather(documents.read(files, sys.stdin.buffer), namespace)


def gather(found: Iterable[Document | Unreadable], namespace: str | None) -> Manifests:
    """Judge all of them. That there is no pipeline among them is wrong as well."""
    made = Manifests()
    for one in found:
        _take(one, namespace, made)
    if not made.pipelines and not made.wrong:
        place = made.skipped[0].place if made.skipped else Place("the input")
        made.wrong.append(Wrong(Place(place.file), "", Finding("", f"there is no {KIND} in it")))
    return made


def _take(one: Document | Unreadable, namespace: str | None, made: Manifests) -> None:
    if isinstance(one, Unreadable):
        made.wrong.append(Wrong(one.place, "", one.finding))
        return
    if not concerns(one.api_version, one.kind):
        made.skipped.append(one)
        return
    judged = judge(one.content, namespace)
    made.wrong += (Wrong(one.place, one.name, finding) for finding in judged.findings)
    if judged.pipeline is not None:
        made.pipelines.append((one.place, judged.pipeline))


def notes(made: Manifests) -> Iterator[str]:
    """What was passed over."""
    for one in made.skipped:
        yield f"{one.place}: {one.kind} {one.name} is no {KIND}: skipped"
