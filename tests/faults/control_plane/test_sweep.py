"""The fault sweep: whatever befalls the operator at any of its writes, it comes to where it comes to without.

Each test is one workload under one fault, at each write in turn that the workload takes when nothing goes wrong. What
a pipeline comes to, and how often each object was made and deleted, must equal the fault-free run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests.faults.control_plane.actions import Fault
from tests.faults.control_plane.rig import Bench
from tests.faults.control_plane.sweep import WORKLOADS, Sweep

pytestmark = pytest.mark.asyncio(loop_scope="module")

STATUS = "patch notificationpipelines/booking/status #"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sweep(request: pytest.FixtureRequest, bench: Bench) -> AsyncIterator[Sweep]:
    """A sweep that runs all plans of the chosen tests, in the order of the tests."""
    running = Sweep(bench)
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.originalname == test_no_divergence.__name__:
            chosen = item.callspec.params
            running.begin(str(chosen["workload"]), Fault(str(chosen["fault"])))
    yield running
    await running.close()


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("workload", WORKLOADS)
async def test_no_divergence(
    sweep: Sweep, workload: str, fault: Fault, record_property: Callable[[str, object], None]
) -> None:
    outcomes = await sweep.outcomes(workload, fault)
    record_property("plans", len(outcomes))
    assert outcomes
    diverged = [f"{outcome.plan}\n{outcome.divergence}" for outcome in outcomes if outcome.divergence]
    assert not diverged, f"repeat it with -k {workload}-{fault}:\n" + "\n\n".join(diverged)
    # How often a status is written depends on how fast the pods become ready, from the second time on.
    missed = [outcome.plan.write for outcome in outcomes if not outcome.reached]
    assert [write for write in missed if not write.startswith(STATUS) or write.endswith("#1")] == []


async def test_a_write_that_never_happened_is_a_divergence(sweep: Sweep) -> None:
    divergence = await sweep.swallow("rotation", "booking-slack-alerts", seconds=3)
    assert "SLACK_ALERT_WEBHOOK_URL" in divergence
