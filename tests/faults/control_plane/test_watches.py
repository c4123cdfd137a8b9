"""What the operator is told may be late, old, cut off, refused or missing: it must neither act on it nor be lost.

Each test has an operator of its own behind a proxy that does the harm. The API server is the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from notification_operator import kinds
from notification_operator.kinds import Kind
from tests.controller.pipelines import condition
from tests.faults.control_plane.actions import Recording, ended, frozen, refused, watch_error
from tests.faults.control_plane.proxy import WRITES, Action, Call, Matching
from tests.faults.control_plane.rig import NAME, Bench, Rig, rig

pytestmark = pytest.mark.asyncio(loop_scope="module")

MONITORING = "monitoring.coreos.com"
DRAIN = {"workers": {"drainTimeout": "40s"}}
DATABASE = {"engine": "PostgreSQL", "postgresql": {"dsnSecretRef": {"name": "database", "key": "uri"}}}
AUTOSCALED: dict[str, Any] = {"queue": DATABASE, "autoscaling": {}}
DEPLOYMENT = ("Deployment", NAME)
SERVICE = ("Service", NAME)


@pytest_asyncio.fixture(loop_scope="module")
async def broken(request: pytest.FixtureRequest, bench: Bench) -> AsyncIterator[Rig]:
    """An operator with nothing to do yet. It looks at everything again every second if asked for by `resync`."""
    options = getattr(request, "param", ())
    async with rig(bench, request.node.originalname, options) as made:
        yield made


resync = pytest.mark.parametrize("broken", [("--resync", "1")], indirect=True, ids=["resync"])


def requests(verb: str, kind: Kind) -> Matching:
    return lambda call: call.verb == verb and call.resource == kind.plural


def writes(call: Call) -> bool:
    return call.verb in WRITES and call.resource not in {"leases", "events"}


async def counted(broken: Rig, matching: Matching, seconds: float) -> int:
    """How many such requests it makes in this time. Nothing can be awaited: it is their absence that is looked for."""
    before = broken.proxy.count(matching)
    await asyncio.sleep(seconds)
    return broken.proxy.count(matching) - before


async def test_stale_lists_and_frozen_watches_after_a_restart_revert_nothing(broken: Rig) -> None:
    await broken.brought()
    old = Recording()
    with broken.proxy.fault(lambda call: call.verb == "list", old.record):
        await broken.operator.crash()
        await broken.reconciled()
    await broken.hand.change(DRAIN)
    await broken.right()
    before = dict(broken.view.objects)

    with (
        broken.proxy.fault(lambda call: call.verb == "list", old.play),
        broken.proxy.fault(lambda call: call.verb == "watch", frozen),
    ):
        await broken.operator.crash()
        await broken.reconciled()
        deployment = broken.view.objects[DEPLOYMENT]
        assert deployment["metadata"]["generation"] == before[DEPLOYMENT]["metadata"]["generation"]
        assert broken.view.pipeline(NAME)["status"] == before["NotificationPipeline", NAME]["status"]
    broken.proxy.cut()
    await broken.operator.crash()
    await broken.reconciled()
    for name, found in before.items():
        assert broken.view.objects[name]["metadata"]["uid"] == found["metadata"]["uid"], name
        assert broken.view.objects[name].get("spec") == found.get("spec"), name
    assert not broken.view.deleted


@pytest.mark.parametrize("expired", [refused(410), watch_error(410)], ids=["answered", "told"])
async def test_what_was_deleted_while_the_watch_was_cut_off_comes_back(broken: Rig, expired: Action) -> None:
    await broken.brought()
    uid = broken.view.objects[SERVICE]["metadata"]["uid"]
    with broken.proxy.fault(requests("list", kinds.SERVICE), refused(503)):
        with broken.proxy.fault(requests("watch", kinds.SERVICE), expired):
            broken.proxy.cut()
            await broken.hand.delete(kinds.SERVICE)
            await broken.until(lambda: broken.view.deleted[SERVICE], "the Service is deleted")
            await asyncio.sleep(1)  # for the operator to see the Gone; nothing shows when it has
        assert SERVICE not in broken.view.objects, "it still believes that the Service is there"
    await broken.until(lambda: SERVICE in broken.view.objects, "the Service is restored", 40)
    assert broken.view.objects[SERVICE]["metadata"]["uid"] != uid
    await broken.right()


@pytest.mark.parametrize(
    "harm", [refused(410), watch_error(410), ended(), refused(403)], ids=["410", "expired", "ended", "403"]
)
async def test_a_watch_that_never_works_is_tried_ever_more_slowly(broken: Rig, harm: Action) -> None:
    with broken.proxy.fault(requests("watch", kinds.SERVICE), harm):
        await broken.brought()
        await counted(broken, requests("list", kinds.SERVICE), 5)
        assert await counted(broken, requests("list", kinds.SERVICE), 10) <= 5
        assert await counted(broken, writes, 0) == 0
    assert await broken.healthy()


async def test_an_api_that_is_missing_is_looked_for_now_and_then_and_used_once_it_is_there(broken: Rig) -> None:
    with broken.proxy.fault(lambda call: call.group == MONITORING, refused(404)):
        await broken.hand.prepare()
        broken.operator.start()
        await broken.hand.create()
        await broken.until(
            lambda: condition(broken.view.pipeline(NAME), "Ready").get("status") == "True", "Ready without it"
        )
        stored = broken.view.pipeline(NAME)
        assert condition(stored, "MonitoringSelected")["reason"] == "MonitoringAPIAbsent"
        states = {child["kind"]: child["state"] for child in stored["status"]["children"]}
        assert states["ServiceMonitor"] == states["PrometheusRule"] == "Unavailable"
        assert await counted(broken, lambda call: call.group == MONITORING, 20) <= 4 * 3, (
            "four kinds, every ten seconds"
        )
        assert await counted(broken, writes, 5) == 0
    await broken.right()


async def test_a_denied_permission_is_told_and_asked_for_ever_more_slowly_and_heals(broken: Rig) -> None:
    def denied(call: Call) -> bool:
        return call.resource == kinds.SERVICE.plural

    with broken.proxy.fault(denied, refused(403)):
        await broken.hand.prepare()
        broken.operator.start()
        await broken.hand.create()

        def told() -> bool:
            found = condition(broken.view.pipeline(NAME), "ResourcesApplied")
            return found.get("reason") == "ApplyFailed" and "403" in found["message"] and "Service" in found["message"]

        await broken.until(told, "the condition names what may not be done")
        await broken.until(lambda: DEPLOYMENT in broken.view.objects, "the rest is there")
        await asyncio.sleep(5)  # the first tries come quickly
        assert await counted(broken, lambda call: call.verb != "watch", 10) <= 30
    await broken.right()


async def test_a_secret_that_may_no_longer_be_read_is_taken_from_no_dispatcher(broken: Rig) -> None:
    def said(word: str) -> Callable[[], bool]:
        return lambda: word in condition(broken.view.pipeline(NAME), "AlertingConfigured").get("message", "")

    copy = ("Secret", f"{NAME}-slack-alerts")
    await broken.brought()
    before = broken.view.objects[copy]
    with broken.proxy.fault(lambda call: call.selector == "metadata.name=slack", refused(403)):
        broken.proxy.cut()
        await broken.until(said("may no longer read the Secret slack"), "it says that it holds to what was known")
        assert condition(broken.view.pipeline(NAME), "Ready")["status"] == "True"
        await broken.operator.crash()
        await broken.until(said("may not read the Secret slack"), "after a restart nothing is known")
        assert condition(broken.view.pipeline(NAME), "AlertingConfigured")["reason"] == "SecretForbidden"
        assert broken.view.objects[copy] == before
        await broken.hand.rotate("https://hooks.slack.example/services/second")
    await broken.right("https://hooks.slack.example/services/second")
    assert copy not in broken.view.deleted


async def test_an_autoscaler_is_chosen_only_when_it_is_known_whether_there_is_keda(broken: Rig) -> None:
    autoscaler = (kinds.AUTOSCALER.name, NAME)

    def unseen() -> bool:
        found = condition(broken.view.pipeline(NAME), "ResourcesApplied")
        return found.get("reason") == "ApplyFailed" and "whether the cluster has KEDA" in found["message"]

    def mended() -> bool:
        return condition(broken.view.pipeline(NAME), "ResourcesApplied").get("reason") == "Applied"

    with broken.proxy.fault(lambda call: call.group == "keda.sh", refused(403)):
        await broken.hand.prepare()
        broken.operator.start()
        await broken.hand.create(**AUTOSCALED)
        await broken.until(unseen, "the condition says what isn't known")
        await broken.until(lambda: DEPLOYMENT in broken.view.objects, "the rest is there")
        assert autoscaler not in broken.view.objects
    await broken.until(lambda: autoscaler in broken.view.objects and mended(), "there is no KEDA, and it scales by CPU")

    # What was known stays known: no outage makes it look as if KEDA had come.
    with broken.proxy.fault(lambda call: call.group == "keda.sh", refused(503)):
        refusals = broken.proxy.count(lambda call: call.group == "keda.sh")
        async with asyncio.timeout(60):
            while broken.proxy.count(lambda call: call.group == "keda.sh") < refusals + 4:  # noqa: ASYNC110  it counts
                await asyncio.sleep(0.1)
        await broken.hand.change({"alerts": {"failureThreshold": 7}})
        await broken.until(mended, "it is brought to its spec as before")
        assert not broken.proxy.count(lambda call: call.verb == "delete" and call.resource == kinds.AUTOSCALER.plural)
        assert autoscaler in broken.view.objects


async def test_a_namespace_that_goes_takes_all_with_it_and_is_served_when_it_comes_back(broken: Rig) -> None:
    await broken.brought()
    await broken.hand.leave()
    await broken.until(lambda: not broken.view.objects, "nothing is left")
    await gone(broken)
    assert await broken.healthy()
    assert await counted(broken, writes, 3) == 0
    await broken.hand.prepare()
    await broken.hand.create()
    await broken.right()


async def test_a_namespace_goes_with_the_operator_down_and_started_meanwhile(broken: Rig) -> None:
    await broken.brought()
    assert await broken.operator.stop() == 0
    await broken.hand.leave()
    broken.operator.start()
    await broken.until(lambda: not broken.view.objects, "nothing is left")
    await gone(broken)
    await broken.hand.prepare()
    await broken.hand.create()
    await broken.right()
    assert await broken.healthy()


async def gone(broken: Rig) -> None:
    """Wait until the namespace itself is gone."""
    async with asyncio.timeout(60):
        while await broken.hand.found(kinds.NAMESPACE.path(None, broken.namespace)):  # noqa: ASYNC110  it isn't watched
            await asyncio.sleep(0.2)


async def test_a_pipeline_made_again_while_the_operator_was_down_gets_children_of_its_own(broken: Rig) -> None:
    await broken.brought()
    assert await broken.operator.stop() == 0
    await broken.hand.recreate()
    broken.operator.start()
    await broken.right()


@resync
async def test_the_resync_heals_what_the_watch_does_not_tell_and_liveness_fails_the_second_time(broken: Rig) -> None:
    await broken.brought()
    missed = "notification_operator_watch_missed"
    assert await broken.metric(missed) == 0
    with broken.proxy.fault(requests("watch", kinds.PIPELINE), frozen):
        broken.proxy.cut()
        # What it writes itself is a change too, which the watch doesn't tell of either.
        await broken.hand.change(DRAIN)
        await broken.right()
        await broken.metric_until(missed, lambda value: value >= 1)
        await broken.hand.change({"workers": {"drainTimeout": "41s"}})
        assert "missed" in await broken.sick()
        assert await broken.metric(missed) >= 2
        await broken.right()


@resync
async def test_a_quiet_watch_is_no_lost_watch(broken: Rig) -> None:
    await broken.brought()
    await broken.hand.change(DRAIN)
    await broken.right()
    lists = requests("list", kinds.PIPELINE)
    before = broken.proxy.count(lists)
    async with asyncio.timeout(30):
        while broken.proxy.count(lists) < before + 4:  # noqa: ASYNC110  the proxy only counts
            await asyncio.sleep(0.1)
    assert await broken.metric("notification_operator_watch_missed") == 0
    assert await broken.healthy()


@pytest.mark.parametrize(
    "harm", [refused(410), watch_error(410), watch_error(500), refused(404)], ids=["410", "expired", "500", "404"]
)
async def test_kopfs_watch_comes_back_or_the_operator_is_started_again(broken: Rig, harm: Action) -> None:
    await broken.brought()
    with broken.proxy.fault(requests("watch", kinds.PIPELINE), harm):
        broken.proxy.cut()
        await asyncio.sleep(3)
    await broken.works_or_restarts()
