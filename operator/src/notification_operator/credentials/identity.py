"""What one way of reading credentials found. `pod` and `kubeconfigs` make it, `Credentials` uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


def no_token() -> None:
    """Who has none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A server, and who we are to it."""

    server: str
    """Base URL, without a slash at its end."""

    ca_path: str | None = None
    """File of the certificate authority; None: the system's own."""

    certificate: tuple[str, str] | None = None
    """Files of the client certificate and its key."""

    insecure: bool = False
    """The server is not verified."""

    basic_auth: tuple[str, str] | None = field(default=None, repr=False)
    """User name and password."""

    read_token: Callable[[], str | None] = field(default=no_token, repr=False)
    """Reads the bearer token in force; may block, and may raise anything."""
