"""Everything that the dispatcher raises on purpose.

    DispatcherError
    ├── SettingsError          a setting is wrong; the message names each variable and the fix
    ├── QueueError
    │   ├── QueueInUseError    another process has the queue's file, or another pipeline its schema
    │   ├── QueueSchemaError   the queue was written by a newer version, or its schema cannot be got at
    │   └── QueueUnavailableError   the engine cannot store or read now: disk full, file damaged, closed
    ├── BlockedAddressError    a destination is on an address that its channel may not reach
    ├── RequestError           a request over HTTP cannot be served; it has the status and the sentence
    └── ClientError            the command line could not ask, or was refused

Raised below `app`, `worker` and `__main__`, which turn them into answers, retries and exit codes.
"""

from __future__ import annotations

from collections.abc import Mapping


class DispatcherError(Exception):
    """Root of the tree."""


class SettingsError(DispatcherError):
    """Settings that cannot work. `problems` has one sentence each, and no secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class QueueError(DispatcherError):
    """The queue cannot do what was asked."""


class QueueInUseError(QueueError):
    """The queue is another process's or another pipeline's: two would deliver everything twice, or the other's jobs."""


class QueueSchemaError(QueueError):
    """The queue is of a newer version than this program, or its schema is out of this program's reach."""


class QueueUnavailableError(QueueError):
    """The engine cannot store or read now; nothing that was asked for is done."""


class BlockedAddressError(DispatcherError, OSError):
    """The destination's address is one that the channel may not reach. An OSError, as resolvers raise."""


class RequestError(DispatcherError):
    """A request that is answered with a problem. Source of the answer's form: RFC 9457."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})


class ClientError(DispatcherError):
    """A dispatcher could not be asked, or refused. The message says why."""
