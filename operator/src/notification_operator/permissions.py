"""What the operator may do, and why: the one table, from which `make generate` writes `deploy/rbac/`.

Nothing of it is read while the operator runs. A test runs the operator as the account that is written here, and holds
the table against its requests: no verb is missing, and none is there that it never uses.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from notification_operator import kinds
from notification_operator.kinds import Kind
from notification_operator.naming import OPERATOR

NAMESPACE = OPERATOR
"""Where the operator itself is installed, as the files have it."""

_RBAC_GROUP = "rbac.authorization.k8s.io"
_RBAC = f"{_RBAC_GROUP}/v1"
_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Permission:
    """Some verbs on some kinds, and what they are for."""

    verbs: str
    kinds: tuple[Kind, ...]
    why: str
    subresource: str = ""
    names: tuple[str, ...] = ()
    """The only objects that it is for; none named: all."""

    def rules(self) -> Iterator[dict[str, Any]]:
        """As RBAC says it: a rule for each API group, since its verbs are for every resource with every group."""
        for group in sorted({kind.group for kind in self.kinds}):
            members = [kind for kind in self.kinds if kind.group == group]
            resources = [kind.plural + (f"/{self.subresource}" if self.subresource else "") for kind in members]
            rule: dict[str, Any] = {"apiGroups": [group], "resources": resources}
            if self.names:
                rule["resourceNames"] = list(self.names)
            yield {**rule, "verbs": self.verbs.split()}


_STAYING = (kinds.SERVICE_ACCOUNT, kinds.SERVICE, kinds.VOLUME_CLAIM, kinds.DEPLOYMENT)
_GOING = tuple(kind for kind in kinds.CHILDREN if kind not in _STAYING and kind is not kinds.SECRET)

WITH_PIPELINES: Sequence[Permission] = (
    Permission(
        "get list watch", (kinds.PIPELINE,), "What people ask for. Each is read afresh before anything is changed."
    ),
    Permission("patch", (kinds.PIPELINE,), "What became of it.", subresource="status"),
    Permission(
        "get list watch create patch",
        _STAYING,
        "Children that stay for as long as their pipeline, and go with it by garbage collection. `get` looks at what "
        "has a child's name, and not its label: it is somebody else's, and left alone.",
    ),
    Permission(
        "get list watch create patch delete", _GOING, "Children that come and go with their part of the pipeline."
    ),
    Permission(
        "get watch create patch delete",
        (kinds.SECRET,),
        "Those that pipelines refer to, each watched by its name, and the dispatchers' own copies. Never listed.",
    ),
    Permission("list watch", (kinds.POD,), "Why dispatchers are not ready. Only those with the operator's label."),
    Permission(
        "list watch",
        (kinds.PROMETHEUS, kinds.PROMETHEUS_AGENT),
        "Which Prometheus picks up a pipeline's metrics and rules, or what it lacks for that.",
    ),
    Permission("get", (kinds.NAMESPACE,), "Labels of a pipeline's namespace, where a Prometheus selects by them."),
    Permission("create patch", (kinds.EVENT,), "A verdict that changed, and that it did so again."),
)
"""In every namespace whose pipelines are looked after."""

WITH_OPERATOR: Sequence[Permission] = (
    Permission("get update", (kinds.LEASE,), "Which of several operators writes.", names=(OPERATOR,)),
    Permission("create", (kinds.LEASE,), "The first of them. RBAC can't tie a creation to a name."),
)
"""In the operator's own namespace."""


def files() -> dict[str, str]:
    """The files' texts by their names."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(NAMESPACE)}
    return {
        "account.yaml": _text(
            "The operator's account, and which of its replicas leads. Wanted in every mode.",
            yaml.safe_dump(account, sort_keys=False),
            *_granted("Role", WITH_OPERATOR, NAMESPACE),
        ),
        "cluster.yaml": _text(
            "Pipelines of all namespaces: `notification-operator run`.", *_granted("ClusterRole", WITH_PIPELINES)
        ),
        "namespaced.yaml": _text(
            "Pipelines of one namespace: `notification-operator run --namespace NAME`. Once for each of them:\n"
            "# kubectl apply -n NAME -f deploy/rbac/namespaced.yaml",
            *_granted("Role", WITH_PIPELINES),
        ),
    }


def _metadata(namespace: str | None) -> dict[str, str]:
    return {"name": OPERATOR} | ({"namespace": namespace} if namespace else {})


def _granted(kind: str, permissions: Iterable[Permission], namespace: str | None = None) -> tuple[str, str]:
    """A role and who has it. Without a namespace it is of the whole cluster, or of the one where it is applied."""
    head = {"apiVersion": _RBAC, "kind": kind, "metadata": _metadata(namespace)}
    rules = "".join(map(_commented, permissions))
    binding = {
        "apiVersion": _RBAC,
        "kind": f"{kind}Binding",
        "metadata": _metadata(namespace),
        "roleRef": {"apiGroup": _RBAC_GROUP, "kind": kind, "name": OPERATOR},
        "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": NAMESPACE}],
    }
    return f"{yaml.safe_dump(head, sort_keys=False)}rules:\n{rules}", yaml.safe_dump(binding, sort_keys=False)


def _commented(permission: Permission) -> str:
    reason = textwrap.indent(textwrap.fill(permission.why, _WIDTH), "# ")
    # Lists in one line each: a rule is read as a whole.
    rules = yaml.safe_dump(list(permission.rules()), sort_keys=False, width=_WIDTH, default_flow_style=None)
    return textwrap.indent(f"{reason}\n{rules}", "  ")


def _text(purpose: str, *documents: str) -> str:
    head = f"# Generated by `make generate` from notification_operator/permissions.py. Do not edit.\n# {purpose}\n"
    return head + "---\n".join(documents)


def main() -> None:
    """Write the files into the folder that the command line names."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
