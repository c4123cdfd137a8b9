"""Everything that the operator raises on purpose.

    OperatorError
    ├── SettingsError          the operator itself cannot start as configured
    ├── InvalidSpecError       the stored spec is outside the schema: an old object, or a schema that was edited
    ├── OwnershipError         an object of a child's name belongs to somebody else: never taken over
    └── ApiError               the API server refused or could not be reached
        ├── NotFoundError      404
        ├── ForbiddenError     403: a permission is missing
        ├── ConflictError      409: somebody was faster, read again
        │   └── AlreadyExistsError   an object of that name is there
        ├── GoneError          410: the watch's position is too old, list again
        ├── NotLeadingError    another operator leads, or may soon: the write was not sent
        └── TransientError     429, 5xx, a timeout, a lost connection: worth another try

Raised by `cluster`, `fence` and `reconcile`, turned into conditions by `reconcile` and into a later try by `workqueue`.
"""

from __future__ import annotations

from collections.abc import Sequence

from notification_operator.findings import Finding


class OperatorError(Exception):
    """Root of the tree."""


class SettingsError(OperatorError):
    """The operator cannot start as configured; the message names the setting and the fix."""


class InvalidSpecError(OperatorError):
    """A spec that the model does not accept; the message names each field. `findings` has them one by one."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("; ".join(map(str, findings)))
        self.findings = tuple(findings)


class OwnershipError(OperatorError):
    """An object of a child's name exists and is not ours."""


class ApiError(OperatorError):
    """An answer of the API server that is not a success. `status` is its HTTP status, 0 when there was none."""

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        """Seconds that the server asked to wait, if it did."""


class NotFoundError(ApiError):
    """The object, or its whole API, is not there."""


class ForbiddenError(ApiError):
    """The operator's account lacks a permission."""


class ConflictError(ApiError):
    """The object changed in between, or another one has its name."""


class AlreadyExistsError(ConflictError):
    """What was to be created is there already, whoever made it."""


class GoneError(ApiError):
    """A watch's resourceVersion is no longer kept."""


class NotLeadingError(ApiError):
    """A write that did not leave this process, since it does not lead."""


class TransientError(ApiError):
    """Worth another try."""
