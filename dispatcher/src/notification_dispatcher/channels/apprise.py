"""The Apprise channel: any service that Apprise knows. Made by `registry`, and imported where there is one.

Apprise blocks, and makes its own connections: it runs in threads of its own, and what they connect to is looked at by
an audit hook, the one place that every connection passes. Source: PEP 578.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apprise

from notification_dispatcher.channels.addresses import is_public
from notification_dispatcher.channels.base import DELIVERED, Delivery, Outcome
from notification_dispatcher.channels.templates import Text, TextError
from notification_dispatcher.errors import BlockedAddressError
from notification_dispatcher.job import Lease
from notification_dispatcher.metric_names import FailureReason

_THREADS = 8
_ADDRESS_PARTS = 2

# Both tell URLs, which are credentials: it of what it does, the other of what it repeats.
for _name in ("apprise", "urllib3"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class _Guard(threading.local):
    """What a thread may connect to."""

    public_only = False
    blocked = False


_guard = _Guard()
_threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="apprise")


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect" or not _guard.public_only:
        return
    address = arguments[1]
    if not isinstance(address, tuple) or len(address) < _ADDRESS_PARTS:
        _guard.blocked = True
        raise BlockedAddressError("the destination is not on the network")
    try:
        public = is_public(ipaddress.ip_address(str(address[0]).partition("%")[0]))
    except ValueError:
        # A name: the C library resolves it, and nobody could look at what it finds.
        public = False
    if not public:
        _guard.blocked = True
        raise BlockedAddressError("the destination is on a private address")


sys.addaudithook(_look)


class AppriseChannel:
    """One service. Raises ValueError when Apprise does not know the URL; it never stands in the error."""

    def __init__(self, url: str, title: Text, text: Text, *, allow_private: bool) -> None:
        asset = apprise.AppriseAsset(async_mode=False, secure_logging=True)
        service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if service is None:
            raise ValueError("not a URL that Apprise knows")
        self._service = service
        self._title = title
        self._text = text
        self._allow_private = allow_private

    async def deliver(self, job: Lease) -> Delivery:
        """Have Apprise send it. It does not tell what went wrong: so it is tried again."""
        try:
            title, text = self._title.render(job), self._text.render(job)
        except TextError as error:
            return Delivery(Outcome.FAILED, FailureReason.TEMPLATE, str(error))
        return await asyncio.get_running_loop().run_in_executor(_threads, self._notify, title, text)

    def _notify(self, title: str, text: str) -> Delivery:
        _guard.public_only, _guard.blocked = not self._allow_private, False
        try:
            if self._service.notify(body=text, title=title):
                return DELIVERED
        except Exception as error:  # noqa: BLE001  a service's plugin may raise anything, URLs included
            detail = f"the service could not be told ({type(error).__name__})"
        else:
            detail = "the service did not take it"
        finally:
            _guard.public_only = False
        if _guard.blocked:
            return Delivery(Outcome.FAILED, FailureReason.BLOCKED_ADDRESS, "the destination is on a private address")
        return Delivery(Outcome.RETRY, FailureReason.UNKNOWN, detail)
