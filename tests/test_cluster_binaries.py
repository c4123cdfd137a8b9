"""Where the test cluster's binaries come from: lookup order, cache, lock and error sentences. A fake `go` builds."""

import re
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from tests.cluster import binaries
from tests.cluster.binaries import Places, ensure, find
from tests.cluster.catalog import BINARIES, MODULES, kubernetes_version, pinned_version
from tests.cluster.errors import ClusterError, GoUnavailableError
from tests.cluster.kwok import KwokBackend
from tests.cluster.progress import Progress

ETCD = BINARIES["etcd"]

# Appends each build to go.log, and writes what -o names.
GO = """#!/bin/sh
[ "$1" = env ] && echo go1.26.8 && exit 0
printf '%s CGO_ENABLED=%s GOWORK=%s\\n' "$*" "$CGO_ENABLED" "$GOWORK" >> "$GO_LOG"
for word; do [ "$before" = -o ] && printf built > "$word"; before=$word; done
"""

Script = Callable[[str, str], Path]


@pytest.fixture
def said() -> StringIO:
    """What was reported."""
    return StringIO()


@pytest.fixture
def progress(said: StringIO) -> Progress:
    """A reporter to `said`."""
    return Progress(lambda: said)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """An empty cache, an empty assets folder and an empty PATH."""
    for name in ("assets", "path"):
        (tmp_path / name).mkdir()
    env = {"PATH": str(tmp_path / "path"), "GO_LOG": str(tmp_path / "go.log")}
    return Places(tmp_path / "cache", tmp_path / "assets", env)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Return a function that writes an executable at a path below the test's folder."""

    def write(where: str, text: str) -> Path:
        path = tmp_path / where
        path.write_text(text)
        path.chmod(0o755)
        return path

    return write


def versioned(version: str) -> str:
    """Return a program that says it has this version, as etcd does."""
    return f"#!/bin/sh\necho 'etcd Version: {version}'\n"


def built(places: Places) -> list[str]:
    """Return the fake go's build commands."""
    log = Path(places.env["GO_LOG"])
    return log.read_text().splitlines() if log.exists() else []


def test_order_is_assets_then_path_then_cache(places: Places, progress: Progress, script: Script) -> None:
    slot = places.slot(ETCD)
    slot.parent.mkdir(parents=True)
    slot.touch()
    assert find(ETCD, places, progress) == slot
    on_path = script("path/etcd", versioned(ETCD.version()))
    assert find(ETCD, places, progress) == on_path
    asset = script("assets/etcd", versioned(ETCD.version()))
    assert find(ETCD, places, progress) == asset


def test_other_versions_are_passed_over_and_assets_aloud(
    places: Places, progress: Progress, script: Script, said: StringIO
) -> None:
    script("path/etcd", versioned("3.4.0"))
    assert find(ETCD, places, progress) is None
    assert said.getvalue() == ""
    asset = script("assets/etcd", versioned("3.5.1"))
    assert find(ETCD, places, progress) is None
    assert said.getvalue() == f"{asset} is 3.5.1, not {ETCD.version()}: passed over\n"


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "not a program", "#!/nowhere\n"])
def test_program_that_tells_no_version_is_passed_over(
    places: Places, progress: Progress, script: Script, text: str, said: StringIO
) -> None:
    script("assets/etcd", text)
    assert find(ETCD, places, progress) is None
    assert "an unknown version" in said.getvalue()


@pytest.mark.parametrize(
    "words",
    ["Kubernetes v1.36.3", "kwok version v1.36.3 go1.26.8 (linux/amd64)", "Client Version: v1.36.3\nKustomize v5.8.1"],
)
def test_version_is_read_from_each_programs_wording(script: Script, words: str) -> None:
    program = script("program", f"#!/bin/sh\necho '{words}'\n")
    assert binaries.reported_version(program, ["--version"], {}) == "1.36.3"


def test_missing_ones_are_built_once_into_the_cache(places: Places, progress: Progress, script: Script) -> None:
    script("path/go", GO)
    found = ensure(["kube-apiserver", "etcd"], places, progress)
    assert found == {name: places.slot(BINARIES[name]) for name in ("kube-apiserver", "etcd")}
    assert [path.read_text() for path in found.values()] == ["built", "built"]
    assert ensure(["kube-apiserver", "etcd"], places, progress) == found
    server, etcd = built(places)
    stamp = f"-X k8s.io/component-base/version.gitVersion={kubernetes_version()} -X "
    assert server.startswith(f"build -trimpath -ldflags -s -w {stamp}")
    assert server.endswith("k8s.io/kubernetes/cmd/kube-apiserver CGO_ENABLED=0 GOWORK=off")
    major, minor, _ = kubernetes_version().removeprefix("v").split(".")
    assert f"gitMajor={major} " in server
    assert f"gitMinor={minor} " in server
    assert "go.etcd.io/etcd/server/v3 CGO_ENABLED=0" in etcd
    assert list(places.cache.glob("*.partial")) == []


def test_two_builders_build_once(places: Places, progress: Progress, script: Script) -> None:
    script("path/go", GO)
    threads = [threading.Thread(target=ensure, args=(["etcd"], places, progress)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built(places)) == 1


def test_failed_build_says_the_compilers_words_and_leaves_nothing(
    places: Places, progress: Progress, script: Script
) -> None:
    script(
        "path/go", "#!/bin/sh\n[ $1 = env ] && echo go1.26.8 && exit\necho 'dial tcp: no route to host' >&2; exit 1\n"
    )
    with pytest.raises(ClusterError, match=r"etcd .* didn't build\. .*GOPROXY.*\n.*\ndial tcp: no route to host"):
        ensure(["etcd"], places, progress)
    assert [path.name for path in places.cache.iterdir()] == [".lock"]


def test_interrupted_build_leaves_nothing(places: Places, script: Script) -> None:
    def clock() -> float:
        if Path(places.env["GO_LOG"]).exists():
            raise KeyboardInterrupt
        return 0.0

    script("path/go", GO.replace("for word", "exec /bin/sleep 60\nfor word"))
    with pytest.raises(KeyboardInterrupt):
        ensure(["etcd"], places, Progress(StringIO, clock))
    assert [path.name for path in places.cache.iterdir()] == [".lock"]


def test_missing_go_is_named_with_what_to_do(places: Places, progress: Progress) -> None:
    sentence = r"^etcd, kwok must be built, and there is no `go` on PATH\. Install Go 1\.26\.0 or newer .*kwokctl.*KUBE"
    with pytest.raises(GoUnavailableError, match=sentence):
        ensure(["etcd", "kwok"], places, progress)


@pytest.mark.parametrize(
    ("go", "reason"),
    [
        ("echo go1.20.4", r"1\.20\.4"),
        ("echo 'go.mod requires go >= 1.26.0 (running go 1.24.1; GOTOOLCHAIN=local)' >&2; exit 1", "running go 1.24.1"),
    ],
)
def test_old_go_is_named_with_what_to_do(
    places: Places, progress: Progress, script: Script, go: str, reason: str
) -> None:
    script("path/go", f"#!/bin/sh\n{go}\n")
    with pytest.raises(GoUnavailableError, match=rf"go is too old \(.*{reason}.*\)\. Install Go 1\.26\.0 or newer"):
        ensure(["etcd"], places, progress)


def test_kwokctl_downloads_where_go_is_missing(
    places: Places, progress: Progress, script: Script, said: StringIO
) -> None:
    backend = KwokBackend("name", places.cache, places, progress)
    with pytest.raises(GoUnavailableError):
        backend._tools()
    kwokctl = script("path/kwokctl", "#!/bin/sh\necho kwokctl version v0.9.0\n")
    assert backend._tools() == {"kwokctl": kwokctl}
    assert "kwokctl downloads the cluster's binaries" in said.getvalue()


def test_module_without_go_is_an_error_too(places: Places, progress: Progress) -> None:
    with pytest.raises(GoUnavailableError, match=r"example\.com/module is read from the Go module cache: install Go"):
        binaries.module_dir("prometheus-operator", "example.com/module", places, progress)


def test_places_come_from_the_environment() -> None:
    places = Places.from_environment({"XDG_CACHE_HOME": "/cache", "KUBEBUILDER_ASSETS": "/assets"})
    assert (places.cache, places.assets) == (Path("/cache/plannivo-notifications"), Path("/assets"))
    assert re.fullmatch(rf"etcd-3\.\d+\.\d+-{sys.platform}-\w+", places.slot(ETCD).parent.name)
    unset = Places.from_environment({"KUBEBUILDER_ASSETS": ""})
    assert (unset.cache, unset.assets) == (Path.home() / ".cache" / "plannivo-notifications", None)


def test_tags_reach_the_build(places: Places, progress: Progress, script: Script) -> None:
    script("path/go", GO)
    ensure(["prometheus"], places, progress)
    (command,) = built(places)
    assert command.startswith("build -trimpath -tags remove_all_sd,enable_kubernetes_sd -ldflags -s -w -X ")


@pytest.mark.parametrize("name", BINARIES)
def test_every_binary_is_a_tool_of_its_module(name: str) -> None:
    binary = BINARIES[name]
    go_mod = (MODULES / binary.folder / "go.mod").read_text()
    assert re.search(rf"^(tool |\t){re.escape(binary.package)}$", go_mod, re.MULTILINE)
    assert re.fullmatch(r"\d+\.\d+\.\d+", binary.version())


def test_module_that_is_not_required_is_an_error(places: Places) -> None:
    with pytest.raises(ClusterError, match=r"doesn't require example\.com/absent; run `go mod tidy`"):
        pinned_version(MODULES / "kwok" / "go.mod", "example.com/absent")
    with pytest.raises(FileNotFoundError):
        find(ETCD, replace(places, modules=Path("/nowhere")), Progress(StringIO))
