"""The fault sweep: workloads, plans (one fault at one write of one workload), and what each came to.

`test_sweep` starts a `Sweep`; it runs several plans at once, each with a namespace, a proxy and an operator of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from aiohttp import web

from tests.faults.control_plane.actions import Fault, action, swallowed
from tests.faults.control_plane.proxy import Action, Call, Exchange
from tests.faults.control_plane.rig import NAME, SECONDS, URL, Bench, Hand, Rig, rig, wanted
from tests.faults.control_plane.states import State, difference, settled

AT_ONCE = 4
TRIES = 3
HANG_SECONDS = 2.0
"""How long the operator waits for a write that hangs; thirty seconds by default."""

_ROTATED_URL = "https://hooks.slack.example/services/rotated"
_DRAIN = {"workers": {"drainTimeout": "40s"}}
_THRESHOLDS = {"alerts": {"failureThreshold": 7, "backlogThreshold": 70, "latencyThreshold": "250ms"}}


class Workload(NamedTuple):
    """Something that is done to a pipeline: from nothing or from one that is Ready, to one that is Ready."""

    act: Callable[[Hand], Awaitable[None]]
    from_ready: bool = True
    url: str = URL
    """What the Slack Secret holds at the end."""


WORKLOADS: Mapping[str, Workload] = {
    "create": Workload(Hand.create, from_ready=False),
    "template": Workload(lambda hand: hand.change(_DRAIN)),
    "threshold": Workload(lambda hand: hand.change(_THRESHOLDS)),
    "rotation": Workload(lambda hand: hand.rotate(_ROTATED_URL), url=_ROTATED_URL),
    "again": Workload(Hand.recreate),
}


@dataclass(frozen=True)
class Plan:
    """One fault at one write of one workload."""

    workload: str
    fault: Fault
    write: str

    def __str__(self) -> str:
        return f"{self.workload}-{self.fault}: {self.write}"


@dataclass(frozen=True)
class FaultFree:
    """What a workload comes to without a fault, and the writes that this takes."""

    state: State
    writes: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of one plan."""

    plan: Plan
    reached: bool
    """The write came, and the fault struck it."""
    divergence: str
    """A diff; empty: none."""
    seconds: float


@dataclass(eq=False)
class _Strike:
    """Binds an action to one write, once."""

    write: str
    act: Action
    struck: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def matches(self, call: Call) -> bool:
        return call.numbered and not self.struck and str(call) == self.write

    async def __call__(self, exchange: Exchange) -> web.StreamResponse:
        self.struck = True
        try:
            return await self.act(exchange)
        finally:
            self.over.set()


@dataclass(eq=False)
class _Run:
    """One run of a workload."""

    workload: Workload
    rig: Rig

    async def prepare(self) -> None:
        """Come to where the workload starts."""
        if self.workload.from_ready:
            await self.rig.brought()
        else:
            await self.rig.hand.prepare()
            self.rig.operator.start()
        self.rig.proxy.writes.clear()
        self.rig.view.created.clear()
        self.rig.view.deleted.clear()

    def came_to(self, expected: FaultFree) -> bool:
        """Whether the end state is there; looked at closely only once the status says that it may be."""
        return settled(self.rig.view.pipeline(NAME)) and self.state() == expected.state

    def state(self) -> State:
        """What it has come to so far."""
        return wanted(self.workload.url).state(self.rig.namespace, self.rig.view)


@dataclass(eq=False)
class Sweep:
    """Runs plans, `AT_ONCE` at a time, in the order in which they were asked for."""

    bench: Bench
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _fault_free: dict[str, asyncio.Task[FaultFree]] = field(default_factory=dict)
    _tasks: dict[tuple[str, Fault], asyncio.Task[list[Outcome]]] = field(default_factory=dict)

    def begin(self, workload: str, fault: Fault) -> None:
        """Have all plans of this workload and fault run."""
        name = f"{workload}-{fault}"
        self.fault_free(workload)
        self._tasks[workload, fault] = asyncio.create_task(self._plans(workload, fault), name=name)

    async def outcomes(self, workload: str, fault: Fault) -> list[Outcome]:
        """What became of them."""
        return await self._tasks[workload, fault]

    def fault_free(self, workload: str) -> asyncio.Task[FaultFree]:
        """The run to compare with."""
        if workload not in self._fault_free:
            self._fault_free[workload] = asyncio.create_task(self._without_fault(workload), name=workload)
        return self._fault_free[workload]

    async def close(self) -> None:
        """End what is still running."""
        tasks = [*self._tasks.values(), *self._fault_free.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run(self, plan: Plan, expected: FaultFree) -> Outcome:
        """Run one plan; again, where its write did not come."""
        async with self._places:
            outcome = await self._attempt(plan, expected)
            for _ in range(TRIES - 1):
                if outcome.reached or outcome.divergence:
                    break
                outcome = await self._attempt(plan, expected)
            return outcome

    async def swallow(self, workload: str, name: str, seconds: float) -> str:
        """Tell the operator that all it writes to this object was done; returns the divergence that there must be."""
        expected = await self.fault_free(workload)
        async with self._places, self._running(workload, "swallow") as run:
            await run.prepare()
            with run.rig.proxy.fault(lambda call: call.numbered and call.name == name, swallowed):
                await run.workload.act(run.rig.hand)
                await run.rig.view.until(lambda: run.came_to(expected), seconds)
                return difference(expected.state, run.state())

    async def _plans(self, workload: str, fault: Fault) -> list[Outcome]:
        expected = await self.fault_free(workload)
        plans = [Plan(workload, fault, write) for write in expected.writes]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.run(plan, expected), name=str(plan)) for plan in plans]
        return [task.result() for task in tasks]

    async def _without_fault(self, workload: str) -> FaultFree:
        async with self._places, self._running(workload, "free") as run:
            rig = run.rig
            await run.prepare()
            await run.workload.act(rig.hand)
            await rig.right(run.workload.url)
            assert await rig.operator.stop() == 0
            return FaultFree(run.state(), tuple(str(write) for write in rig.proxy.writes))

    async def _attempt(self, plan: Plan, expected: FaultFree) -> Outcome:
        options = ("--request-timeout", str(HANG_SECONDS)) if plan.fault is Fault.HANG else ()
        async with self._running(plan.workload, plan.fault, options) as run:
            rig, started = run.rig, time.monotonic()
            await run.prepare()
            strike = _Strike(plan.write, action(plan.fault, rig.operator.crash))
            with rig.proxy.fault(strike.matches, strike):
                await run.workload.act(rig.hand)
                await rig.view.until(lambda: run.came_to(expected), SECONDS)
                if strike.struck:
                    await strike.over.wait()
            # Whatever it still has to do is done by then, if it has started anew.
            await rig.reconciled()
            code = await rig.operator.stop()
            divergence = difference(expected.state, run.state())
            if code:
                divergence += f"\nthe operator ended with {code}"
            return Outcome(plan, strike.struck, divergence, time.monotonic() - started)

    @asynccontextmanager
    async def _running(self, workload: str, name: str, options: Sequence[str] = ()) -> AsyncIterator[_Run]:
        async with rig(self.bench, f"{workload}-{name}", options) as made:
            yield _Run(WORKLOADS[workload], made)
