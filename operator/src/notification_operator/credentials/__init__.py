"""Where the API server is and how to prove who we are: from a kubeconfig, or from the pod's own account.

`cluster` sends what comes out of it, and `handlers` hands the same to kopf.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from pathlib import Path
from typing import Any

from notification_operator.credentials import pod
from notification_operator.credentials.identity import Identity
from notification_operator.errors import SettingsError, TransientError

__all__ = ["Credentials", "Identity", "pod"]

_TOKEN_CHECKED_EVERY = 15.0  # seconds; a projected token is replaced long before it expires
_RECORD_BYTES = 16384  # RFC 8446, 5.1: the most that a record holds
_DEFAULT_KUBECONFIG = "~/.kube/config"


class _Connection(ssl.SSLObject):
    """TLS that is read by the record.

    An event loop asks for a quarter of a megabyte, which is made ready for it each time; no more than one record comes.
    """

    def read(self, len: int = _RECORD_BYTES, buffer: Any = None) -> Any:  # noqa: A002  its name there
        """Up to so many bytes, or how many were read into `buffer`. Raises SSLError."""
        return super().read(min(len, _RECORD_BYTES), buffer)


class Credentials:
    """One cluster's address, trust and identity."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._token: str | None = None
        self._token_checked = float("-inf")

    @classmethod
    def load(cls, kubeconfig: Path | None) -> Credentials:
        """Read the named kubeconfig; without a name $KUBECONFIG or ~/.kube/config, else the pod's own account.

        Raises SettingsError when there is none, or it cannot be read.
        """
        files = _default_kubeconfigs() if kubeconfig is None else str(kubeconfig)
        if files is None:
            return cls(pod.identity())
        try:
            # Only here: the package is an extra, and takes 20 MB of memory that a pod has better uses for.
            from notification_operator.credentials import kubeconfigs  # noqa: PLC0415
        except ImportError as error:
            raise SettingsError(
                "reading a kubeconfig needs the extra `kubeconfig`: pip install 'plannivo-notifications[kubeconfig]'."
            ) from error
        return cls(kubeconfigs.identity(files))

    @property
    def server(self) -> str:
        """Base URL of the API server."""
        return self._identity.server

    @property
    def ca_path(self) -> str | None:
        """File of the certificate authority, None for the system's own."""
        return self._identity.ca_path

    @property
    def certificate(self) -> tuple[str, str] | None:
        """Files of the client certificate and its key."""
        return self._identity.certificate

    @property
    def insecure(self) -> bool:
        """The user asked not to verify the server."""
        return self._identity.insecure

    @property
    def basic_auth(self) -> tuple[str, str] | None:
        """User name and password, where the kubeconfig has them."""
        return self._identity.basic_auth

    def ssl_context(self) -> ssl.SSLContext:
        """What the connections are made with."""
        context = ssl.create_default_context(cafile=self.ca_path)
        context.sslobject_class = _Connection
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate is not None:
            context.load_cert_chain(*self.certificate)
        return context

    async def token(self) -> str | None:
        """The bearer token in force, read again every so often: it rotates. Raises TransientError."""
        if time.monotonic() - self._token_checked >= _TOKEN_CHECKED_EVERY:
            try:
                # An exec plugin is a process of its own, and may take seconds.
                self._token = await asyncio.to_thread(self._identity.read_token)
            except Exception as error:  # a plugin may raise anything, and a token's file be empty for a moment
                raise TransientError(f"the bearer token cannot be read: {type(error).__name__}") from error
            self._token_checked = time.monotonic()
        return self._token

    def forget_token(self) -> None:
        """The server did not accept it: read it again at the next request."""
        self._token_checked = float("-inf")


def _default_kubeconfigs() -> str | None:
    """Where kubectl would look: one file, or several with colons between them; None when none of them is there."""
    named = os.environ.get("KUBECONFIG") or _DEFAULT_KUBECONFIG
    there = any(Path(file).expanduser().exists() for file in named.split(os.pathsep) if file)
    return named if there else None
