"""The chart by itself: what it makes of values, and which values it refuses."""

from __future__ import annotations

from tests.deploy.helm import CHART, Helm


def test_helm_finds_nothing_to_say_against_it(helm: Helm) -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in helm.run("lint", "--strict", CHART)
