"""CLUSTER=kind and CLUSTER=current, with programs that only write down what they were asked."""

import stat
from io import StringIO
from pathlib import Path

import pytest

from tests.cluster import ClusterError, Mode
from tests.cluster.binaries import Places
from tests.cluster.progress import Progress
from tests.cluster.state import State

KIND = '#!/bin/sh\necho "$*" >> "$LOG"\n[ "$1" = create ] && echo {} > "$6"\nexit 0\n'
KUBECTL = """#!/bin/sh
echo "$*" >> "$LOG"
[ "$1" = config ] && echo "the current context"
exit $KUBECTL_CODE
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the fake programs write their arguments."""
    return tmp_path / "log"


@pytest.fixture
def state(tmp_path: Path, log: Path) -> State:
    """A state folder, with a PATH that has fakes of kind and kubectl alone."""
    path = tmp_path / "path"
    path.mkdir()
    for name, text in {"kind": KIND, "kubectl": KUBECTL}.items():
        (path / name).write_text(text)
        (path / name).chmod(0o755)
    env = {"PATH": str(path), "LOG": str(log), "KUBECTL_CODE": "0"}
    return State(tmp_path / "state", Places(tmp_path / "cache", None, env), Progress(StringIO))


@pytest.fixture(autouse=True)
def _kubectl_environment(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    """Give the handle's own calls the fakes' variables as well."""
    monkeypatch.setenv("LOG", str(log))
    monkeypatch.setenv("KUBECTL_CODE", "0")


def kind_calls(log: Path) -> list[list[str]]:
    """Return the arguments of each call of kind."""
    calls = [line.split() for line in log.read_text().splitlines()]
    return [call for call in calls if call[1:2] == ["cluster"]]


def test_mode_is_read_from_the_environment() -> None:
    assert Mode.from_environment({}) is Mode.KWOK
    assert Mode.from_environment({"CLUSTER": ""}) is Mode.KWOK
    assert Mode.from_environment({"CLUSTER": "current"}) is Mode.CURRENT
    with pytest.raises(ClusterError, match="CLUSTER=minikube is unknown; use kwok, kind, current"):
        Mode.from_environment({"CLUSTER": "minikube"})


def test_kind_cluster_is_created_once_and_deleted(state: State, log: Path) -> None:
    cluster = state.up(Mode.KIND)
    assert cluster.started_here
    assert cluster.kubeconfig.read_text() == "{}\n"
    assert not state.up(Mode.KIND).started_here
    cluster.stop()
    assert not cluster.kubeconfig.exists()
    assert not state.down()
    created, deleted = kind_calls(log)
    assert created[:6] == ["create", "cluster", "--name", state.name, "--kubeconfig", str(cluster.kubeconfig)]
    assert deleted[:4] == ["delete", "cluster", "--name", state.name]


def test_kind_that_fails_to_start_is_deleted(state: State, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_CODE", "1")
    with pytest.raises(ClusterError, match="its API server isn't ready"):
        state.up(Mode.KIND)
    assert [call[0] for call in kind_calls(log)] == ["create", "delete"]
    assert state.recorded_mode() is None


def test_missing_kind_is_named(state: State) -> None:
    (Path(state.places.env["PATH"]) / "kind").unlink()
    with pytest.raises(ClusterError, match=r"needs kind and Docker, and there is no `kind` on PATH\. Install both\."):
        state.up(Mode.KIND)


def test_current_context_is_copied_and_the_cluster_left_alone(state: State, log: Path) -> None:
    cluster = state.up(Mode.CURRENT)
    assert not cluster.started_here
    assert cluster.kubeconfig.read_text() == "the current context\n"
    assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600
    assert state.down()
    assert not cluster.kubeconfig.exists()
    assert {line.split()[0] for line in log.read_text().splitlines()} == {"config", "--kubeconfig"}


def test_current_without_a_context_says_so(state: State) -> None:
    (Path(state.places.env["PATH"]) / "kubectl").write_text("#!/bin/sh\necho 'no current context' >&2; exit 1\n")
    with pytest.raises(ClusterError, match=r"(?s)needs a kubeconfig with a current context: .*no current context"):
        state.up(Mode.CURRENT)


def test_folder_holds_one_kind_of_cluster(state: State) -> None:
    state.up(Mode.KIND)
    with pytest.raises(ClusterError, match="holds a kind cluster, and current is asked for: end it first"):
        state.up(Mode.CURRENT)


@pytest.mark.parametrize("mode", [Mode.KIND, Mode.CURRENT])
def test_only_kwok_has_fake_nodes(state: State, mode: Mode) -> None:
    with pytest.raises(ClusterError, match="3 fake nodes need CLUSTER=kwok"):
        state.up(mode).scale_nodes(3)


def test_damaged_record_is_named(state: State) -> None:
    state.folder.mkdir()
    (state.folder / "cluster.json").write_text("{")
    with pytest.raises(ClusterError, match=r"cluster\.json is damaged; remove it and start again"):
        state.up(Mode.KWOK)


def test_names_differ_between_folders(tmp_path: Path) -> None:
    assert State(tmp_path / "a").name == State(tmp_path / "a").name != State(tmp_path / "b").name
