"""What keeps a command from doing what was asked. click prints each as a sentence and ends with its exit code.

    PluginError          nothing could be asked, or it was refused
    ├── MissingError     there is no such object, or no such API
    └── DeniedError      the user's account lacks a permission

`kubectl` raises them, and whoever knows better what they mean to the user says it in other words.
"""

from __future__ import annotations

from typing import IO, Any

import click


class PluginError(click.ClickException):
    """Root of the tree. The message is for the user, and has no secret in it."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """As kubectl says it."""
        click.echo(f"error: {self.message}", file=file, err=file is None)


class MissingError(PluginError):
    """It is not there."""


class DeniedError(PluginError):
    """RBAC says no; the message says to what."""
