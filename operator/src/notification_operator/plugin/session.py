"""What all commands have in common: which cluster, as whom, which namespace, in which form.

The modules of commands make theirs with `command`. Names are completed from the cluster.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from notification_operator.plugin import pipelines
from notification_operator.plugin.errors import PluginError
from notification_operator.plugin.kubectl import Kubectl


@dataclass(frozen=True, slots=True)
class Session:
    """The user's choices, for one command."""

    kubectl: Kubectl
    given_namespace: str | None
    all_namespaces: bool = False

    @classmethod
    def of(cls, context: click.Context) -> Session:
        """From the options of the command, or those before it."""
        chosen: dict[str, Any] = {}
        for level in (context.find_root(), context):
            chosen |= {name: value for name, value in level.params.items() if value is not None}
        flags = [f"--{name}={chosen[key]}" for name, key in _PASSED_ON.items() if key in chosen]
        return cls(Kubectl(tuple(flags)), chosen.get("namespace"), chosen.get("all_namespaces", False))

    @property
    def namespace(self) -> str:
        """The one that is asked about."""
        return self.given_namespace or self.kubectl.namespace()

    @property
    def namespaces(self) -> str | None:
        """The same where it may be all: None."""
        return None if self.all_namespaces else self.namespace


def _pipelines(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    return _names(lambda session: (one.name for one in pipelines.listed(session.kubectl, session.namespace)))(
        context, incomplete
    )


def _namespaces(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    def listed(session: Session) -> Iterable[str]:
        return (one["metadata"]["name"] for one in session.kubectl.get("/api/v1/namespaces")["items"])

    return _names(listed)(context, incomplete)


def _contexts(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    def listed(session: Session) -> Iterable[str]:
        return session.kubectl.read("config", "get-contexts", "--output=name").split()

    return _names(listed)(context, incomplete)


def _names(listed: Callable[[Session], Iterable[str]]) -> Callable[[click.Context, str], list[str]]:
    def complete(context: click.Context, incomplete: str) -> list[str]:
        try:
            return [name for name in listed(Session.of(context)) if name.startswith(incomplete)]
        except PluginError:
            # A shell that completes has no place for complaints; the command itself will make them.
            return []

    return complete


_PASSED_ON = {"context": "kube_context", "kubeconfig": "kubeconfig", "as": "impersonated"}
CLUSTER: tuple[click.Parameter, ...] = (
    click.Option(
        ["-n", "--namespace"],
        metavar="NAME",
        shell_complete=_namespaces,
        help="The pipeline's namespace. Default: the context's.",
    ),
    click.Option(
        ["--context", "kube_context"],
        metavar="NAME",
        shell_complete=_contexts,
        help="Which of the kubeconfig's contexts to use.",
    ),
    click.Option(["--kubeconfig"], metavar="FILE", type=click.Path(), help="The kubeconfig to use, as with kubectl."),
    click.Option(["--as", "impersonated"], metavar="USER", help="Ask as somebody else, as with kubectl."),
)
"""Options that say where and as whom. Before the command they hold as well."""

OUTPUT = click.Option(
    ["-o", "--output"],
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Form of what is printed.",
)
ALL_NAMESPACES = click.Option(
    ["-A", "--all-namespaces"], is_flag=True, default=None, help="Pipelines of all namespaces."
)
PIPELINE = click.Argument(["name"], metavar="PIPELINE", shell_complete=_pipelines)
PIPELINES = click.Argument(["names"], metavar="[PIPELINE]...", nargs=-1, shell_complete=_pipelines)


def command(
    name: str, body: Callable[..., None], params: Sequence[click.Parameter], summary: str | None = None
) -> click.Command:
    """A command of this body: it takes the session, and its options by name. Its docstring is the help."""
    choices = {one.name for one in (*CLUSTER, ALL_NAMESPACES)}

    def run(**options: Any) -> None:
        session = Session.of(click.get_current_context())
        body(session, **{option: value for option, value in options.items() if option not in choices})

    # click takes the indentation out of a function's docstring, and not out of `help`.
    run.__doc__ = body.__doc__
    return click.command(name, params=[*params, *CLUSTER], short_help=summary)(run)


def print_json(content: Any) -> None:
    """For programs."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))
