"""Finds the binaries that tests need, and builds the missing ones from the pinned Go modules.

Called by the backends before they start a cluster, by the tests that need a Prometheus, and by conftest before the
first test's clock runs. The order is `KUBEBUILDER_ASSETS`, PATH, the cache, a build; a program is only taken from the
first two when its version is the pinned one, as a control plane of mixed versions proves nothing.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.catalog import BINARIES, MODULES, Binary
from tests.cluster.errors import ClusterError, GoUnavailableError
from tests.cluster.locks import locked
from tests.cluster.progress import Progress, run

VERSION_SECONDS = 20.0


@dataclass(frozen=True)
class Places:
    """Where binaries are looked for and kept."""

    cache: Path
    """Folder of built binaries, one subfolder per name, version, tags and platform."""
    assets: Path | None = None
    """The user's own folder of binaries, from KUBEBUILDER_ASSETS; None when unset."""
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    """Environment of `go` and of the version checks; its PATH is searched."""
    modules: Path = MODULES

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> "Places":
        """Read the places from the environment, as the command line and the tests do."""
        cache = Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plannivo-notifications"
        assets = env.get("KUBEBUILDER_ASSETS")
        return cls(cache, Path(assets) if assets else None, dict(env))

    def slot(self, binary: Binary) -> Path:
        """Return where the cache keeps `binary`, whether or not it is there."""
        built = (binary.name, binary.version(self.modules), binary.tags.replace(",", "+"))
        key = "-".join(part for part in (*built, sys.platform, platform.machine()) if part)
        return self.cache / key / binary.name

    def which(self, program: str) -> Path | None:
        """Return the program of that name on PATH."""
        found = shutil.which(program, path=self.env.get("PATH"))
        return Path(found) if found else None


def ensure(names: Iterable[str], places: Places, progress: Progress) -> dict[str, Path]:
    """Return a path for every name, building what no place has; two processes never build at once."""
    wanted = [BINARIES[name] for name in names]
    found = {binary.name: path for binary in wanted if (path := find(binary, places, progress))}
    missing = [binary for binary in wanted if binary.name not in found]
    if not missing:
        return found
    _check_go(missing, places)
    with locked(places.cache / ".lock", progress, "another process' build"):
        for number, binary in enumerate(missing, 1):
            # Another process may have built it while we waited.
            if not places.slot(binary).exists():
                _build(binary, f"[{number}/{len(missing)}]", places, progress)
            found[binary.name] = places.slot(binary)
    return found


def find(binary: Binary, places: Places, progress: Progress) -> Path | None:
    """Return the binary if some place has it in the pinned version; say which ones were passed over."""
    version = binary.version(places.modules)
    for candidate in _candidates(binary, places):
        actual = reported_version(candidate, binary.version_args, places.env)
        if actual == version:
            return candidate
        if candidate.parent == places.assets:
            progress.note(f"{candidate} is {actual or 'of an unknown version'}, not {version}: passed over")
    slot = places.slot(binary)
    return slot if slot.exists() else None


def _candidates(binary: Binary, places: Places) -> Iterator[Path]:
    if places.assets is not None and (path := places.assets / binary.name).is_file():
        yield path
    if path_hit := places.which(binary.name):
        yield path_hit


def reported_version(program: Path, version_args: Iterable[str], env: Mapping[str, str]) -> str | None:
    """Return the version a program says it has, without a leading v; None if it doesn't say."""
    try:
        answer = subprocess.run(
            [program, *version_args],
            capture_output=True,
            text=True,
            timeout=VERSION_SECONDS,
            env=dict(env),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\bv?(\d+\.\d+\.\d+[^\s\",]*)", answer.stdout)
    return match[1] if match else None


def _check_go(missing: Iterable[Binary], places: Places) -> None:
    """Fail before the first build if Go can't do it, and name what to install."""
    names = ", ".join(binary.name for binary in missing)
    needed, folder = max(
        ((_go_directive(folder / "go.mod"), folder) for folder in {places.modules / one.folder for one in missing}),
        key=lambda found: _numbers(found[0]),
    )
    advice = (
        f"Install Go {needed} or newer (https://go.dev/doc/install), put kwokctl on PATH so that it downloads them, "
        "or point KUBEBUILDER_ASSETS at a folder that has them."
    )
    go = places.which("go")
    if go is None:
        raise GoUnavailableError(f"{names} must be built, and there is no `go` on PATH. {advice}")
    # In the module's folder Go switches to the toolchain it asks for, where GOTOOLCHAIN lets it.
    answer = subprocess.run(
        [go, "env", "GOVERSION"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**places.env, "GOWORK": "off"},
        check=False,
    )
    version = answer.stdout.strip().removeprefix("go")
    if answer.returncode != 0 or _numbers(version) < _numbers(needed):
        reason = version or answer.stderr.strip()
        raise GoUnavailableError(f"{names} must be built, and {go} is too old ({reason}). {advice}")


def _go_directive(go_mod: Path) -> str:
    match = re.search(r"^go (\S+)$", go_mod.read_text(), re.MULTILINE)
    if match is None:
        raise ClusterError(f"{go_mod} has no `go` line.")
    return match[1]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _build(binary: Binary, position: str, places: Places, progress: Progress) -> None:
    """Build into a folder beside the cache's slot and rename it there, so that no half-built binary is ever found."""
    version = binary.version(places.modules)
    slot = places.slot(binary)
    partial = slot.parent.with_name(f"{slot.parent.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tags = ["-tags", binary.tags] if binary.tags else []
    command = ["go", "build", "-trimpath", *tags, "-ldflags", binary.ldflags(version), "-o", partial / binary.name]
    env = {**places.env, "CGO_ENABLED": "0", "GOWORK": "off"}
    try:
        with progress.step(f"{position} building {binary.name} {version}") as step:
            run(step, [*command, binary.package], env, places.modules / binary.folder)
        shutil.rmtree(slot.parent, ignore_errors=True)
        partial.rename(slot.parent)
    except ClusterError as error:
        hint = "If modules can't be downloaded, see `go env GOPROXY` and the network."
        raise ClusterError(f"{binary.name} {version} didn't build. {hint}\n{error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def module_dir(folder: str, module: str, places: Places, progress: Progress) -> Path:
    """Return the folder of a pinned module's sources, downloading it when needed."""
    if places.which("go") is None:
        needed = _go_directive(places.modules / folder / "go.mod")
        raise GoUnavailableError(f"{module} is read from the Go module cache: install Go {needed} or newer.")
    env = {**places.env, "GOWORK": "off"}
    with progress.step(f"downloading {module}") as step:
        answer = run(step, ["go", "mod", "download", "-json", module], env, places.modules / folder)
    return Path(json.loads(answer[answer.index("{") :])["Dir"])
