"""A kubeconfig, exec plugins included. The `kubernetes` package reads it; only whoever has one needs that."""

from __future__ import annotations

from kubernetes import client, config

from notification_operator.credentials.identity import Identity
from notification_operator.errors import SettingsError


def identity(files: str) -> Identity:
    """The current context's identity, of one file or of several with colons between them. Raises SettingsError."""
    configuration = client.Configuration()
    try:
        config.load_kube_config(config_file=files, client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError, TypeError) as error:
        raise SettingsError(
            f"no way to reach a cluster: {error}. Name a kubeconfig with --kubeconfig or KUBECONFIG, "
            "or run inside a cluster with a service account."
        ) from error

    def read_token() -> str | None:
        # Newer versions of the package call it BearerToken, older ones authorization.
        header = configuration.get_api_key_with_prefix("BearerToken", "authorization")
        # "Bearer x" from a kubeconfig, "bearer x" from a plugin.
        return str(header).rpartition(" ")[2] if header else None

    return Identity(
        str(configuration.host).rstrip("/"),
        ca_path=configuration.ssl_ca_cert or None,
        certificate=_both(configuration.cert_file, configuration.key_file),
        insecure=not configuration.verify_ssl,
        basic_auth=_both(configuration.username, configuration.password),
        read_token=read_token,
    )


def _both(first: str | None, second: str | None) -> tuple[str, str] | None:
    return (first, second) if first and second else None
