"""Which addresses a channel may reach."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from notification_dispatcher.channels import addresses
from notification_dispatcher.channels.addresses import PublicResolver, check_literal, is_public
from notification_dispatcher.errors import BlockedAddressError


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",  # carrier-grade NAT
        "100.100.100.200",  # Alibaba's metadata service
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",  # Azure's wire server
        "169.254.169.254",  # the metadata service
        "172.16.0.1",
        "192.0.0.1",
        "192.0.0.192",  # Oracle's metadata service
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::a83f:8110",
        "64:ff9b:1::1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",  # Teredo of 127.0.0.1
        "2001:db8::1",
        "2002:7f00:1::1",  # 6to4 of 127.0.0.1
        "2002:a9fe:a9fe::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_private_addresses_are_told(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(BlockedAddressError):
        check_literal(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"])
def test_public_addresses_pass(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
    check_literal(address)


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.1", "0", "fe80::1%eth0", "10.1"]
)
def test_odd_spellings_are_seen_through(host: str) -> None:
    with pytest.raises(BlockedAddressError):
        check_literal(host)


def test_names_are_left_to_the_resolver() -> None:
    check_literal("localhost")
    check_literal("hooks.slack.com")


async def test_one_private_address_condemns_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Resolver:
        async def resolve(self, *_: Any) -> list[dict[str, Any]]:
            return [{"host": "1.1.1.1"}, {"host": "10.0.0.1"}]

        async def close(self) -> None: ...

    monkeypatch.setattr(addresses, "ThreadedResolver", Resolver)
    resolver = PublicResolver()
    with pytest.raises(BlockedAddressError, match="stands for a private address"):
        await resolver.resolve("rebinding.example", 443)
    await resolver.close()
