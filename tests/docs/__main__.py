"""`python -m tests.docs FOLDER` writes the generated pages of reference; `make generate` calls it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.docs import cli_page, metrics_page

PAGES: Mapping[str, Callable[[], str]] = {"metrics.md": metrics_page.markdown, "cli.md": cli_page.markdown}

if __name__ == "__main__":
    for name, markdown in PAGES.items():
        (Path(sys.argv[1]) / name).write_text(markdown())
