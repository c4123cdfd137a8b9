"""Writes the boards: `python -m notification_operator.dashboards FLEET TEMPLATE`, which `make generate` runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from notification_operator.dashboards import fleet_board, pipeline_board, to_json
from notification_operator.dashboards.filling import BLANK


def main() -> None:
    """Write both boards to the paths that are given."""
    parser = argparse.ArgumentParser(prog="python -m notification_operator.dashboards", description=__doc__)
    parser.add_argument("fleet", type=Path, help="file for the board of all pipelines")
    parser.add_argument("template", type=Path, help="file for what the operator fills in for each pipeline")
    paths = parser.parse_args()
    try:
        boards = {paths.fleet: fleet_board(), paths.template: pipeline_board(BLANK)}
    except ModuleNotFoundError as error:
        parser.exit(1, f"{error}: it is in the extra `boards`: pip install 'plannivo-notifications[boards]'.\n")
    for path, board in boards.items():
        path.write_text(to_json(board, pretty=True), encoding="utf-8")


if __name__ == "__main__":
    main()
