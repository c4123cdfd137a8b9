"""The command `dev`: one pipeline on this machine. `__main__` adds it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from pathlib import Path

import click

from notification_operator.errors import SettingsError
from notification_operator.offline.commands import CONTEXT, namespace_option
from notification_operator.offline.dev import Dev, Wishes
from notification_operator.offline.given_secrets import GivenSecrets
from notification_operator.offline.laptop import ADDRESS, DATA_VOLUME, Machine

_WRONG = 1
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OURS = ("NOTIFICATION_", "SLACK_")
"""Variables that would be settings of the dispatcher: here they come from the pipeline alone."""


@click.command("dev", context_settings=CONTEXT)
@click.option("-f", "--filename", "file", required=True, metavar="FILE", type=_FILE, help="File with the pipeline.")
@click.option("--name", metavar="NAME", help="Which pipeline, where the file has several.")
@namespace_option
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0: any. Default: spec.api.port.")
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the queue there. Default: a temporary folder, which goes in the end.",
)
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME/KEY=VALUE",
    help="A key of a Secret that the pipeline refers to; may be given several times. Better in the variable "
    "NOTIFICATION_OPERATOR_SECRET_NAME_KEY, which no list of processes shows.",
)
@click.option(
    "--secrets-from",
    "secret_files",
    multiple=True,
    metavar="FILE",
    type=_FILE,
    help="File with Secrets, as manifests with data or stringData; may be given several times.",
)
def dev(  # noqa: PLR0913, PLR0917  click passes each option as an argument
    file: Path,
    name: str | None,
    namespace: str | None,
    port: int | None,
    data: Path | None,
    secrets: tuple[str, ...],
    secret_files: tuple[Path, ...],
) -> None:
    """Run a pipeline's dispatcher on this machine, without Kubernetes.

    It is the real one, with the settings that it would have in a cluster, and it follows its file: what changes without
    a restart there does so here. Receivers on this machine need allowPrivateAddresses: true in their channel.

    \b
    Ends with Ctrl-C: what is being delivered is finished, temporary files are removed.
      notification-operator dev -f deploy/samples/booking.yaml \\
        --secret slack/alerts=https://hooks.slack.com/services/... \\
        --secret booking-receivers/crm=http://127.0.0.1:9000/hooks
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
    wishes = Wishes(str(file), name, namespace, _free_port() if port == 0 else port, inherited)
    try:
        given = GivenSecrets(secrets, secret_files, os.environ)
        with tempfile.TemporaryDirectory(prefix="notification-dev-") as made:
            folder = Path(made)
            machine = Machine(folder, data or folder / DATA_VOLUME, port or 0)
            code = asyncio.run(Dev(wishes, given, machine, lambda text: click.echo(text, err=True)).run())
    except SettingsError as error:
        click.echo(f"notification-operator: {error}", err=True)
        sys.exit(_WRONG)
    sys.exit(code)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
        return port
