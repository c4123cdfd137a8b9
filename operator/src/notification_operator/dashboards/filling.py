"""A pipeline's board as text, filled into the template that `python -m notification_operator.dashboards` writes.

`resources.dashboard` asks for it. To make a board of its panels takes Grafana's SDK: 0.3 s and 21 MiB to import, and
40 times as long for each board.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from notification_operator.dashboards.identity import BoardInput, board_uid, to_json

TEMPLATE = "pipeline.json"
"""The file, beside this module."""
BLANK = BoardInput(
    namespace="@NAMESPACE@",
    pipeline="@PIPELINE@",
    metrics_prefix="@PREFIX@_",
    datasource="",
    latency_threshold_ms=900_000_001,
    backlog_threshold=900_000_002,
    failure_threshold=900_000_003,
)
"""What the template is made from: each value stands in it wherever a pipeline's own goes, and nowhere else."""
_DATASOURCE = "datasource"
_CHOSEN = f"${{{_DATASOURCE}}}"
"""The data source that is chosen on the board."""


def pipeline_text(board: BoardInput) -> str:
    """The JSON of a pipeline's board.

    Its names must be names of Kubernetes and its prefix the beginning of a metric's: they are put in as they are.
    """
    values = _values(board)
    parts = list(_parts(fixed=bool(board.datasource)))
    parts[1::2] = [values[blank] for blank in parts[1::2]]
    return "".join(parts)


def _values(board: BoardInput) -> dict[str, str]:
    """What each blank is filled with."""
    return {
        BLANK.namespace: board.namespace,
        BLANK.pipeline: board.pipeline,
        BLANK.metrics_prefix: board.metrics_prefix,
        board_uid(BLANK.namespace, BLANK.pipeline): board_uid(board.namespace, board.pipeline),
        str(BLANK.latency_threshold_ms): str(board.latency_threshold_ms),
        str(BLANK.backlog_threshold): str(board.backlog_threshold),
        str(BLANK.failure_threshold): str(board.failure_threshold),
        _CHOSEN: json.dumps(board.datasource, ensure_ascii=False)[1:-1],
    }


@cache
def _parts(*, fixed: bool) -> tuple[str, ...]:
    """The template's text and, at each second place, a blank. `fixed`: nobody is to choose a data source."""
    template: dict[str, Any] = json.loads(files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8"))
    blanks = set(_values(BLANK))
    if fixed:
        chosen = template["templating"]
        chosen["list"] = [variable for variable in chosen["list"] if variable["name"] != _DATASOURCE]
    else:
        blanks.remove(_CHOSEN)
    return tuple(re.split(f"({'|'.join(map(re.escape, blanks))})", to_json(template)))
