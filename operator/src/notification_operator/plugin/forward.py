"""A pod's port on this machine, by `kubectl port-forward`: how a dispatcher is reached from anywhere.

It ends inside the pod, so that no NetworkPolicy stands in its way, and carries the dispatcher's own bearer token, which
the API server's proxy would take for its own.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections import deque

from notification_operator.plugin.errors import DeniedError, PluginError
from notification_operator.plugin.kubectl import Kubectl, error_of

_SECONDS = 20.0
_END_SECONDS = 5.0
_LOGGED = re.compile(r'err="(?:an error occurred forwarding \S+ -> \d+: )?(.*)"$', re.MULTILINE)
_SAID = re.compile(r"^error: (.*)$", re.MULTILINE)
_LISTENS = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


class Forward:
    """One that is up. Close it."""

    def __init__(self, kubectl: Kubectl, namespace: str, pod: str, port: int) -> None:
        """Start it. Raises PluginError when it does not come up."""
        self._words: deque[str] = deque(maxlen=20)
        self._settled = threading.Event()
        self._process = kubectl.start(
            "port-forward", f"--namespace={namespace}", "--address=127.0.0.1", f"pod/{pod}", f":{port}",
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._port = 0
        # For as long as it lives: it tells of each connection, and would stand still once nobody reads that.
        self._reader = threading.Thread(target=self._read, name=f"port-forward {pod}", daemon=True)
        self._reader.start()
        settled = self._settled.wait(_SECONDS)
        if not self._port:
            self.close()
            raise (
                _refusal("\n".join(self._words), namespace)
                if settled
                else PluginError(f"no way to {pod} within {_SECONDS:.0f} s")
            )

    @property
    def url(self) -> str:
        """Where the pod's port is now."""
        return f"http://127.0.0.1:{self._port}"

    def close(self) -> str:
        """End it. Returns what kubectl complained of meanwhile; empty for nothing."""
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        said = "\n".join(self._words)
        # The cause is in its log, and what it prints in the end is that it has lost the connection.
        causes = _LOGGED.findall(said) or _SAID.findall(said)
        return causes[-1] if causes else ""

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._words.append(line.rstrip())
            if not self._port and (found := _LISTENS.match(line)):
                self._port = int(found[1])
                self._settled.set()
        self._settled.set()


def _refusal(words: str, namespace: str) -> PluginError:
    error = error_of(words)
    if not isinstance(error, DeniedError):
        return error
    return DeniedError(
        f"your account may not forward ports in {namespace}. It needs `get` on pods, and `get` and `create` on "
        f"pods/portforward. The API server says: {error.message}"
    )
