"""Secrets that can be found again wherever they leak to, whole, in part, or encoded."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

_PIECE = 10
"""So many characters in a row are no accident."""

_RUN = re.compile(rf"[A-Za-z0-9+/_-]{{{_PIECE},}}")
"""Where a piece of any form can stand."""


def canary() -> str:
    """A new one: fit for a URL, a password, a token and base64 alike, and unlike any hash or uid."""
    return "".join(secrets.choice("ghjkmnpqrstvwxyz") for _ in range(24))


@dataclass
class Canaries:
    """Every secret that there ever was, by what it is for."""

    known: dict[str, str] = field(default_factory=dict)

    def new(self, purpose: str) -> str:
        """One more."""
        return self.known.setdefault(f"{purpose} #{len(self.known)}", canary())

    def found(self, texts: Mapping[str, str]) -> list[str]:
        """Where which of them stands, in whatever form."""
        pieces = {
            piece: purpose
            for purpose, secret in self.known.items()
            for form in forms(secret)
            for piece in _pieces(form)
        }
        leaks = {
            f"{pieces[piece]} in {place}": None
            for place, text in texts.items()
            for run in _RUN.findall(text)
            for piece in _pieces(run)
            if piece in pieces
        }
        return list(leaks)


def forms(secret: str) -> Iterable[str]:
    """The secret as it may be written down: as it is, and encoded, wherever in a longer text it stands."""
    yield secret
    yield secret.encode().hex()
    yield quote(secret)
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(b"\0" * before + secret.encode()).decode()
            # What the neighbours' bits are part of is left out, at both ends.
            yield encoded[-(-before * 8 // 6) : len(encoded) - 4]


def _pieces(text: str) -> Iterator[str]:
    for start in range(len(text) - _PIECE + 1):
        yield text[start : start + _PIECE]
