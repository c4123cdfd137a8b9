"""What the kubelet, the scheduler and the API server say, made fit for a condition. `availability` calls it.

A message that differs with every attempt would be a write with every attempt, for as long as something is broken. So
ports, ids and counts go, and with them what may be a secret: passwords and signatures in URLs.
"""

from __future__ import annotations

import re

_LONGEST = 300

_REMOVED = (
    (re.compile(r"://[^/\s@\"]*@"), "://"),  # user and password
    (re.compile(r"(https?://[^\s\"?]*)\?[^\s\"]*"), r"\1"),  # a signed URL's signature
    (re.compile(r"\S+:\d+->"), ""),  # our end of a connection: another port each time
    (re.compile(r"(?<!sha256:)\b[0-9a-f]{64}\b"), "…"),  # a container's id
    (re.compile(r"rpc error: code = \w+ desc = "), ""),
    (re.compile(r"\s+"), " "),
)
# Newer kubelets say why in both of the states that a failing pull alternates between.
_BACK_OFF = re.compile(r"^Back-off pulling image \"[^\"]*\"(?:: (?:\w+: )?|$)")
_POD_OF_ONE_ATTEMPT = re.compile(r"^pods \"[^\"]*\" is forbidden: ")
_PREEMPTION = re.compile(r"[.,]? *(?:no new claims to deallocate, )?preemption:.*$")
_NODES = re.compile(r"\d+/\d+ nodes are available: (.*)")
_COUNT = re.compile(r"(?:^|, )\d+ ")


def beginning(text: str) -> str:
    """The text, cut at its end when it is too long."""
    clean = _clean(text)
    return clean if len(clean) <= _LONGEST else f"{clean[:_LONGEST]}…"


def end(text: str) -> str:
    """The text, cut at its beginning: where errors are wrapped in errors, the cause comes last."""
    clean = _clean(text)
    return clean if len(clean) <= _LONGEST else f"…{clean[-_LONGEST:]}"


def pull_error(text: str) -> str:
    """Why an image can't be had; empty when an older kubelet only says that it waits."""
    return end(_BACK_OFF.sub("", text))


def refusal(text: str) -> str:
    """Why a pod was not admitted, without the name that it would have had."""
    return beginning(_POD_OF_ONE_ATTEMPT.sub("", text))


def unfit(text: str) -> str:
    """The scheduler's reasons, without how many nodes have each: nodes come and go."""
    told = _PREEMPTION.sub("", text).rstrip(". ")
    counted = _NODES.fullmatch(told)
    if counted is None:
        return beginning(told)
    reasons = sorted({reason for reason in _COUNT.split(counted[1]) if reason})
    return beginning(f"no node fits: {'; '.join(reasons)}")


def _clean(text: str) -> str:
    for pattern, replacement in _REMOVED:
        text = pattern.sub(replacement, text)
    return text.strip().rstrip(".")
