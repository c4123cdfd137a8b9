"""JSON Schemas of Grafana's own types: of a dashboard, and of each kind of panel that ours have.

The npm package @grafana/schema has the types, and ts-json-schema-generator reads them; `npm/package-lock.json` pins
both. What they make lies in the cache, by the lock file's hash, as built programs do.
"""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster.binaries import Places
from tests.cluster.locks import locked
from tests.cluster.progress import Progress
from tests.npm import install, run

Schema = dict[str, Any]

PACKAGES = Path(__file__).parent / "npm"
DASHBOARD = "dashboard"
PANELS = ("heatmap", "stat", "timeseries")
_TYPES = Path("node_modules", "@grafana", "schema", "dist", "types", "raw")
_SOURCES: Mapping[str, Path] = {
    DASHBOARD: _TYPES / "dashboard" / "x" / "types.gen.d.ts",
    **{kind: _TYPES / "composable" / kind / "panelcfg" / "x" / "types.gen.d.ts" for kind in PANELS},
}


@functools.cache
def schemas() -> Mapping[str, Schema]:
    """Each schema, with the types as its definitions."""
    places = Places.from_environment()
    digest = hashlib.sha256((PACKAGES / "package-lock.json").read_bytes()).hexdigest()[:12]
    folder = places.cache / f"grafana-schema-{digest}"
    with locked(places.cache / ".lock-grafana-schema", Progress(), "another process' download"):
        if not folder.exists():
            _make(folder)
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in _SOURCES}


def _make(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        install(PACKAGES, Path(scratch))
        made = Path(scratch) / "made"
        made.mkdir()
        for name, source in _SOURCES.items():
            generator = Path("node_modules", ".bin", "ts-json-schema-generator")
            types = ["--path", str(source), "--type", "*", "--no-type-check"]
            run([str(generator), *types, "--out", str(made / f"{name}.json")], Path(scratch))
        made.rename(folder)
