"""The command `notification-dispatcher`: reads the settings and runs. Nothing else reads the environment."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import IO, Any

import click
import uvloop

from notification_dispatcher import __version__, help_text, logs, run, sending, settings_source
from notification_dispatcher.errors import DispatcherError, SendError, SettingsError

_CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_WRONG_SETTINGS = 2
_FAILED = 1


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, package_name="plannivo-notifications")
def main() -> None:
    """Take notification jobs over HTTP, deliver them through channels, and say how it goes.

    \b
    Try it:
      notification-dispatcher run                       # port 4000, a queue in notification-queue.db
      notification-dispatcher send --type booking-created --payload '{"student": "Ada"}'
      curl -s localhost:4000/api/metrics/prometheus | grep plannivo_notification
    Without a channel, jobs fail with the reason no_channel: `run --help` shows how to set one.
    """


@main.command("run", epilog=help_text.VARIABLES)
def run_command() -> None:
    """Serve until SIGTERM or Ctrl-C.

    \b
    Channels and job types come from a pipeline file, JSON or YAML, in the words of the custom resource:
      channels:
        - name: crm
          webhook: {url: https://crm.example.com/hooks}
      jobTypes:
        - {name: booking-created, priority: High, channels: [crm]}
    Name it in NOTIFICATION_PIPELINE_FILE, or call it pipeline.json in the folder of settings.

    \b
    Each setting is an environment variable, or a file of that name in the folder that
    NOTIFICATION_CONFIG_DIR names; the folder wins, and what can change there does so without a restart.
    """
    try:
        settings = settings_source.read(os.environ)
        logs.configure(settings.fixed.log_format, settings.fixed.log_level)
        uvloop.run(run.run(settings, lambda: settings_source.read(os.environ)))
    except SettingsError as error:
        _complain(error)
        sys.exit(_WRONG_SETTINGS)
    except DispatcherError as error:
        click.echo(f"notification-dispatcher: {error}", err=True)
        sys.exit(_FAILED)


@main.command("check", short_help="Say what `run` would do, and what is wrong.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def check_command(output: str) -> None:
    """Read the settings as `run` would, and print what would be in force, without secrets.

    Ends with 2 when they are wrong, and says each problem.
    """
    try:
        settings = settings_source.read(os.environ)
    except SettingsError as error:
        if output == "json":
            click.echo(json.dumps({"valid": False, "problems": error.problems}, indent=2))
        else:
            _complain(error)
        sys.exit(_WRONG_SETTINGS)
    click.echo(help_text.in_force_json(settings) if output == "json" else help_text.in_force(settings))


@main.command("send")
@click.option("--url", default="http://127.0.0.1:4000", show_default=True, help="Where the dispatcher listens.")
@click.option("--type", "job_type", help="The job type: booking-created, lesson-completed, …")
@click.option("--payload", default="{}", show_default=True, help="The payload, a JSON object.")
@click.option("--id", "job_id", help="The job's id, by which repetitions are recognised. Default: a new one.")
@click.option(
    "--file",
    "file",
    type=click.File("rb"),
    help='A batch: {"notifications": […]}, a list, or one item a line; - for standard input.',
)
@click.option(
    "--token",
    envvar="NOTIFICATION_API_TOKEN",
    help="Bearer token, where one is needed. Default: NOTIFICATION_API_TOKEN.",
)
def send_command(**options: Any) -> None:
    """Send notifications, and print what became of each.

    Ends with 0 when all were queued or are known already, 1 when some were dropped, 2 when nothing was sent.
    """
    file: IO[bytes] | None = options.pop("file")
    try:
        body = sending.batch(file) if file is not None else sending.single(options)
        answers = asyncio.run(sending.send(options["url"], options["token"], body))
    except SendError as error:
        click.echo(f"notification-dispatcher: {error}", err=True)
        sys.exit(2)
    for line in sending.lines(answers):
        click.echo(line)
    sys.exit(1 if sending.dropped(answers) else 0)


def _complain(error: SettingsError) -> None:
    click.echo("notification-dispatcher: these settings cannot work:", err=True)
    for problem in error.problems:
        click.echo(f"  {problem}", err=True)


if __name__ == "__main__":
    main()
