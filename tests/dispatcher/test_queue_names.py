"""What others are told of a queue on PostgreSQL."""

from __future__ import annotations

import pytest

from notification_dispatcher.queue_names import depth_query


def test_the_depth_is_one_number_of_one_schema() -> None:
    assert depth_query("booking") == 'SELECT coalesce(sum(ready), 0)::bigint FROM "booking".tally'


@pytest.mark.parametrize("schema", ["", "Booking", "1a", 'a"; DROP TABLE job; --', "a" * 64, "a\n"])
def test_what_is_no_schemas_name_is_refused(schema: str) -> None:
    with pytest.raises(ValueError, match="is no name of a schema"):
        depth_query(schema)
