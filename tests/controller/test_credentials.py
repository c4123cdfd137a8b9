"""Who the operator is to the API server: the token that is configured is the one that is sent."""

from __future__ import annotations

import ssl
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from notification_operator import credentials as package
from notification_operator.credentials import Credentials, pod
from notification_operator.credentials.identity import Identity
from notification_operator.errors import SettingsError, TransientError
from tests.certificates import self_signed


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


@pytest.fixture
def in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the pod's account; there is no kubeconfig, and the extra that reads one is not installed."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    for name, content in {"token": "first\n", "ca.crt": "a certificate", "namespace": "school"}.items():
        (folder / name).write_text(content)
    monkeypatch.setattr(pod, "FOLDER", folder)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    monkeypatch.delitem(sys.modules, "notification_operator.credentials.kubeconfigs", raising=False)
    monkeypatch.delattr(package, "kubeconfigs", raising=False)
    return folder


async def test_the_token_of_a_kubeconfig_is_read(kubeconfig: Path) -> None:
    assert await Credentials.load(kubeconfig).token() == "from-the-file"


async def test_the_variable_names_a_kubeconfig(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{kubeconfig.with_name('none')}:{kubeconfig}")
    assert Credentials.load(None).server == "http://127.0.0.1:1"


def test_a_kubeconfig_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text("{}")
    with pytest.raises(SettingsError, match="no way to reach a cluster"):
        Credentials.load(path)


async def test_the_pods_account_is_read_and_follows_its_token(in_a_pod: Path) -> None:
    credentials = Credentials.load(None)
    assert credentials.server == "https://127.0.0.1:1"
    assert credentials.ca_path == str(in_a_pod / "ca.crt")
    assert pod.namespace() == "school"
    assert await credentials.token() == "first"

    (in_a_pod / "token").write_text("second")
    assert await credentials.token() == "first", "it isn't read at every request"
    credentials.forget_token()
    assert await credentials.token() == "second"


async def test_a_token_that_is_empty_for_a_moment_is_a_failure_that_passes(in_a_pod: Path) -> None:
    credentials = Credentials.load(None)
    (in_a_pod / "token").write_text("")
    with pytest.raises(TransientError, match="the bearer token cannot be read: ValueError"):
        await credentials.token()
    (in_a_pod / "token").write_text("later")
    assert await credentials.token() == "later", "it is read again at the next request"


def test_an_address_of_ipv6_stands_in_brackets(in_a_pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    assert Credentials.load(None).server == "https://[fd00::1]:1"


def test_a_kubeconfig_without_the_extra_says_what_to_install(in_a_pod: Path, kubeconfig: Path) -> None:
    with pytest.raises(SettingsError, match=r"plannivo-notifications\[kubeconfig\]"):
        Credentials.load(kubeconfig)


def test_a_pod_without_an_account_says_what_is_missing(in_a_pod: Path) -> None:
    (in_a_pod / "token").unlink()
    with pytest.raises(SettingsError, match=r"serviceaccount/token is missing.*--kubeconfig"):
        Credentials.load(None)


def test_a_machine_that_is_no_pod_says_so(in_a_pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(SettingsError, match="KUBERNETES_SERVICE_HOST is not set"):
        Credentials.load(None)


def test_tls_is_read_by_the_record(tmp_path: Path) -> None:
    made = self_signed(tmp_path, "server")
    identity = Identity(server="https://localhost", ca_path=str(made.certificate))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*made)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = Credentials(identity).ssl_context().wrap_bio(down, up, server_hostname="localhost")
    server = serving.wrap_bio(up, down, server_side=True)
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    sent = bytes(range(256)) * 256
    server.write(sent)
    read, most = b"", 0
    tracemalloc.start()
    try:
        while len(read) < len(sent):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            # As much as asyncio and uvloop ask for.
            chunk = client.read(256 * 1024)
            most = max(most, tracemalloc.get_traced_memory()[1] - before)
            read += chunk
    finally:
        tracemalloc.stop()
    assert read == sent
    assert most < 32 * 1024
    into = bytearray(8)
    server.write(sent)
    count: object = client.read(8, into)
    assert count == 8
    assert into == sent[:8]
