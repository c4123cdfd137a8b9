"""The command `notification-operator`: reads the settings and runs. Nothing else reads flags or the environment."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import click
import uvloop

from notification_dispatcher import completion, logs
from notification_operator import __version__
from notification_operator.credentials import Credentials, pod
from notification_operator.errors import OperatorError
from notification_operator.naming import OPERATOR
from notification_operator.offline import commands
from notification_operator.offline.dev_command import dev
from notification_operator.settings import DEFAULT_IMAGE, ENVIRONMENT_PREFIX, REQUEST_SECONDS, RESYNC_SECONDS, Settings

_CONTEXT: dict[str, Any] = {
    "auto_envvar_prefix": ENVIRONMENT_PREFIX,
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, package_name="plannivo-notifications")
def main() -> None:
    """Turn NotificationPipelines into dispatchers, scrapes, dashboards and Slack alerts.

    \b
    Try it, without a cluster:
      notification-operator validate -f deploy/samples/booking.yaml
      notification-operator render -f deploy/samples/booking.yaml
      notification-operator dev -f deploy/samples/booking.yaml
    """


# Of its own: else click would put the command's name between the prefix and the option's.
@main.command("run", context_settings={"auto_envvar_prefix": ENVIRONMENT_PREFIX})
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File to reach the cluster with. Default: KUBECONFIG, ~/.kube/config, or the pod's own account.",
)
@click.option(
    "-n",
    "--namespace",
    "namespaces",
    multiple=True,
    envvar=f"{ENVIRONMENT_PREFIX}_NAMESPACE",
    metavar="NAME",
    help="Reconcile pipelines of this namespace only; may be given several times.",
)
@click.option("--all-namespaces", is_flag=True, help="Reconcile pipelines of all namespaces. The default.")
@click.option(
    "--dispatcher-image",
    default=DEFAULT_IMAGE,
    show_default=True,
    help="Image of the dispatcher, for pipelines that don't name one.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port of /healthz, /readyz and /metrics; 0 takes any free one.",
)
@click.option("--metrics-host", default="0.0.0.0", show_default=True, help="Address of that port.")  # noqa: S104
@click.option(
    "--leader-elect/--no-leader-elect",
    default=None,
    help="Write only while holding a Lease, so that several replicas can run: one works, another takes over. "
    "Default: on in a pod, off elsewhere, where there is nobody to take over and a restart should not wait.",
)
@click.option(
    "--lease-namespace",
    metavar="NAME",
    help="Namespace of that Lease. Default: the pod's own, else the first --namespace.",
)
@click.option(
    "--lease-name",
    default=OPERATOR,
    show_default=True,
    help="Name of that Lease. Give operators that look after different namespaces different ones.",
)
@click.option(
    "--resync",
    type=click.FloatRange(min=1),
    default=RESYNC_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Look at every pipeline again after this time, and check that the watch told of each change.",
)
@click.option(
    "--request-timeout",
    type=click.FloatRange(min=1),
    default=REQUEST_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Give an API request up that has had no answer for this time, and make it again.",
)
@click.option(
    "--log-format", type=click.Choice(["json", "text"]), default="text", show_default=True, help="How to log."
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The least important line to log.",
)
def run_command(  # noqa: PLR0913, PLR0917  click passes each option as an argument
    kubeconfig: Path | None,
    namespaces: tuple[str, ...],
    all_namespaces: bool,
    dispatcher_image: str,
    metrics_port: int,
    metrics_host: str,
    leader_elect: bool | None,
    lease_namespace: str | None,
    lease_name: str,
    resync: float,
    request_timeout: float,
    log_format: str,
    log_level: str,
) -> None:
    """Watch the cluster and reconcile, until SIGTERM or Ctrl-C.

    Each option is also an environment variable: --log-level is NOTIFICATION_OPERATOR_LOG_LEVEL.

    \b
    Try it against the cluster that your kubectl talks to:
      kubectl apply --server-side -f crds/
      notification-operator run --metrics-port 0
      kubectl apply -f deploy/samples/booking.yaml && kubectl get npl
    """
    if namespaces and all_namespaces:
        raise click.UsageError("--namespace and --all-namespaces exclude each other: give one of them.")
    own_namespace = pod.namespace() if kubeconfig is None else None
    if leader_elect is None:
        leader_elect = own_namespace is not None
    lease_namespace = lease_namespace or own_namespace or next(iter(namespaces), "")
    if leader_elect and not lease_namespace:
        raise click.UsageError("--leader-elect needs --lease-namespace here: outside a pod no namespace is its own.")
    logs.configure(log_format, log_level)
    settings = Settings(
        kubeconfig=kubeconfig,
        namespaces=tuple(dict.fromkeys(namespaces)),
        dispatcher_image=dispatcher_image,
        http_host=metrics_host,
        http_port=metrics_port,
        leader_elect=leader_elect,
        lease_namespace=lease_namespace,
        lease_name=lease_name,
        resync_seconds=resync,
        request_seconds=request_timeout,
    )
    # It brings kopf, for which the other commands need not wait.
    from notification_operator import run  # noqa: PLC0415

    _collect_seldom()
    try:
        uvloop.run(run.Operator(settings, Credentials.load(kubeconfig)).run())
    except OperatorError as error:
        click.echo(f"notification-operator: {error}", err=True)
        sys.exit(1)


def _collect_seldom() -> None:
    """Look for garbage in what is made from now on, and less often than a program that makes few objects.

    Almost all that is decoded goes by itself; to look through it all again and again took a sixteenth of the time.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


for _command in (commands.validate, commands.render, dev):
    main.add_command(_command)
main.add_command(completion.command("notification-operator", main))


if __name__ == "__main__":
    main()
