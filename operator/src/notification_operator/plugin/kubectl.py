"""The user's kubectl: reads objects and starts what goes on for longer. The one way from here to a cluster.

Objects are read by their path (`get --raw`), which spares the discovery of everything that a cluster has.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from notification_operator.plugin.errors import DeniedError, MissingError, PluginError

Json = dict[str, Any]

_PROGRAM = "kubectl"
_REQUEST_SECONDS = 20
_PLUGIN_SECONDS = 60  # of credentials, which may open a browser
_SERVER_SAYS = re.compile(r"Error from server \((\w+)\): (.*)", re.DOTALL)
_FORBIDDEN = " is forbidden: "
_KINDS: Mapping[str, type[PluginError]] = {"Forbidden": DeniedError, "NotFound": MissingError}

# Every pod with a service account's token has this file; kubectl takes its namespace where there is no kubeconfig.
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl with the user's choice of cluster and identity."""

    flags: tuple[str, ...] = ()

    def get(self, path: str, **query: str) -> Json:
        """The object, or list of objects, at a path of the API."""
        raw = f"{path}?{urlencode(query)}" if query else path
        found: Json = json.loads(self.read("get", "--raw", raw, f"--request-timeout={_REQUEST_SECONDS}s"))
        return found

    def namespace(self) -> str:
        """The namespace that kubectl would take."""
        try:
            named = self.read("config", "view", "--minify", "-o", "jsonpath={..namespace}").strip()
        except PluginError:
            # Without a current context: what comes next says so, unless this is a pod.
            named = _POD_NAMESPACE.read_text().strip() if _POD_NAMESPACE.exists() else ""
        return named or "default"

    def read(self, *arguments: str) -> str:
        """What kubectl prints. Raises PluginError, with its words, when it fails."""
        try:
            with self.start(*arguments, stderr=subprocess.PIPE) as process:
                try:
                    output, complaint = process.communicate(timeout=_PLUGIN_SECONDS)
                except BaseException:
                    process.kill()
                    raise
        except subprocess.TimeoutExpired:
            raise PluginError(f"kubectl has not answered within {_PLUGIN_SECONDS} s") from None
        if process.returncode != 0:
            raise error_of(complaint)
        return output

    def start(self, *arguments: str, stderr: int) -> subprocess.Popen[str]:
        """Start it; what it prints can be read."""
        command = [_PROGRAM, *self.flags, *arguments]
        try:
            return subprocess.Popen(  # noqa: S603  no shell, and nothing but arguments
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                errors="replace",
                # Its words are looked at, so they must not be translated.
                env={**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": ""},
            )
        except OSError as error:
            raise PluginError(f"kubectl cannot be run: {error.strerror}. It must be on the PATH.") from None


def error_of(complaint: str) -> PluginError:
    """The error that kubectl's words on its standard error are."""
    said = _SERVER_SAYS.search(complaint)
    if said is not None:
        return _KINDS.get(said[1], PluginError)(said[2].strip())
    lines = [line.removeprefix("error: ") for line in complaint.splitlines() if line.strip()]
    if not lines:
        return PluginError("kubectl failed, and did not say why")
    # What upgrades its connection is refused without a kind of error.
    return (DeniedError if _FORBIDDEN in lines[-1] else PluginError)(lines[-1])
