"""What stands in for `kubectl port-forward` where nodes are simulated: nothing runs there that a port could lead to.

`python -m tests.docs.forward STATE_DIR … -n NAMESPACE port-forward service/NAME PORT` runs the container of that
Deployment on this very port, as a kubelet would, until it is told to end. The pages' own commands reach it so.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import tempfile
from pathlib import Path

from tests.cluster import Mode
from tests.cluster.state import State
from tests.pod import Pod


async def main(state_dir: str, command: str) -> None:
    """Run the container."""
    found = re.fullmatch(r"-n (\S+) port-forward service/(\S+) (\d+)", command)
    if found is None:
        sys.exit(f"only `kubectl -n NAMESPACE port-forward service/NAME PORT` has a stand-in, and this is: {command}")
    namespace, name, port = found.groups()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    with tempfile.TemporaryDirectory() as folder:
        cluster = State(Path(state_dir)).cluster(Mode.KWOK, started_here=False)
        pod = Pod(cluster, namespace, name, Path(folder) / "pod")
        pod.port = int(port)
        await pod.start()
        await stopped.wait()
        await pod.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], " ".join(sys.argv[2:])))
