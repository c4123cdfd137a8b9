"""The command `notification-dispatcher`: reads the settings and runs. Nothing else reads the environment."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click
import uvloop

from notification_dispatcher import __version__, commands, completion, help_text, logs, run, settings_source, tracing
from notification_dispatcher.errors import DispatcherError, SettingsError

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
      notification-dispatcher status booking-4711
      notification-dispatcher dead list --reason timeout
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
        end_tracing = tracing.export(os.environ)
        try:
            uvloop.run(run.run(settings, lambda: settings_source.read(os.environ)))
        finally:
            end_tracing()
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


for _command in (commands.send, commands.status, commands.dead, commands.test_alert):
    main.add_command(_command)
main.add_command(completion.command("notification-dispatcher", main))


def _complain(error: SettingsError) -> None:
    click.echo("notification-dispatcher: these settings cannot work:", err=True)
    for problem in error.problems:
        click.echo(f"  {problem}", err=True)


if __name__ == "__main__":
    main()
