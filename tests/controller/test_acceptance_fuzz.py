"""The API server and the operator agree on every spec: whether it is accepted, and what is stored.

What is accepted renders, every child of it passes the API server, is stored as it was written, and its pod passes the
restricted Pod Security Standard. Specs are drawn from the CRD's own schema, so that a field that is added is drawn too.
FUZZ_SEED repeats a run, FUZZ_SPECS says how many specs are drawn.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from notification_operator.kinds import POD
from tests.cluster import Cluster, install_crds
from tests.cluster.crds import keda_crds
from tests.controller.acceptance.dry_run import DryRun
from tests.controller.acceptance.specs import PLACES, Place, pipelines, prepare
from tests.controller.acceptance.verdicts import DisagreementError, check

SEED = int(os.environ.get("FUZZ_SEED", "20260611"))
SPECS = int(os.environ.get("FUZZ_SPECS", "5000"))

_SETTINGS = settings(
    max_examples=math.ceil(SPECS / len(PLACES)), database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture
def restricted(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A namespace that enforces the restricted Pod Security Standard, on a cluster that knows KEDA's kinds."""
    cluster.run_kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    install_crds(cluster, keda_crds())
    yield namespace
    cluster.run_kubectl("delete", *(part for path in keda_crds() for part in ("-f", str(path))))


def _drawn(place: Place) -> list[dict[str, Any]]:
    """The pipelines of one place, all that the seed gives."""
    found: list[dict[str, Any]] = []

    @seed(SEED)
    @settings(_SETTINGS, phases=[Phase.generate])
    @given(pipelines(place))
    def collect(manifest: dict[str, Any]) -> None:
        found.append(manifest)

    collect()
    return found


def _find_smallest(runner: asyncio.Runner, server: DryRun, place: Place) -> None:
    """The same once more, one by one: Hypothesis looks for the smallest pipeline that the two disagree on."""

    @seed(SEED)
    @_SETTINGS
    @given(pipelines(place))
    def agree(manifest: dict[str, Any]) -> None:
        runner.run(check(server, manifest))

    agree()


async def _judge(server: DryRun, counts: Counter[str]) -> tuple[Place, DisagreementError] | None:
    """Draw the pipelines of each place while the API server looks at those of the one before."""
    await asyncio.to_thread(prepare)
    drawn = await asyncio.to_thread(_drawn, PLACES[0])
    for place, following in zip(PLACES, [*PLACES[1:], PLACES[0]], strict=True):
        answers = asyncio.gather(*(check(server, manifest) for manifest in drawn), return_exceptions=True)
        drawn = await asyncio.to_thread(_drawn, following)
        for answer in await answers:
            if isinstance(answer, DisagreementError):
                return place, answer
            if isinstance(answer, BaseException):
                raise answer
            counts["refused" if answer is None else "accepted"] += 1
    return None


@pytest.mark.timeout(900)
def test_the_api_server_and_the_operator_agree(cluster: Cluster, restricted: str) -> None:
    counts: Counter[str] = Counter()
    with asyncio.Runner() as runner:
        server = runner.run(DryRun(cluster.kubeconfig, restricted).__aenter__())
        try:
            found = runner.run(_judge(server, counts))
            told = f"FUZZ_SEED={SEED} FUZZ_SPECS={SPECS}: {dict(counts)}, {server.asked} requests"
            if found is not None:
                _find_smallest(runner, server, found[0])
                raise AssertionError(told) from found[1]
        finally:
            runner.run(server.__aexit__())
    assert counts["accepted"] > counts.total() / 4, told


async def test_the_namespace_would_refuse_a_pod_that_asks_for_more(cluster: Cluster, restricted: str) -> None:
    container = {"name": "a", "image": "a", "securityContext": {"privileged": True}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [container]}}
    async with DryRun(cluster.kubeconfig, restricted) as server:
        assert "violates PodSecurity" in (await server.create(POD, pod)).refusal
