"""The commands that ask a pipeline's dispatchers: send, show, dead-letters, replay, discard, test-alert.

What is asked is said in `notification_dispatcher.calls`, for the dispatcher's own command line too. Here is how one is
reached from anywhere: a ready pod's port, forwarded, with the bearer token from the Secret that the pipeline names.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from notification_dispatcher import calls
from notification_dispatcher.calls import Call
from notification_dispatcher.errors import ClientError
from notification_operator.plugin import pipelines
from notification_operator.plugin.errors import DeniedError, MissingError, PluginError
from notification_operator.plugin.forward import Forward
from notification_operator.plugin.pipelines import Pipeline
from notification_operator.plugin.session import OUTPUT, PIPELINE, Session, command

if TYPE_CHECKING:
    from notification_dispatcher.client import Client

_TOKEN = "NOTIFICATION_API_TOKEN"  # noqa: S105  a variable's name
_OTHERWISE = f"or give the token yourself: --token-file, or {_TOKEN}"

_ACCESS = (
    click.Option(
        ["--token-file"],
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=f"File with the API's bearer token; also {_TOKEN}. Default: the Secret that the pipeline names.",
    ),
    click.Option(["--token"], envvar=_TOKEN, hidden=True),
    click.Option(["--url"], help="Reach the API there, and not through a port-forward: by an Ingress, say."),
)


def _asking(name: str, call: Call, summary: str, text: str) -> click.Command:
    """A command that asks a dispatcher of a pipeline."""

    def body(session: Session, name: str, output: str, **options: Any) -> None:
        access = {option: options.pop(option) for option in ("token_file", "token", "url")}
        try:
            with _client(session, name, **access) as client:
                call.body(client, output=output, **options)
        except ClientError as error:
            raise PluginError(str(error)) from None

    body.__doc__ = text
    return command(name, body, [PIPELINE, *call.params, OUTPUT, *_ACCESS], summary)


@contextmanager
def _client(
    session: Session, name: str, token_file: Path | None, token: str | None, url: str | None
) -> Iterator[Client]:
    try:
        # It brings httpx: not for a completion.
        from notification_dispatcher.client import Client  # noqa: PLC0415
    except ImportError as error:
        wanted = "install the plugin with its extra, from a checkout by pipx install '.[kubectl]'"
        raise PluginError(f"{error.name} is missing: {wanted}") from None

    pipeline = pipelines.find(session.kubectl, session.namespace, name)
    given = token if token_file is None else token_file.read_text().strip()
    if not given:
        given = _token(session, pipeline)
    if url:
        with Client(url, given) as client:
            yield client
        return
    pod = _serving(session, pipeline)
    forward = Forward(session.kubectl, pipeline.namespace, pod, pipeline.port)
    try:
        with Client(forward.url, given, f"{pipeline.name} (pod {pod})") as client:
            yield client
    except ClientError as error:
        # What kubectl complained of is the cause, where the connection failed.
        cause = forward.close()
        raise ClientError(f"{error} ({cause})" if cause else str(error)) from None
    finally:
        forward.close()


def _serving(session: Session, pipeline: Pipeline) -> str:
    """A pod that is ready: any of them, for they share the queue."""
    pods = pipelines.pods_of(session.kubectl, pipeline)
    ready = next((pod.name for pod in pods if pod.ready), None)
    if ready is not None:
        return ready
    states = ", ".join(f"{pod.name} is {pod.state}" for pod in pods)
    raise PluginError(
        f"no pod of {pipeline.name} is ready: {states or 'there is none'}. "
        f"Why: kubectl notifications status {pipeline.name} -n {pipeline.namespace}"
    )


def _token(session: Session, pipeline: Pipeline) -> str | None:
    """The bearer token that the pipeline's Secret has; None where the API is open."""
    reference = pipeline.setting("api", "authTokenSecretRef")
    if not reference:
        return None
    secret = f"{pipeline.namespace}/{reference['name']}"
    try:
        found = session.kubectl.get(f"/api/v1/namespaces/{pipeline.namespace}/secrets/{reference['name']}")
    except DeniedError as error:
        raise DeniedError(
            f"the API of {pipeline.name} needs a bearer token, and your account may not read it from the Secret "
            f"{secret}: ask for `get` on it, {_OTHERWISE}. The API server says: {error.message}"
        ) from None
    except MissingError:
        raise MissingError(
            f"the API of {pipeline.name} needs a bearer token, and there is no Secret {secret}"
        ) from None
    value = (found.get("data") or {}).get(reference["key"])
    if not value:
        raise MissingError(
            f"the API of {pipeline.name} needs a bearer token, and the Secret {secret} has no key {reference['key']}"
        )
    return base64.b64decode(value).decode(errors="replace").strip()


send = _asking(
    "send",
    calls.SEND,
    "Send notifications.",
    """Send notifications to a pipeline, and print what became of each.

    \b
    For example:
      kubectl notifications send booking --type booking-created --payload '{"student": "Ada"}'
      kubectl notifications send booking --file batch.json

    Ends with 0 when all were queued or are known already, 1 when some were dropped, 2 when nothing was sent.
    """,
)
show = _asking(
    "show",
    calls.SHOW,
    "Say where a notification is.",
    """Say where a notification is, and what its last attempt came to.

    \b
    For example:
      kubectl notifications show booking b-1017

    Ends with 0, or with 2 when there is no such notification, or it could not be asked.
    """,
)
dead_letters = _asking(
    "dead-letters",
    calls.DEAD_LIST,
    "List what failed for good.",
    """List dead letters, the latest first: notifications that failed for good, and are kept.

    \b
    For example:
      kubectl notifications dead-letters booking
      kubectl notifications dead-letters booking --reason timeout --channel crm
      kubectl notifications dead-letters booking -o json | jq -r '.notifications[].id'

    Ends with 0, or with 2 when it could not be asked.
    """,
)
replay = _asking(
    "replay",
    calls.DEAD_REPLAY,
    "Queue dead letters again.",
    """Queue dead letters again. What was delivered of them is not delivered again.

    As many as there is room for in the queue: what is left stays a dead letter.

    \b
    For example:
      kubectl notifications replay booking --reason timeout    # after the outage
      kubectl notifications replay booking b-1017 b-1018
      kubectl notifications replay booking --all

    Ends with 0, or with 2 when it could not be asked, or one of the ids is no dead letter.
    """,
)
discard = _asking(
    "discard",
    calls.DEAD_DELETE,
    "Delete dead letters.",
    """Delete dead letters. They are gone for good.

    \b
    For example:
      kubectl notifications discard booking --type instructor-rated
      kubectl notifications discard booking b-1017 --yes

    Ends with 0, with 1 when you say no, with 2 when it could not be asked.
    """,
)
test_alert = _asking(
    "test-alert",
    calls.TEST_ALERT,
    "Send a test alert to Slack.",
    """Send a test alert to the Slack channel that a pipeline's alerts go to, and say what came back.

    \b
    For example:
      kubectl notifications test-alert booking

    Ends with 0 when Slack took it, else with 2, and says why not.
    """,
)
