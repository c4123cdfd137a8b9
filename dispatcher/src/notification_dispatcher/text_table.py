"""Tables for people's terminals. `calls` and the operator's `plugin` print through it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def lines(titles: Iterable[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The table, with a line of titles, each column as wide as it must be."""
    table = [list(titles), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def printable(text: str) -> str:
    """The same without what a terminal would obey: an answer of somebody's server must not move the cursor."""
    return (
        text
        if text.isprintable()
        else "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
    )
