"""Pods as `availability` reads them, and the little of each that the watch keeps. `run` hands `trimmed` to the watch.

Most of a pod repeats its Deployment, several kilobytes each time. What stands here is about one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from notification_operator import naming


class _Part(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A part of an object of the API: fields that aren't named here are left out."""


class Revision(_Part, frozen=True):
    """Annotations that a pod has from its template, and that differ when the template does.

    The pod's `pod-template-hash` says the same, but nothing tells which of its values is the Deployment's.
    """

    template: str = msgspec.field(default="", name=naming.TEMPLATE_ANNOTATION)
    restarted_at: str = msgspec.field(default="", name="kubectl.kubernetes.io/restartedAt")


class Metadata(_Part, frozen=True):
    """What the watch needs, and which template the pod was made from."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: Mapping[str, str] = {}
    annotations: Revision = Revision()
    deletion_timestamp: str = ""


class Waiting(_Part, frozen=True):
    """The container hasn't started: why not, in the kubelet's words."""

    reason: str = ""
    message: str = ""


class Running(_Part, frozen=True):
    """The container runs."""

    started_at: str = ""


class Terminated(_Part, frozen=True):
    """How the container ended. `message` can be of the program's own making: see `runtimes_words`."""

    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""

    @property
    def runtimes_words(self) -> str:
        """Why it could not even be started; empty for what did start."""
        return self.message if self.reason in ("StartError", "ContainerCannotRun") else ""


class State(_Part, frozen=True):
    """One of three, or none."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class Container(_Part, frozen=True):
    """One container's status."""

    name: str = ""
    image: str = ""
    ready: bool = False
    state: State = State()
    last_state: State = State()


class PodCondition(_Part, frozen=True):
    """One condition of a pod."""

    type: str = ""
    status: str = ""
    message: str = ""
    last_transition_time: str = ""


class PodStatus(_Part, frozen=True):
    """What the scheduler and the kubelet say of a pod."""

    phase: str = ""
    conditions: Sequence[PodCondition] = ()
    init_container_statuses: Sequence[Container] = ()
    container_statuses: Sequence[Container] = ()


class Pod(_Part, frozen=True):
    """One pod."""

    metadata: Metadata = Metadata()
    status: PodStatus = PodStatus()

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata.name

    @property
    def active(self) -> bool:
        """It counts as one of its ReplicaSet's: it has neither ended nor is it told to."""
        return not self.metadata.deletion_timestamp and self.status.phase not in ("Succeeded", "Failed")

    @property
    def containers(self) -> tuple[Container, ...]:
        """All of them, in the order in which they start."""
        return (*self.status.init_container_statuses, *self.status.container_statuses)

    def condition(self, kind: str) -> PodCondition:
        """One condition; empty while it isn't there."""
        return next((one for one in self.status.conditions if one.type == kind), PodCondition())

    def ready_since_start_of(self, container: Container) -> bool:
        """Whether the pod was ready at some time since this running container started.

        It lost its readiness later than that. A crash takes it away before the next start.
        """
        running = container.state.running
        return running is not None and self.condition("Ready").last_transition_time > running.started_at


def trimmed(content: bytes) -> bytes:
    """The JSON of a pod, without what nobody here reads."""
    return msgspec.json.encode(msgspec.json.decode(content, type=Pod))


def read(content: bytes) -> Pod:
    """A pod from its JSON, trimmed or whole."""
    return msgspec.json.decode(content, type=Pod)


def revision(annotations: Mapping[str, str]) -> Revision:
    """The same of a Deployment's template."""
    return msgspec.convert(annotations, Revision)
