"""Says where the dispatcher's time goes. `python -m bench.dispatcher --profile` runs it.

py-spy samples the process from outside, every thread of it; it comes with the peers' programs. The shares are of the
samples in which the thread was on the processor or held the lock of the interpreter, not of those in which it waited.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from bench.dispatcher import peer
from bench.dispatcher.ours import Dispatcher, Variant, get
from bench.dispatcher.processes import BenchError, MissingError
from bench.dispatcher.rounds import CONCURRENCIES, Bench

_TOP = 15
_RATE = 500


def profile(bench: Bench, wanted: Iterable[str]) -> str:
    """The functions that cost most: of ingestion and of draining for `ours`, of deliveries for webhooks."""
    parts = []
    if "ours" in wanted:
        with bench.run(Variant()) as ours:
            ours.order(hold=True)
            parts.append(_sampled(bench, ours, "HTTP ingestion", lambda: ours.load(bench.plan.jobs * 2)))

            def drain() -> None:
                ours.order(expect=bench.plan.jobs * 2)
                ours.started()

            parts.append(_sampled(bench, ours, "no-op jobs", drain))
    for concurrency in CONCURRENCIES:
        if f"webhooks-{concurrency}" in wanted:
            get(bench.port, "/hold")
            with bench.run(Variant(no_op=False, concurrency=concurrency)) as ours:
                ours.load(bench.plan.webhooks)

                def deliver() -> None:
                    get(bench.port, f"/open?{bench.plan.webhooks}")
                    bench.mailbox.receive(bench.receiver, 120)

                parts.append(_sampled(bench, ours, f"webhooks, {concurrency} at once", deliver))
    if not parts:
        raise BenchError("there is a profile of ours and of webhooks, and of nothing else")
    return "\n\n".join(parts)


def _sampled(bench: Bench, ours: Dispatcher, title: str, work: Callable[[], object]) -> str:
    program = peer.environment("peers.txt") / "py-spy"
    if not program.exists():
        raise MissingError("py-spy is not among the peers' programs")
    stacks = bench.scratch / f"{title.replace(' ', '-')}.folded"
    command = [program, "record", "--pid", str(ours.child.pid), "--rate", str(_RATE), "--format", "raw", "--threads"]
    sampler = subprocess.Popen(  # noqa: S603  the bench's own command
        [*command, "--nonblocking", "--duration", "600", "--output", stacks],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        work()
    finally:
        sampler.send_signal(2)
        sampler.wait()
    if not stacks.exists():
        raise BenchError("py-spy could not look into the process: it needs to be root, or ptrace_scope 0")
    return _top(title, stacks)


def _top(title: str, stacks: Path) -> str:
    total, own, within = 0, Counter[str](), Counter[str]()
    for line in stacks.read_text().splitlines():
        frames, _, count = line.rpartition(" ")
        names = frames.split(";")
        total += int(count)
        own[names[-1]] += int(count)
        for name in set(names):
            within[name] += int(count)
    lines = [f"{title}: {total} samples", "  within%   own%  function"]
    for name, count in within.most_common(4 * _TOP):
        lines.append(f"  {count / total * 100:6.1f} {own[name] / total * 100:6.1f}  {name}")
    lines.append("  most of its own")
    lines += [f"  {'':6} {count / total * 100:6.1f}  {name}" for name, count in own.most_common(_TOP)]
    return "\n".join(lines)
