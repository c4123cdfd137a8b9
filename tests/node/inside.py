"""Process 1 of a node, in namespaces of its own: starts what it is told to, a line of JSON each.

`sandbox` starts it. When it ends, the kernel ends every process of the node, container or not, and with the last of
them go the node's mounts, interfaces and firewall rules. It ends when its standard input does, so also when whoever
started it is killed. Standard library alone: it is started by path.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def main(folder: Path) -> None:
    """Give the node folders of its own where programs insist on a place, then start what is asked for."""
    for name in ("lib", "log"):
        own = folder / name
        own.mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", own, f"/var/{name}"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "node", "/run"], check=True)
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    signal.signal(signal.SIGCHLD, _reap)
    print("ready", flush=True)  # noqa: T201  whoever started it waits for that
    for line in sys.stdin:
        name, *command = json.loads(line)
        log = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        silence = os.open(os.devnull, os.O_RDONLY)
        files = [(os.POSIX_SPAWN_DUP2, silence, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
        os.posix_spawnp(command[0], command, os.environ, file_actions=files)
        os.close(log)
        os.close(silence)


def _reap(_number: int, _frame: object) -> None:
    """Orphans are process 1's."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


if __name__ == "__main__":
    main(Path(sys.argv[1]))
