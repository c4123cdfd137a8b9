"""A wall clock of one process's own, by libfaketime, which a test sets while the process runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.faults.tools import libfaketime


class WallClock:
    """What one process takes for the time of day."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "faketime"
        self._offset = 0
        self.jumps: list[int] = []
        self._write()

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment of that process."""
        return {
            "LD_PRELOAD": str(libfaketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Its remedy for old glibcs makes waits for a lock last too long: Python's threads stood still for seconds.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            # Files keep their own times: nobody reads them, and each look at a file would be changed.
            "NO_FAKE_STAT": "1",
        }

    def jump(self, seconds: int) -> None:
        """Set it."""
        self._offset += seconds
        self.jumps.append(seconds)
        self._write()

    def after(self, seconds: float) -> str:
        """A time of day from now, as `deliverAt` has it."""
        moment = datetime.now(UTC) + timedelta(seconds=self._offset + seconds)
        return moment.isoformat(timespec="milliseconds")

    def _write(self) -> None:
        # In one step: the process reads it each time that it looks at its clock.
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._offset:+d}\n")
        new.replace(self._file)


@contextmanager
def tidied_up(process: int) -> Iterator[None]:
    """Remove what libfaketime leaves behind when it is killed: a process of the same number would stumble over it."""
    try:
        yield
    finally:
        for left in Path("/dev/shm").glob(f"*faketime_*_{process}"):  # noqa: S108  not a file of ours
            left.unlink(missing_ok=True)
