"""Where this server may be sent by what a person types in: the guard against requests forged through it."""

from __future__ import annotations

import ipaddress
import socket

# Metadata services live here: AWS, Azure, GCP (link-local), AWS over IPv6, Alibaba, Azure's wire server,
# Oracle.
_NEVER = [
    ipaddress.ip_network(net)
    for net in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::/32",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
        "fd20:ce::254/128",
    )
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_never_allowed(address: str) -> bool:
    """Whether ``address`` (an IP address in any spelling that a resolver takes, or a name) is a link-local
    or metadata one.
    """
    ip = _ip(address)
    return ip is not None and (
        any(ip in net for net in _NEVER if net.version == ip.version) or ip.is_multicast
    )


def is_public(address: str) -> bool:
    """Whether ``address``, an IP address, is one of the whole internet: not of this machine or a private network."""
    ip = _ip(address)
    return ip is not None and ip.is_global and not is_never_allowed(address)


def is_inside(address: str) -> bool:
    """Whether ``address`` is an IP address, in any spelling, and none of the whole internet. What a name leads to, only
    a resolver can tell.
    """
    return _ip(address) is not None and not is_public(address)


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a packet goes to in the end; None of a name."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        try:
            ip = ipaddress.IPv4Address(socket.inet_aton(address))  # 0xA9FEA9FE, 2852039166, 169.254.43518
        except (OSError, UnicodeEncodeError):
            return None
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        return ip.ipv4_mapped or ip.sixtofour or ip
    return ip
