"""Which addresses a channel may reach: the guard against being made to call internal services (SSRF).

`http` asks for literal addresses before a connection, and its resolver asks for each address that a name stands for, at
the time of the connection: so there is no moment between the check and the use for a name to change.
"""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from notification_dispatcher.errors import BlockedAddressError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_NOT_PUBLIC = (
    ipaddress.IPv4Network("192.88.99.0/24"),  # relays of 6to4
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocols' own, and Oracle's metadata: older Pythons take most for global
    ipaddress.IPv4Network("168.63.129.16/32"),  # Azure's hosts tell their guests their settings there
)
"""Networks that `ipaddress` takes for global."""


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet, looked at through every way of embedding one in another."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return is_public(inner)
        if address in _NAT64_LOCAL or address.is_site_local:
            return False
    elif any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to: mapped, 6to4, Teredo or NAT64."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def check_literal(host: str) -> None:
    """Raise BlockedAddressError if a host is an address, in any spelling that a C library takes, and not public.

    `http://2130706433/` and `http://0x7f.1/` are 127.0.0.1 to getaddrinfo.
    """
    address = _literal(host)
    if address is not None and not is_public(address):
        raise BlockedAddressError("the destination is on a private address")


@lru_cache(maxsize=256)
def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses alone."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The name's addresses. Raises BlockedAddressError when one of them is not public."""
        found = await self._resolver.resolve(host, port, family)
        for one in found:
            # One bad address condemns the name: which of them is tried first is not ours to choose.
            if not is_public(ipaddress.ip_address(one["host"].partition("%")[0])):
                raise BlockedAddressError("the destination's name stands for a private address")
        return found

    async def close(self) -> None:
        """Let go of the inner resolver."""
        await self._resolver.close()
