"""The tests' own node: what a machine lacks for one, kind's in its place, and that nothing of it outlives a session."""

from __future__ import annotations

import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
import yaml

from tests.cluster import ClusterError, Mode
from tests.cluster.binaries import Places
from tests.cluster.kwok import COMPONENTS, KwokBackend
from tests.cluster.progress import Progress
from tests.images import Archive
from tests.node import configuration, lacking, requirements
from tests.node.kind import KindNode
from tests.node.sandbox import Network

ROOT = Path(__file__).parents[1]
PROGRAM = '#!/bin/sh\necho "$(basename "$0") $*" >> "$LOG"\n'
KIND_NETWORK = """echo '[{"IPAM": {"Config": [{"Gateway": "fc00::1"}, {"Gateway": "172.18.0.1"}]}}]'\n"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A PATH with kind and docker alone, which write down what they are asked."""
    for name, more in (("kind", ""), ("docker", KIND_NETWORK)):
        program = tmp_path / "path" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(PROGRAM + more)
        program.chmod(0o755)
    env = {"PATH": f"{tmp_path / 'path'}:/usr/bin:/bin", "LOG": str(tmp_path / "log")}
    return Places(tmp_path / "cache", None, env)


def test_kinds_node_takes_images_and_commands(places: Places, tmp_path: Path) -> None:
    node = KindNode("plannivo-1", places, Progress(StringIO))
    node.load(Archive("plannivo/notification-operator:1", tmp_path / "image.tar"))
    node.run("mkdir", "-p", "/volume")
    node.ctr("tasks", "kill", "--signal", "SIGKILL", "4711")
    assert node.host == "172.18.0.1"
    assert (tmp_path / "log").read_text().splitlines() == [
        f"kind load image-archive {tmp_path / 'image.tar'} --name plannivo-1",
        "docker exec plannivo-1-control-plane mkdir -p /volume",
        "docker exec plannivo-1-control-plane ctr -n k8s.io tasks kill --signal SIGKILL 4711",
        "docker network inspect kind",
    ]


def test_kind_that_is_not_there_is_named(places: Places) -> None:
    (places.cache.parent / "path" / "kind").unlink()
    node = KindNode("plannivo-1", places, Progress(StringIO))
    with pytest.raises(ClusterError, match="needs `kind` on PATH"):
        node.load(Archive("image:1", Path("image.tar")))


def test_what_a_machine_lacks_is_said_in_a_sentence(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lacking(Mode.KIND, places) is None
    assert "CLUSTER=kwok or kind" in str(lacking(Mode.CURRENT, places))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "needs Linux and root" in str(lacking(Mode.KWOK, places))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(requirements, "PLUGINS", tmp_path / "none")
    bare = Places(places.cache, None, {"PATH": str(tmp_path / "path")})
    assert "Debian's packages" in str(lacking(Mode.KWOK, bare))
    for program in ("apt-get", *requirements.PACKAGES):
        if program != "buildah":
            (tmp_path / "path" / program).symlink_to("/bin/true")
    assert lacking(Mode.KWOK, bare) == (
        "A node needs: apt-get install --no-install-recommends buildah containernetworking-plugins"
    )


def test_ci_installs_what_a_node_lacks_and_leaves_what_is_there(tmp_path: Path) -> None:
    checkout, path, log = (tmp_path / name for name in ("checkout", "path", "log"))
    for folder in (checkout / ".ci", checkout / ".venv" / "bin", path):
        folder.mkdir(parents=True)
    (checkout / ".ci" / "run").write_text((ROOT / ".ci" / "run").read_text())
    (checkout / "tests").symlink_to(ROOT / "tests")
    python = checkout / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    for name in ("make", "npm", "go", "python3", "apt-get", *requirements.PACKAGES.keys() - {"buildah"}):
        (path / name).write_text(PROGRAM.replace("basename", "/usr/bin/basename"))
        (path / name).chmod(0o755)
    (path / "id").write_text("#!/bin/sh\necho 0\n")
    (path / "id").chmod(0o755)
    (path / "dirname").symlink_to("/usr/bin/dirname")
    env = {"PATH": str(path), "LOG": str(log), "HOME": str(tmp_path)}
    subprocess.run(["/bin/bash", checkout / ".ci" / "run"], env=env, check=True, capture_output=True)
    *_, venv, update, install, test = log.read_text().splitlines()
    assert (venv, update, test.split()[:2]) == ("make venv", "apt-get update -qq", ["make", "test"])
    # Docker's containerd is in the way of Debian's.
    assert set(install.split()[5:]) - {requirements.PLUGINS_PACKAGE} == {"buildah"}


def test_nodes_beside_each_other_share_no_address() -> None:
    one, other = Network(0), Network(1)
    assert {one.link, one.host, one.node, one.pods}.isdisjoint({other.link, other.host, other.node, other.pods})
    theirs = yaml.safe_dump({"clusters": [{"cluster": {"server": "https://127.0.0.1:6443"}}]})
    assert f"https://{one.host}:6443" in configuration.kubeconfig(theirs, one)


def test_a_cluster_with_a_real_node_plays_none(places: Places) -> None:
    assert KwokBackend("name", places.cache, places, Progress(), "198.18.0.1").components == COMPONENTS


@pytest.mark.skipif(Mode.from_environment() is Mode.KIND, reason="kind's node is Docker's to end")
def test_a_session_that_is_killed_leaves_no_process_and_no_interface(node_here: None, tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from tests.node.sandbox import sandbox\n"
        "with sandbox(Path(sys.argv[1])) as space:\n"
        "    space.start('sleeper', 'sleep', '4711')\n"
        "    print(space.network.link, flush=True); time.sleep(600)"
    )
    session = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "node")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert session.stdout is not None
    link = Path("/sys/class/net") / session.stdout.readline().strip()
    assert link.exists()
    session.kill()
    session.wait()
    session.stdout.close()
    deadline = time.monotonic() + 60
    while link.exists():
        assert time.monotonic() < deadline, "the interface is still there"
        time.sleep(0.05)
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [one for one in commands if str(tmp_path).encode() in one]
