"""Connections to the database: made when one is needed, kept, and thrown away when anything went wrong on one.

Every other module here gets its connections from `Links`, and what it does on one raises nothing but
QueueUnavailableError: no message, and no cause, of the driver's gets any further, since the secret may stand in it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import QueueError, QueueUnavailableError

if TYPE_CHECKING:
    Link = asyncpg.Connection[asyncpg.Record]

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 15.0
"""For one statement: longer than a dispatcher that hangs keeps a lock, which is the next number."""
_ABANDONED_MS = 10_000
_BACK_OFF_SECONDS = 0.2
"""After a connection could not be made, nobody else tries for so long: callers are told at once."""

_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_HOPELESS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ClientConfigurationError,
)
"""What waiting does not mend, unlike a server that is down."""


class FailedError(QueueUnavailableError):
    """A statement failed. `code` is its SQLSTATE; empty when there is none."""

    def __init__(self, words: str, code: str = "") -> None:
        super().__init__(words)
        self.code = code


class HopelessError(FailedError):
    """The database was reached, and refuses this dispatcher."""


class Access(NamedTuple):
    """The way to the database. Secret."""

    dsn: str
    ca: str | None

    def __repr__(self) -> str:
        return "Access(secret)"


class Links:
    """A bounded number of connections, each for one user at a time."""

    def __init__(self, access: Callable[[], Access], schema: str, size: int, clock: Clock) -> None:
        """`access` is asked before each connection is made, so that a new secret needs no restart."""
        self._access = access
        self._schema = schema
        self._clock = clock
        self._places = asyncio.Semaphore(size)
        self._idle: list[tuple[Access, Link]] = []
        self._not_before = 0.0
        self.available = False
        """Whether the last thing that was tried worked."""

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        """A connection for the block. When it raises, the connection is gone, and its transaction with it."""
        async with self._places:
            access, link = await self._take()
            try:
                with _Explained(self):
                    yield link
            except BaseException:
                link.terminate()
                raise
            self.available = True
            self._idle.append((access, link))

    async def listen(self, channel: str, heard: Callable[..., None]) -> Link:
        """A connection beside the others that calls back for each notification. Whoever asked for it closes it."""
        with _Explained(self):
            link = await self._connect(self._access())
            await link.add_listener(channel, heard)
            return link

    async def answers(self, link: Link) -> bool:
        """Whether a connection of that kind is still one."""
        try:
            with _Explained(self):
                await link.execute("SELECT 1")
        except FailedError:
            link.terminate()
            return False
        return True

    async def close(self) -> None:
        """Let go of those that are idle."""
        while self._idle:
            _, link = self._idle.pop()
            link.terminate()

    async def _take(self) -> tuple[Access, Link]:
        access = self._access()
        while self._idle:
            made_with, link = self._idle.pop()
            if made_with == access and not link.is_closed():
                return access, link
            link.terminate()
        if self._clock.monotonic() < self._not_before:
            raise FailedError("the queue's database cannot be reached")
        try:
            with _Explained(self):
                return access, await self._connect(access)
        except QueueError:
            self._not_before = self._clock.monotonic() + _BACK_OFF_SECONDS
            raise

    async def _connect(self, access: Access) -> Link:
        more: dict[str, Any] = {}
        if access.ca is not None:
            more["ssl"] = ssl.create_default_context(cadata=access.ca)
        if "target_session_attrs" not in access.dsn:
            # After a failover, the server that was the primary may still answer.
            more["target_session_attrs"] = "read-write"
        try:
            return await asyncpg.connect(
                access.dsn,
                timeout=_CONNECT_SECONDS,
                command_timeout=_ANSWER_SECONDS,
                server_settings=_session(self._schema),
                **more,
            )
        except ValueError:
            raise asyncpg.ClientConfigurationError("the DSN") from None


def _session(schema: str) -> dict[str, str]:
    return {
        "application_name": "notification-dispatcher",
        "search_path": f'"{schema}"',
        "default_transaction_isolation": "read committed",
        "idle_in_transaction_session_timeout": str(_ABANDONED_MS),
        # A queue is empty at one moment and holds a million at the next, and a plan outlives both: only those that
        # are good for either. Every statement has an index.
        "enable_seqscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "jit": "off",
    }


class _Explained:
    """Turns the driver's errors into ours, and forgets them: their arguments are not for logs."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, _HOPELESS):
            self._links.available = False
            code = getattr(error, "sqlstate", None) or ""
            raise HopelessError(f"the queue's database refuses the dispatcher ({_words(error)})", code) from None
        if isinstance(error, _FAILURES):
            self._links.available = False
            code = getattr(error, "sqlstate", None) or ""
            raise FailedError(f"the queue's database failed ({_words(error)})", code) from None


def _words(error: BaseException) -> str:
    """What may be said of it: its kind. Messages quote values, names and addresses."""
    code = getattr(error, "sqlstate", None)
    return type(error).__name__ if code is None else f"{type(error).__name__}, SQLSTATE {code}"
