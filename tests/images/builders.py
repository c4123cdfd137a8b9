"""Builds the product's images from their Dockerfiles: with Docker where it runs, else with buildah on a Debian base.

buildah needs root, and Debian for the base; neither needs a registry of images then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.cluster.binaries import Places
from tests.cluster.errors import ClusterError
from tests.cluster.locks import locked
from tests.cluster.progress import Progress, run
from tests.images.archive import Archive
from tests.images.base import base_image

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "deploy" / "images"
PRODUCT = ("operator", "dispatcher")
SBOM = "/opt/notification/sbom.cdx.json"

_PIP_CONFIGURATIONS = (Path("/etc/pip.conf"), Path.home() / ".config" / "pip" / "pip.conf")
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_KEPT_IMAGES = 60
"""With that many layers of earlier builds, all of them go."""


class Builder(Protocol):
    """Turns one Dockerfile into an archive."""

    def build(self, recipe: Path, name: str, target: Path) -> str:
        """Build the image `name`, write it to `target`, and return the SBOM that it carries."""


def version() -> str:
    """The product's version, which is its images' tag."""
    found: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return found


def product_images(folder: Path, builder: Builder, which: Iterable[str] = PRODUCT) -> list[Archive]:
    """Build the product's images into `folder`, each with its SBOM beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    built = []
    for process in which:
        image = Archive(f"plannivo/notification-{process}:{version()}", folder / f"notification-{process}.tar")
        image.path.unlink(missing_ok=True)
        sbom = builder.build(RECIPES / process / "Dockerfile", f"docker.io/{image.name}", image.path)
        (folder / f"notification-{process}.cdx.json").write_text(sbom)
        built.append(image)
    return built


def choose(places: Places, progress: Progress) -> Builder:
    """Docker if its engine answers, else buildah; say what is missing if neither can."""
    docker = places.which("docker")
    if docker is not None and _answers(docker, places):
        return DockerBuilder(docker, places, progress)
    if os.geteuid() != 0:
        raise ClusterError("Images are built by Docker, whose engine doesn't answer, or as root by buildah.")
    absent = [name for name in ("buildah", "debootstrap") if places.which(name) is None]
    if absent:
        raise ClusterError(f"Docker's engine doesn't answer, and buildah can't: apt-get install {' '.join(absent)}")
    return BuildahBuilder(places, progress)


def _answers(docker: Path, places: Places) -> bool:
    return subprocess.run([docker, "info"], capture_output=True, env=dict(places.env), check=False).returncode == 0


@dataclass(frozen=True)
class DockerBuilder:
    """Docker, with the Dockerfiles' own bases."""

    docker: Path
    places: Places
    progress: Progress

    def build(self, recipe: Path, name: str, target: Path) -> str:
        """Build, save, and read the SBOM out of a container that never runs."""
        with self.progress.step(f"building {name}") as step:
            options = [*_secrets(), "--build-arg", f"REVISION={_revision()}", "-f", recipe, "-t", name]
            run(step, [self.docker, "build", "--quiet", *options, ROOT], self._env)
            run(step, [self.docker, "save", "-o", target, name], self._env)
            container = run(step, [self.docker, "create", name], self._env).split()[-1]
            try:
                copy = target.with_suffix(".sbom")
                run(step, [self.docker, "cp", f"{container}:{SBOM}", copy], self._env)
                sbom = copy.read_text()
                copy.unlink()
            finally:
                run(step, [self.docker, "rm", container], self._env)
        return sbom

    @property
    def _env(self) -> dict[str, str]:
        return {**self.places.env, "DOCKER_BUILDKIT": "1"}


@dataclass(frozen=True)
class BuildahBuilder:
    """buildah, its storage in the cache, so that a layer whose inputs are the same isn't built again."""

    places: Places
    progress: Progress

    def build(self, recipe: Path, name: str, target: Path) -> str:
        """Build on the base image, write the archive, and read the SBOM out of the mounted image."""
        base = base_image(self.places, self.progress)
        with (
            locked(self.places.cache / ".lock-buildah", self.progress, "another process' images"),
            self.progress.step(f"building {name}") as step,
        ):

            def buildah(*arguments: object) -> str:
                return run(step, [*self._command(), *arguments], self.places.env)

            present = buildah("images", "--all", "--quiet", "--no-trunc").split()
            if len(present) > _KEPT_IMAGES:
                buildah("rmi", "--all", "--force")
            if base.name not in buildah("images", "--noheading", "--format", "{{.Name}}:{{.Tag}}").split():
                buildah("pull", "--quiet", f"docker-archive:{base.path}")
            arguments = {"BASE": base.name, "BUILDER": base.name, "REVISION": _revision()}
            options = [part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")]
            options += [*_secrets(), "--isolation", "chroot", "--layers", "--quiet"]
            buildah("bud", *options, "-f", recipe, "-t", name, ROOT)
            buildah("push", "--quiet", name, f"docker-archive:{target}:{name.removeprefix('docker.io/')}")
            container = buildah("from", name).split()[-1]
            try:
                return (Path(buildah("mount", container).split()[-1]) / SBOM.removeprefix("/")).read_text()
            finally:
                buildah("rm", container)

    def _command(self) -> list[object]:
        folder = self.places.cache / "buildah"
        return ["buildah", "--root", folder / "root", "--runroot", folder / "run"]


def _secrets() -> list[str]:
    """How this machine reaches its packages' index, for the time of the build."""
    options = []
    for name, files in (("pip.conf", _PIP_CONFIGURATIONS), ("ca.crt", (_AUTHORITIES,))):
        if found := next((path for path in files if path.exists()), None):
            options += ["--secret", f"id={name},src={found}"]
    return options


def _revision() -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown"
    answer = subprocess.run([git, "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"
