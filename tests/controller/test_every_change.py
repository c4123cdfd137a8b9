"""Whatever changes in a spec is written: no change of a child is taken for what is there already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from notification_operator import compare
from notification_operator.offline.validating import judge
from notification_operator.pipeline import Pipeline
from notification_operator.resources import CHILDREN
from notification_operator.resources.base import Manifest
from tests.controller.acceptance.specs import PLACES, pipelines, prepare
from tests.controller.acceptance.verdicts import full_context

_PAIRS = st.sampled_from(PLACES).flatmap(lambda place: st.tuples(pipelines(place), pipelines(place)))


def _sound(manifest: Mapping[str, Any]) -> Pipeline | None:
    return judge({**manifest, "metadata": {"name": "booking"}}, "plannivo").pipeline


def _as_kept(manifest: Manifest) -> Mapping[str, Any]:
    kept: Mapping[str, Any] = json.loads(compare.trimmed(json.dumps(compare.stamped(manifest)).encode()))
    return kept


@seed(20260611)
@settings(max_examples=1500, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(_PAIRS)
def _no_change_is_missed(pair: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
    before, after = map(_sound, pair)
    if before is None or after is None:
        return
    for child in CHILDREN:
        first, second = child.build(before, full_context(before)), child.build(after, full_context(after))
        if first is None or second is None:
            continue
        assert compare.same(_as_kept(first), compare.stamped(first)), child.kind.name
        if first != second:
            assert not compare.same(_as_kept(first), compare.stamped(second)), child.kind.name


def test_no_change_of_a_spec_is_taken_for_what_is_there() -> None:
    prepare()
    _no_change_is_missed()
