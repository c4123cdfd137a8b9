"""Where the API server is and how to prove who we are: from a kubeconfig (exec plugins included) or from the pod.

The `kubernetes` package does the reading and the rotation of tokens. `cluster` sends what comes out of it, and
`handlers` hands the same to kopf.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

from kubernetes import client, config

from notification_operator.errors import SettingsError, TransientError

_TOKEN_CHECKED_EVERY = 15.0  # seconds; a projected token is replaced long before it expires


class Credentials:
    """One cluster's address, trust and identity."""

    def __init__(self, configuration: client.Configuration) -> None:
        self._configuration = configuration
        self._token: str | None = None
        self._token_checked = float("-inf")

    @classmethod
    def load(cls, kubeconfig: Path | None) -> Credentials:
        """Read the named kubeconfig; without a name $KUBECONFIG or ~/.kube/config, else the pod's own account.

        Raises SettingsError when there is none, or it cannot be read.
        """
        configuration = client.Configuration()
        try:
            if kubeconfig is not None:
                config.load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=str(kubeconfig), client_configuration=configuration
                )
            else:
                config.load_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError, TypeError) as error:
            raise SettingsError(
                f"no way to reach a cluster: {error}. Name a kubeconfig with --kubeconfig or KUBECONFIG, "
                "or run inside a cluster with a service account."
            ) from error
        return cls(configuration)

    @property
    def server(self) -> str:
        """Base URL of the API server."""
        return str(self._configuration.host).rstrip("/")

    @property
    def ca_path(self) -> str | None:
        """File of the certificate authority, None for the system's own."""
        return self._configuration.ssl_ca_cert or None

    @property
    def certificate(self) -> tuple[str, str] | None:
        """Files of the client certificate and its key."""
        certificate, key = self._configuration.cert_file, self._configuration.key_file
        return (certificate, key) if certificate and key else None

    @property
    def insecure(self) -> bool:
        """The user asked not to verify the server."""
        return not self._configuration.verify_ssl

    @property
    def basic_auth(self) -> tuple[str, str] | None:
        """User name and password, where the kubeconfig has them."""
        user, password = self._configuration.username, self._configuration.password
        return (user, password) if user and password else None

    def ssl_context(self) -> ssl.SSLContext:
        """What the connections are made with."""
        context = ssl.create_default_context(cafile=self.ca_path)
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
                self._token = await asyncio.to_thread(self._read_token)
            except Exception as error:  # a plugin may raise anything, and a token's file be empty for a moment
                raise TransientError(f"the bearer token cannot be read: {type(error).__name__}") from error
            self._token_checked = time.monotonic()
        return self._token

    def forget_token(self) -> None:
        """The server did not accept it: read it again at the next request."""
        self._token_checked = float("-inf")

    def _read_token(self) -> str | None:
        # Newer versions of the package call it BearerToken, older ones authorization.
        header = self._configuration.get_api_key_with_prefix("BearerToken", "authorization")
        # "Bearer x" from a kubeconfig, "bearer x" from a pod.
        return str(header).rpartition(" ")[2] if header else None
