"""The pages that people read, taken apart: their blocks, headings and links. The tests of this folder read them here.

Only as much of Markdown as the pages use: fenced blocks, headings that begin with #, links in brackets.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        ROOT / "grafana" / "README.md",
        ROOT / "bench" / "README.md",
    ]
)

_FENCE = re.compile(
    r"^(?:[ ]*<!-- (?P<remark>[^\n]*?) -->\n)?(?P<indent>[ ]*)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    """Of its first line."""
    language: str
    text: str
    """Without what it is indented by in its page."""
    remark: str
    """What an HTML comment right above it says; empty if there is none."""

    @property
    def place(self) -> str:
        """Where it is, as compilers say it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    """A page's blocks in these languages, in their order."""
    text = page.read_text()
    for found in _FENCE.finditer(text):
        if found["language"] in languages:
            line = text.count("\n", 0, found.start("text")) + 1
            body = textwrap.dedent(found["text"])
            yield Block(page, line, found["language"], body, found["remark"] or "")


def prose(page: Path) -> str:
    """A page without its blocks and without code between backticks."""
    return re.sub(r"`[^`\n]*`", "`code`", _FENCE.sub("", page.read_text()))


def links(page: Path) -> list[str]:
    """Where a page's links lead, as they are written."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """What links can lead to within a page, as GitHub makes it of headings."""
    made: dict[str, int] = {}
    found = set()
    for title in _HEADING.findall(_FENCE.sub("", page.read_text())):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").lower()
        anchor = re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")
        number = made[anchor] = made.get(anchor, -1) + 1
        found.add(f"{anchor}-{number}" if number else anchor)
    return found
