"""Writes image archives as `docker save` does, so that images of one folder or one program need no builder.

`base` makes the image that others start from with it, the end-to-end tests those of static binaries.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Archive:
    """One image in one file."""

    name: str
    """With its tag."""
    path: Path


def program_image(name: str, programs: Mapping[str, Path], folder: Path, user: int = 65532) -> Archive:
    """An image of static binaries alone, by their paths in it; the first one is what it runs."""
    layer = folder / "layer.tar"
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(layer, "w") as tar:
        for place, binary in programs.items():
            entry = tar.gettarinfo(binary.resolve(), place.removeprefix("/"))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mode = 0o755
            with binary.open("rb") as source:
                tar.addfile(entry, source)
    try:
        first = next(iter(programs))
        return layer_image(name, layer, folder / "image.tar", {"Entrypoint": [first], "User": f"{user}:{user}"})
    finally:
        layer.unlink()


def layer_image(name: str, layer: Path, target: Path, config: Mapping[str, str | Sequence[str]]) -> Archive:
    """An image of one layer."""
    with layer.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    machine = platform.machine()
    image = {
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        # Whoever builds upon it counts the layers by these.
        "history": [{"created_by": "tests.images"}],
    }
    described = json.dumps(image).encode()
    config_name = f"{hashlib.sha256(described).hexdigest()}.json"
    layer_name = f"{digest}/layer.tar"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]).encode()
    partial = target.with_suffix(".partial")
    with tarfile.open(partial, "w") as tar:
        for entry_name, data in ((config_name, described), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(entry_name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        tar.add(layer, layer_name)
    partial.rename(target)
    return Archive(name, target)
