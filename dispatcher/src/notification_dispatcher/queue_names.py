"""What others need to know of a queue on PostgreSQL: its schema's name, and how long it is. Names only.

The engine (`queues.postgresql`) keeps its tables by these names; the operator writes the query into the autoscaler's
trigger, and the settings check a schema's name with the pattern.
"""

from __future__ import annotations

import re

DEFAULT_SCHEMA = "notifications"
SCHEMA_PATTERN = r"^[a-z_][a-z0-9_]{0,62}$"
"""A schema's name: an identifier that PostgreSQL takes as it is, and no longer than it keeps."""
TALLY = "tally"
"""The table of counts. Each row has a share of them, so that dispatchers need not wait for each other."""


def depth_query(schema: str) -> str:
    """SQL for the number of jobs that are due and wait: one row, one whole number, at no cost worth naming.

    Jobs that are scheduled for later are left out: nobody is needed for them yet. Raises ValueError for a name that
    is no schema's.
    """
    if not re.fullmatch(SCHEMA_PATTERN, schema):
        raise ValueError(f"{schema!r} is no name of a schema: lower-case letters, digits and underscores, at most 63")
    return f'SELECT coalesce(sum(ready), 0)::bigint FROM "{schema}".{TALLY}'  # noqa: S608  checked above
