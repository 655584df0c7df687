"""The addresses of this machine: an MX that names one of them, on a port where we listen, is ourselves."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from gatepost.net.listener import UNIX, Listener, host_and_port

IPV4_TABLE: Final = Path("/proc/net/fib_trie")
IPV6_TABLE: Final = Path("/proc/net/if_inet6")
EVERY: Final = frozenset({"0.0.0.0", "::"})


def own_endpoints(listeners: Iterable[Listener], services: frozenset[str] | None = None) -> frozenset[tuple[str, int]]:
    """(address, port) of the listeners of `services`, or of all; a wildcard stands for every address of its family."""
    found: set[tuple[str, int]] = set()
    for listener in listeners:
        if (services is not None and listener.service not in services) or listener.address.startswith(UNIX):
            continue
        host, port = host_and_port(listener.address)
        if host in EVERY:
            found.update((address, port) for address in local_addresses() if (":" in address) == (":" in host))
        else:
            found.add((host, port))
    return frozenset(found)


def local_addresses() -> frozenset[str]:
    """Every address that this machine has, loopback included; where the kernel does not tell, those of its name."""
    addresses = {"127.0.0.1", "::1"}
    with suppress(OSError):
        addresses |= _ipv4(IPV4_TABLE.read_text("ascii"))
    with suppress(OSError):
        addresses |= _ipv6(IPV6_TABLE.read_text("ascii"))
    if len(addresses) == 2:
        with suppress(OSError):
            addresses |= {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    return frozenset(addresses)


def _ipv4(table: str) -> set[str]:
    """In the kernel's trie an address line is followed by the line that says what it is."""
    addresses, last = set(), ""
    for line in table.splitlines():
        words = line.split()
        if "host" in words and "LOCAL" in words and last:
            addresses.add(last)
        last = words[-1] if words[:1] == ["|--"] else last
    return addresses


def _ipv6(table: str) -> set[str]:
    return {str(IPv6Address(bytes.fromhex(line.split()[0]))) for line in table.splitlines() if line.strip()}
