"""Writes the fleet's board: `python -m notification_operator.dashboards grafana/notification-dashboard.json`."""

from __future__ import annotations

import argparse
from pathlib import Path

from notification_operator.dashboards import fleet_board, to_json


def main() -> None:
    """Write the board to the path that is given."""
    parser = argparse.ArgumentParser(prog="python -m notification_operator.dashboards", description=__doc__)
    parser.add_argument("path", type=Path, help="file to write")
    parser.parse_args().path.write_text(to_json(fleet_board(), pretty=True), encoding="utf-8")


if __name__ == "__main__":
    main()
