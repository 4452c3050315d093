"""Where the gateway may connect to, checked on the very address a socket is opened for.

Names are checked after they were resolved and literal addresses the same way, because the check sits where the
socket is made: what was looked up earlier, cached, or written as 0x7f.1 makes no difference (DNS rebinding).
Link-local, metadata and unroutable addresses are never allowed, whatever a provider's ``network`` says.
No I/O; imports nothing of the project.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Network = Literal["public", "private", "loopback", "never"]
Address = IPv4Address | IPv6Address

#: What a provider's ``network`` allows.
ALLOWED: Final[dict[str, frozenset[str]]] = {
    "public": frozenset({"public"}),
    "private": frozenset({"public", "private"}),
    "loopback": frozenset({"public", "private", "loopback"}),
}

_PRIVATE: Final[tuple[IPv4Network | IPv6Network, ...]] = tuple(
    ip_network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
#: Instance metadata services that do not live on a link-local address.
_METADATA: Final = frozenset(
    ip_address(address)
    for address in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
#: IPv6 prefixes whose last 32 bits are the IPv4 address that is really meant (NAT64, "compatible" addresses).
_IPV4_INSIDE: Final = (ip_network("64:ff9b::/96"), ip_network("::/96"))
_LOCAL_NAT64: Final = ip_network("64:ff9b:1::/48")  # leads wherever its operator likes


class NotAllowed(OSError):
    """The address is in a network that this provider may not be reached in."""

    def __init__(self, network: Network) -> None:
        super().__init__(errno.EACCES, f"an address of network {network!r} is not allowed here")


def network_of(address: Address) -> Network:
    """Which kind of network an address is in. IPv4 inside IPv6 counts as what it leads to."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and not address.is_loopback and any(address in prefix for prefix in _IPV4_INSIDE):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return network_of(inner)
        if address.scope_id is not None or address in _LOCAL_NAT64:
            return "never"
    if address in _METADATA or address.is_link_local or address.is_multicast or address.is_unspecified:
        return "never"
    if address.is_loopback:
        return "loopback"
    if any(address in network for network in _PRIVATE if network.version == address.version):
        return "private"
    return "public" if address.is_global else "never"


def socket_factory(allowed: frozenset[str]) -> Callable[[tuple[Any, ...]], socket.socket]:
    """For ``aiohttp.TCPConnector``: makes the socket for one address info, or raises NotAllowed."""

    def make(address_info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = address_info
        network = network_of(ip_address(address[0]))
        if network not in allowed:
            raise NotAllowed(network)
        return socket.socket(family, kind, protocol)

    return make
