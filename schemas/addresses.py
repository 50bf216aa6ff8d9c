"""Which network addresses a URL that a tenant names may lead to.

The lists follow IANA's special-purpose registries (RFC 6890 and its updates); they stand here, so that what is refused
does not depend on the version of Python.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Self

__all__ = ["Address", "AllowList", "Network", "is_public"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        # Azure's platform: metadata, keys and DNS of the machine, at an address that belongs to the public range.
        "168.63.129.16/32",
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that is routed on the public internet; NAT64, mapped, link-local and private addresses lie outside of it."""
_NOT_PUBLIC_6 = tuple(
    IPv6Network(text)
    for text in (
        # Teredo, ORCHID and other protocols.
        "2001::/23",
        "2001:db8::/32",
        # 6to4 holds an IPv4 address, which may be a private one.
        "2002::/16",
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_NEVER: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "168.63.129.16/32",
        "100.100.100.200/32",
        "224.0.0.0/4",
        "255.255.255.255/32",
        "::/128",
        "fe80::/10",
        "fd00:ec2::/32",
        "ff00::/8",
    )
)
"""Where clouds keep the keys of their machines, and what is no single host: an allow-list opens none of it."""
_HOST = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
"""With a letter in it, so that no address is taken for a name."""


def is_public(address: Address) -> bool:
    """Whether it is a single host on the public internet. An IPv6 address that wraps an IPv4 one is not."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC)
    return address in _GLOBAL_UNICAST and not any(address in network for network in _NOT_PUBLIC_6)


@dataclass(frozen=True, slots=True)
class AllowList:
    """What an installation opens beside the public internet: networks, and names whose addresses it trusts."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def read(cls, text: str) -> Self:
        """From words separated by commas: ``10.1.0.0/16, cms.internal``. Raises ``ValueError`` for other words."""
        networks: list[Network] = []
        hosts: set[str] = set()
        for word in filter(None, (part.strip().lower() for part in text.split(","))):
            if _HOST.fullmatch(word):
                hosts.add(word)
                continue
            try:
                networks.append(ip_network(word))
            except ValueError as error:
                raise ValueError(f"{word!r} is neither a network nor the name of a host: {error}") from None
        return cls(tuple(networks), frozenset(hosts))

    def has(self, address: Address, name: str) -> bool:
        """Whether ``address``, found under ``name``, may be called."""
        if is_public(address):
            return True
        if any(address in network for network in _NEVER):
            return False
        return name in self.hosts or any(address in network for network in self.networks)
