"""Writes a dispatcher's folder of settings as a kubelet does: `dev` and the tests' pods keep one current with it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path


def swap(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Replace a folder's files all at once, by a kubelet's own means: links through `..data`, which is swapped.

    Returns whether anything was different.
    """
    current = folder / "..data"
    if current.exists() and {path.name: path.read_bytes() for path in current.iterdir()} == dict(files):
        return False
    fresh = folder / f"..{time.time_ns()}"
    fresh.mkdir()
    for name, content in files.items():
        (fresh / name).write_bytes(content)
    previous = current.resolve() if current.exists() else None
    link = folder / "..data_tmp"
    link.symlink_to(fresh.name)
    link.replace(current)
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    for path in folder.iterdir():
        if not path.name.startswith("..") and path.name not in files:
            path.unlink()
    if previous is not None:
        shutil.rmtree(previous)
    return True
