"""Who the operator is to the API server: the token that is configured is the one that is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from kubernetes.config import ConfigException, incluster_config

from notification_operator.credentials import Credentials
from notification_operator.errors import TransientError


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {"token": "from-the-file"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return path


async def test_the_token_of_a_kubeconfig_is_read(kubeconfig: Path) -> None:
    assert await Credentials.load(kubeconfig).token() == "from-the-file"


async def test_a_token_that_cannot_be_read_is_a_failure_that_passes(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = Credentials.load(kubeconfig)

    def broken() -> str:
        raise ConfigException("Token file exists but empty.")

    monkeypatch.setattr(credentials, "_read_token", broken)
    with pytest.raises(TransientError, match="the bearer token cannot be read: ConfigException"):
        await credentials.token()
    monkeypatch.undo()
    assert await credentials.token() == "from-the-file", "it is read again at the next request"


async def test_the_pods_token_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("first")
    authority.write_text("a certificate")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("kubernetes.config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    credentials = Credentials.load(None)
    assert credentials.server == "https://127.0.0.1:1"
    assert await credentials.token() == "first"
