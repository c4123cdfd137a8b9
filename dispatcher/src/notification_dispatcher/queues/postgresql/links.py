"""Connections to the database: made when one is needed, kept, and thrown away when anything went wrong on one.

Every other module here gets its connections from `Links`, and what it does on one raises nothing but
QueueUnavailableError: no message, and no cause, of the driver's gets any further, since the secret may stand in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import QueueError, QueueUnavailableError

if TYPE_CHECKING:
    Link = asyncpg.Connection[asyncpg.Record]
else:
    Link = asyncpg.Connection

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 15.0
"""For one statement: longer than a dispatcher that hangs keeps a lock, which is the next number."""
_ABANDONED_MS = 10_000
_TCP = {"TCP_KEEPIDLE": 3, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 5000}
"""A machine that went away without a word is missed within five seconds, by who waits for it and by who does not."""
_FINISHING_SECONDS = 1.0
_GOODBYE_SECONDS = 0.5
_BACK_OFF_SECONDS = 0.2
"""After a connection could not be made, nobody else tries for so long: callers are told at once."""
_NO_ROOM = "53300"
"""The server, or the role, has as many connections as it may."""
_FULL_SECONDS = 5.0
"""For so long it is not asked for one more."""

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


class SilentError(FailedError):
    """No answer came in time."""


class HopelessError(FailedError):
    """The database was reached, and refuses this dispatcher."""


class Access(NamedTuple):
    """The way to the database. Secret."""

    dsn: str
    ca: str | None

    def __repr__(self) -> str:
        return "Access(secret)"


class Links:
    """A bounded number of connections, each for one user at a time. None outlives `close`."""

    def __init__(self, access: Callable[[], Access], schema: str, size: int, clock: Clock) -> None:
        """`access` is asked before each use, so that a new secret needs no restart: what was made with another goes."""
        self._access = access
        self._schema = schema
        self._size = size
        self._clock = clock
        self._places = asyncio.Semaphore(size)
        self._made: set[Link] = set()
        """Every connection from its first moment to its last: so none can be forgotten."""
        self._idle: list[tuple[Access, Link]] = []
        self._freed = asyncio.Event()
        self._not_before = 0.0
        self._why = ""
        self._full_until = 0.0
        self._closed = False
        self.begin: Callable[[Link], Awaitable[None]] | None = None
        """What is done first on each new connection."""
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
            except BaseException as error:
                self._end(link)
                if isinstance(error, SilentError):
                    self.distrust()
                raise
            self.available = True
            self._idle.append((access, link))
            self._freed.set()

    def distrust(self) -> None:
        """Use none again that is idle: what swallowed one's answer may swallow everything on the others as well."""
        while self._idle:
            _, link = self._idle.pop()
            self._end(link)

    async def close(self) -> None:
        """Let those who use one finish, but not for ever; then say goodbye to the server, but not for ever either."""
        self._closed = True
        taken = 0
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FINISHING_SECONDS):
                    while taken < self._size:
                        await self._places.acquire()
                        taken += 1
            goodbyes = [link.close(timeout=_GOODBYE_SECONDS) for _, link in self._idle]
            # One that is dead already, or slow, is closed all the same.
            await asyncio.gather(*goodbyes, return_exceptions=True)
        finally:
            self._idle.clear()
            for link in list(self._made):
                self._end(link)
            for _ in range(taken):
                # Whoever comes now, or waits, is told that it is closed.
                self._places.release()

    async def _take(self) -> tuple[Access, Link]:
        """An idle one, or a new one; where the server has no room for a new one, the next that gets idle."""
        while True:
            if self._closed:
                raise FailedError("the queue is closed")
            access = self._access()
            while self._idle:
                made_with, link = self._idle.pop()
                if made_with == access and not link.is_closed():
                    return access, link
                self._end(link)
            now = self._clock.monotonic()
            if now < self._not_before:
                raise FailedError(self._why)
            if now >= self._full_until or not self._made:
                try:
                    return access, await self._make(access)
                except QueueError as error:
                    if getattr(error, "code", "") != _NO_ROOM or not self._made:
                        self._not_before = self._clock.monotonic() + _BACK_OFF_SECONDS
                        self._why = str(error)
                        raise
                    self._full_until = self._clock.monotonic() + _FULL_SECONDS
            if not self._idle:
                self._freed.clear()
                await self._freed.wait()

    async def _make(self, access: Access) -> Link:
        with _Explained(self):
            # Cancelled or too late, the driver closes what it has begun.
            link = await _connect(access)
            self._made.add(link)
            try:
                await link.execute(_session(self._schema), timeout=_CONNECT_SECONDS)
                if self.begin is not None:
                    await self.begin(link)
            except BaseException:
                self._end(link)
                raise
            return link

    def _end(self, link: Link) -> None:
        link.terminate()
        self._made.discard(link)
        self._freed.set()


@asynccontextmanager
async def transaction(link: Link) -> AsyncIterator[None]:
    """One for the block. When that raises, it ends with the connection: a ROLLBACK would wait where a server hangs."""
    await link.execute("BEGIN")
    yield
    await link.execute("COMMIT")


class _WatchedLink(Link):
    """One whose other end the machine looks after."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *more: Any) -> None:
        super().__init__(protocol, transport, *more)
        channel = transport.get_extra_info("socket")
        if channel.family != getattr(socket, "AF_UNIX", None):
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _TCP.items():
                # Not every system has all of them.
                if hasattr(socket, name):
                    channel.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _connect(access: Access) -> Link:
    more: dict[str, Any] = {}
    try:
        if access.ca is not None:
            more["ssl"] = ssl.create_default_context(cadata=access.ca)
        if "target_session_attrs" not in access.dsn:
            # After a failover, the server that was the primary may still answer.
            more["target_session_attrs"] = "read-write"
        return await asyncpg.connect(
            access.dsn,
            timeout=_CONNECT_SECONDS,
            command_timeout=_ANSWER_SECONDS,
            server_settings={"application_name": "notification-dispatcher"},
            connection_class=_WatchedLink,
            **more,
        )
    except OSError:
        # A certificate that cannot be trusted is a ValueError as well.
        raise
    except ValueError:
        raise asyncpg.ClientConfigurationError("the DSN") from None


def _session(schema: str) -> str:
    """What is set on each connection. Not while it is made: a pooler refuses what it cannot keep apart."""
    return f"""
SET search_path = "{schema}";
SET default_transaction_isolation = 'read committed';
SET idle_in_transaction_session_timeout = {_ABANDONED_MS};
-- A queue is empty at one moment and holds a million at the next, and a plan outlives both: only those that are good
-- for either. Every statement has an index, and what takes the first of many walks it in order: a bitmap is made of
-- all of them, and sorted on disk.
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET jit = off;
"""


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
            kind = SilentError if isinstance(error, TimeoutError) else FailedError
            raise kind(f"the queue's database failed ({_words(error)})", code) from None


def _words(error: BaseException) -> str:
    """What may be said of it: its kind. Messages quote values, names and addresses."""
    code = getattr(error, "sqlstate", None)
    return type(error).__name__ if code is None else f"{type(error).__name__}, SQLSTATE {code}"
