"""One round of each measurement. `__main__` runs them in turn, so that what else the machine does hits all alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.dispatcher import peer, shared
from bench.dispatcher.database import postgresql
from bench.dispatcher.ours import Dispatcher, Variant, dispatcher, get
from bench.dispatcher.processes import Child, Mailbox, free_port, python_module, run_json

Figures = dict[str, float]

CONCURRENCIES = (32, 128)
PROCESSES = (2, 4)
"""Of a fleet on one PostgreSQL."""
_SINGLES = 10_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How much."""

    jobs: int = 100_000
    peer_jobs: int = 5_000
    webhooks: int = 15_000
    churn_jobs: int = 200_000
    """How many go through one PostgreSQL schema."""
    waiting_jobs: int = 100_000
    """How many wait in it after that."""
    half_seconds: float = 3.0
    """How long half load lasts."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all measurements share."""

    plan: Plan
    scratch: Path
    receiver: Child
    port: int
    """The receiver's."""
    mailbox: Mailbox

    def run(self, variant: Variant) -> AbstractContextManager[Dispatcher]:
        """Our dispatcher."""
        return dispatcher(self.scratch, variant, self.port)


@contextmanager
def bench(plan: Plan, scratch: Path) -> Iterator[Bench]:
    """The receiver, for webhooks and for alerts, until the block ends."""
    port = free_port()
    with Mailbox(scratch / "receiver") as mailbox:
        command = python_module("bench.dispatcher.receiver", port, mailbox.path)
        with Child(command, scratch / "receiver.log", {}) as receiver:
            receiver.until(lambda: get(port, "/ready")[0] == 200)
            yield Bench(plan, scratch, receiver, port, mailbox)


def measurements() -> dict[str, Callable[[Bench, int], Figures]]:
    """Every measurement by name. Each is given the round's number too."""
    made: dict[str, Callable[[Bench, int], Figures]] = {"ours": _ours, "postgresql": _on_postgresql}
    for processes in PROCESSES:
        made[f"postgresql-{processes}"] = _of_fleet(processes)
    for one in peer.PEERS.values():
        made[one.name] = _of_peer(one)
    for concurrency in CONCURRENCIES:
        made[f"webhooks-{concurrency}"] = _of_webhooks(concurrency)
    made["monitor"] = _monitor
    made["churn"] = lambda bench, _: shared.churn(bench.run, bench.plan.churn_jobs, bench.plan.waiting_jobs)
    return made


def _ours(bench: Bench, _: int) -> Figures:
    return _no_op(bench, Variant())


def _on_postgresql(bench: Bench, _: int) -> Figures:
    with postgresql() as server:
        return _no_op(bench, Variant(dsn=server.dsn))


def _of_fleet(processes: int) -> Callable[[Bench, int], Figures]:
    return lambda bench, _: shared.fleet(bench.run, processes, bench.plan.jobs)


def _no_op(bench: Bench, variant: Variant) -> Figures:
    """No-op jobs: accepted, waiting, drained; accepted while they are delivered; one by one; at half load."""
    plan = bench.plan
    with bench.run(variant) as ours:
        ours.order(hold=True)
        cpu = ours.child.cpu_seconds()
        accepted = ours.load(plan.jobs)
        accept_cpu = ours.child.cpu_seconds() - cpu
        waiting_rss = ours.rss_mib()
        ours.order(expect=plan.jobs)
        drained = ours.started()
        rate = drained["jobs"] / drained["seconds"]
        ours.until_settled(plan.jobs)

        ours.order(expect=plan.jobs)
        delivering = ours.load(plan.jobs)
        both = ours.started()
        ours.order(expect=_SINGLES)
        singles = ours.load(_SINGLES, batch=1, connections=50)
        ours.started()
        # Our process accepts jobs as well: what it can do at most is to do both, and not to drain what was accepted.
        half_rate = both["jobs"] / both["seconds"] / 2
        count = int(half_rate * plan.half_seconds)
        ours.order(expect=count)
        ours.load(count, rate=half_rate)
        half = ours.started()
        ours.until_settled(2 * plan.jobs + _SINGLES + count)
    return {
        "jobs_per_s": rate,
        "enqueued_per_s": accepted["jobs"] / accepted["seconds"],
        "enqueue_p99_ms": accepted["p99_ms"],
        "enqueue_cpu_us": accept_cpu / plan.jobs * 1e6,
        "delivering_enqueued_per_s": delivering["jobs"] / delivering["seconds"],
        "delivering_enqueue_p99_ms": delivering["p99_ms"],
        "singles_per_s": singles["jobs"] / singles["seconds"],
        "singles_p99_ms": singles["p99_ms"],
        "half_per_s": half_rate,
        "wait_p50_ms": half["p50_ms"],
        "wait_p99_ms": half["p99_ms"],
        "rss_mib": drained["rss_mib"],
        "waiting_rss_mib": waiting_rss,
    }


def _of_peer(one: peer.Peer) -> Callable[[Bench, int], Figures]:
    def measure(bench: Bench, _: int) -> Figures:
        return peer.measure(one, bench.scratch, bench.plan.peer_jobs, bench.plan.half_seconds)

    return measure


def _of_webhooks(concurrency: int) -> Callable[[Bench, int], Figures]:
    def measure(bench: Bench, number: int) -> Figures:
        parts = [lambda: _bare(bench, concurrency), lambda: _delivered(bench, concurrency)]
        # Whoever goes first may have the cooler machine.
        return _both(parts, number)

    return measure


def _bare(bench: Bench, concurrency: int) -> Figures:
    sent = run_json(python_module("bench.dispatcher.bare_client", bench.port, bench.plan.webhooks, concurrency))
    return {"bare_per_s": sent["jobs"] / sent["seconds"], "bare_cpu_us": sent["cpu_seconds"] / sent["jobs"] * 1e6}


def _delivered(bench: Bench, concurrency: int) -> Figures:
    """The real command, its backlog held back by the receiver; then half of that rate, in batches of 10."""
    jobs = bench.plan.webhooks
    get(bench.port, "/hold")
    with bench.run(Variant(no_op=False, concurrency=concurrency)) as ours:
        ours.load(jobs)
        cpu = ours.child.cpu_seconds()
        get(bench.port, f"/open?{jobs}")
        got = bench.mailbox.receive(bench.receiver, 120)
        ours.until_settled(jobs)
        cpu = ours.child.cpu_seconds() - cpu
        rate = got["jobs"] / got["seconds"]
        count = int(rate / 2 * bench.plan.half_seconds)
        get(bench.port, f"/open?{count}")
        ours.load(count, batch=10, rate=rate / 2)
        half = bench.mailbox.receive(bench.receiver, 60)
        ours.until_settled(jobs + count)
        rss = ours.rss_mib()
    return {
        "jobs_per_s": rate,
        "cpu_us": cpu / jobs * 1e6,
        "wait_p50_ms": half["p50_ms"],
        "wait_p99_ms": half["p99_ms"],
        "rss_mib": rss,
    }


def _monitor(bench: Bench, number: int) -> Figures:
    """The same drain with metrics and alerts, and with their events going nowhere."""
    return _both([lambda: _drained(bench, monitor=True), lambda: _drained(bench, monitor=False)], number)


def _drained(bench: Bench, *, monitor: bool) -> Figures:
    jobs = bench.plan.jobs
    with bench.run(Variant(monitor=monitor)) as ours:
        ours.order(hold=True)
        ours.load(jobs)
        cpu = ours.child.cpu_seconds()
        ours.order(expect=jobs)
        drained = ours.started()
        cpu = ours.child.cpu_seconds() - cpu
    name = "with" if monitor else "without"
    return {f"{name}_per_s": jobs / drained["seconds"], f"{name}_cpu_us": cpu / jobs * 1e6}


def _both(parts: list[Callable[[], Figures]], number: int) -> Figures:
    """Two parts, the second one first in every other round."""
    figures: Figures = {}
    for part in parts if number % 2 == 0 else reversed(parts):
        figures |= part()
    return figures
