"""Tells the demo on the terminal: steps with their time, what a person would type, and what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click


class CheckFailedError(Exception):
    """A step didn't show what it must show; the message says what was expected and what was seen."""


class Narrator:
    """Writes to standard output; colours only at a terminal."""

    def __init__(self) -> None:
        self.step_title = "start"

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step of the demo, with its time."""
        self.step_title = title
        click.secho(f"\n▸ {title}", bold=True)
        sys.stdout.flush()
        started = time.monotonic()
        yield
        self.checked(f"done in {time.monotonic() - started:.1f} s")

    def typed(self, command: str) -> None:
        """What a person would type."""
        click.secho(f"  $ {command}", fg="cyan")

    def shown(self, text: str) -> None:
        """What came of it."""
        for line in text.rstrip().splitlines():
            click.echo(f"    {line}")

    def checked(self, what: str) -> None:
        """Something that was looked at and is right."""
        click.echo(f"  {click.style('✓', fg='green')} {what}")
        sys.stdout.flush()


def require(condition: bool, expectation: str, seen: object) -> None:
    """Raise CheckFailedError unless the condition holds."""
    if not condition:
        raise CheckFailedError(f"{expectation}; seen: {seen}")
