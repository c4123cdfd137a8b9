"""The commands `validate` and `render`, which `__main__` adds.

They end with 0 when all is well, 1 when a pipeline is wrong, 2 when they were called wrongly.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from notification_operator.offline import manifests, rendering
from notification_operator.settings import DEFAULT_IMAGE, ENVIRONMENT_PREFIX

CONTEXT: dict[str, Any] = {"auto_envvar_prefix": ENVIRONMENT_PREFIX}
"""Of each command: else click would put its name between the prefix and an option's."""

_WRONG = 1

Command = Callable[..., None]

files_option = click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="File with pipelines, YAML or JSON; - for standard input; may be given several times.",
)
namespace_option = click.option(
    "-n", "--namespace", metavar="NAME", help="Namespace of pipelines that name none. Default: default."
)
image_option = click.option(
    "--dispatcher-image",
    default=DEFAULT_IMAGE,
    show_default=True,
    help="Image of the dispatcher, for pipelines that don't name one.",
)


@click.command("validate", context_settings=CONTEXT)
@files_option
@namespace_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def validate(files: tuple[str, ...], namespace: str | None, output: str) -> None:
    """Say what the API server would say of pipelines, without one.

    Unknown fields, types, bounds, names, rules between fields: the verdict of `kubectl create --validate=strict`, and
    one refusal more: a key that stands twice in a mapping, of which kubectl silently takes the last. What depends on
    an object that exists (fields that cannot be changed) is not judged. Other kinds of objects are skipped.

    \b
    Ends with 0 when all is valid, 1 when not, 2 when it was called wrongly.
      notification-operator validate -f deploy/samples/booking.yaml
      kustomize build overlays/prod | notification-operator validate -f - --output json
    """
    found = manifests.read(files, namespace)
    _note(found)
    if output == "json":
        click.echo(json.dumps([wrong.as_json() for wrong in found.wrong], indent=2, ensure_ascii=False))
    else:
        for wrong in found.wrong:
            click.echo(str(wrong))
        for place, pipeline in found.pipelines:
            click.echo(f"{place}, {pipeline.name}: valid")
    sys.exit(_WRONG if found.wrong else 0)


@click.command("render", context_settings=CONTEXT)
@files_option
@namespace_option
@image_option
@click.option("--keda", is_flag=True, help="For a cluster that has KEDA, which then scales what autoscaling asks for.")
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def render(files: tuple[str, ...], namespace: str | None, dispatcher_image: str, keda: bool, output: str) -> None:
    """Print the objects that the operator would make of pipelines, without a cluster.

    The same input gives the same output, so that a review shows what a change does. It is for reading and comparing,
    not for applying: it takes every Secret for given, and puts references in place of what they hold; owners are left
    out.

    \b
    Ends with 0, with 1 when a pipeline is invalid, with 2 when it was called wrongly.
      notification-operator render -f deploy/samples/booking.yaml
      notification-operator render -n notifications -f booking.yaml | kubectl diff -f -
    """
    found = manifests.read(files, namespace)
    _note(found)
    if found.wrong:
        for wrong in found.wrong:
            click.echo(str(wrong), err=True)
        sys.exit(_WRONG)
    children = [child for _, one in found.pipelines for child in rendering.render(one, dispatcher_image, keda=keda)]
    click.echo(rendering.to_json(children) if output == "json" else rendering.to_yaml(children), nl=False)


def _note(found: manifests.Manifests) -> None:
    for note in manifests.notes(found):
        click.echo(note, err=True)
