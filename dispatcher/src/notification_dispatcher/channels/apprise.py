"""The Apprise channel: any service that Apprise knows. Made by `registry`, and imported where there is one.

Apprise blocks, and makes its own connections: it runs in threads of its own, and what they connect or send to is looked
at by an audit hook, the one place that all of Python's sockets pass. What it cannot see is refused: processes, and
services that connect in C or in other threads. Source: PEP 578.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import apprise

from notification_dispatcher.channels.addresses import is_public
from notification_dispatcher.channels.base import DELIVERED, Delivery, Outcome
from notification_dispatcher.channels.templates import Text, TextError
from notification_dispatcher.errors import BlockedAddressError
from notification_dispatcher.job import Lease
from notification_dispatcher.metric_names import FailureReason

_THREADS = 8
"""Of each channel. One whose service drips stays busy though nobody waits for it any more: that is not to go on for
ever, and not at the cost of other channels."""
_ADDRESS_PARTS = 2
_TO_AN_ADDRESS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_PROCESSES = frozenset({"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"})
_OUT_OF_SIGHT = frozenset(
    {"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows", "xmpp", "xmpps"}
)
"""Schemes of the machine's own services, and of the one that connects in a thread of its own.

They are there where what they need is installed.
"""
_NO_NETWORK = "the destination is not on the network"
_UNSEEN = "the service connects in ways that cannot be looked at"
_PRIVATE = "the destination is on a private address"

# Both tell URLs, which are credentials: it of what it does, the other of what it repeats.
for _name in ("apprise", "urllib3"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class _Guard(threading.local):
    """What a thread may connect to."""

    public_only = False
    blocked = ""
    """Why something was."""


_guard = _Guard()


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _TO_AN_ADDRESS and _guard.public_only:
        why = _objection(arguments[1])
    elif event in _PROCESSES and _guard.public_only:
        why = _UNSEEN
    else:
        return
    if why:
        _guard.blocked = why
        raise BlockedAddressError(why)


def _objection(address: Any) -> str:
    """Why an address may not be reached, or nothing."""
    if address is None:
        # A message on a socket that is connected: it was looked at then.
        return ""
    if not isinstance(address, tuple) or len(address) < _ADDRESS_PARTS:
        return _NO_NETWORK
    try:
        return "" if is_public(ipaddress.ip_address(str(address[0]).partition("%")[0])) else _PRIVATE
    except ValueError:
        # A name: the C library resolves it, and nobody could look at what it finds.
        return _PRIVATE


sys.addaudithook(_look)


class AppriseChannel:
    """One service. Raises ValueError when Apprise does not know the URL; it never stands in the error."""

    def __init__(self, url: str, title: Text, text: Text, *, allow_private: bool) -> None:
        asset = apprise.AppriseAsset(async_mode=False, secure_logging=True)
        service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if service is None:
            raise ValueError("not a URL that Apprise knows")
        _take_finalizers(type(service))
        self._service = service
        self._title = title
        self._text = text
        self._allow_private = allow_private
        self._room = asyncio.Semaphore(_THREADS)

    async def deliver(self, job: Lease) -> Delivery:
        """Have Apprise send it. It does not tell what went wrong: so it is tried again."""
        try:
            title, text = self._title.render(job), self._text.render(job)
        except TextError as error:
            return Delivery(Outcome.FAILED, FailureReason.TEMPLATE, str(error))
        return await self._in_thread(lambda: self._notify(title, text))

    async def _in_thread(self, call: Callable[[], Delivery]) -> Delivery:
        """Call it in a thread that the end of the process does not wait for, as it would for an executor's."""
        await self._room.acquire()
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Delivery] = loop.create_future()

        def end(delivery: Delivery) -> None:
            self._room.release()
            if not ended.done():
                ended.set_result(delivery)

        def run() -> None:
            delivery = call()
            # Where the loop is closed the process ends, and nobody waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(end, delivery)

        try:
            threading.Thread(target=run, name="apprise", daemon=True).start()
        except BaseException:
            # There may be as many as the machine has room for.
            self._room.release()
            raise
        return await ended

    def _notify(self, title: str, text: str) -> Delivery:
        if self._service.schema in _OUT_OF_SIGHT and not self._allow_private:
            return Delivery(Outcome.FAILED, FailureReason.BLOCKED_ADDRESS, _UNSEEN)
        _guard.public_only, _guard.blocked = not self._allow_private, ""
        try:
            if self._service.notify(body=text, title=title):
                return DELIVERED
        except BaseException as error:  # noqa: BLE001  a plugin may raise anything, URLs included; it ends no thread
            detail = f"the service could not be told ({type(error).__name__})"
        else:
            detail = "the service did not take it"
        finally:
            _guard.public_only = False
        if _guard.blocked:
            return Delivery(Outcome.FAILED, FailureReason.BLOCKED_ADDRESS, _guard.blocked)
        return Delivery(Outcome.RETRY, FailureReason.UNKNOWN, detail)


def _take_finalizers(service: type) -> None:
    """Some log out when they are collected: in any thread, where nobody looks at the address and nothing may block."""
    for kind in service.__mro__:
        if "__del__" in vars(kind):
            delattr(kind, "__del__")
