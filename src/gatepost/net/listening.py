"""The listening sockets of one server, from its start to its end: bound once, inherited by every leader.

A place is a key and an address; the key outlives a change of the configuration, the address of a place never changes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from gatepost.net.listener import UNIX, ListenError, bind, host_and_port


class Sockets(Mapping[str, socket.socket]):
    """By key. Invariant: every socket in it listens, and is not inherited unless it is passed on by name."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}
        self._passed: set[str] = set()  # keys of what systemd bound: its files are not ours to remove

    def __getitem__(self, key: str) -> socket.socket:
        return self._sockets[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sockets)

    def __len__(self) -> int:
        return len(self._sockets)

    def open(self, places: Mapping[str, str], passed: Sequence[socket.socket] = ()) -> None:
        """Listen at every place: with what systemd passed where that fits, else by binding it.

        Raises ListenError that lists, a line each, all that cannot be bound, and what was passed for no place.
        """
        by_address = {address_of(sock): sock for sock in passed}
        problems = []
        for key, address in places.items():
            if (sock := by_address.pop(address, None)) is not None:
                self._passed.add(key)
                self._sockets[key] = sock
                continue
            try:
                self.add(key, bind(address))
            except ListenError as error:
                problems.append(str(error))
        problems += [
            f"systemd passes a socket that listens on {address}, and no [[listen]] has that address; add one, or take "
            'it out of the .socket unit ("[::]:25" needs BindIPv6Only=ipv6-only there)'
            for address in by_address
        ]
        if problems:
            self.close()
            raise ListenError("\n".join(problems))

    def add(self, key: str, sock: socket.socket) -> None:
        sock.set_inheritable(False)
        self._sockets[key] = sock

    def keep(self, keys: Collection[str]) -> list[str]:
        """The keys that were closed: all others."""
        gone = [key for key in self._sockets if key not in keys]
        for key in gone:
            self._close(key)
        return gone

    def close(self) -> None:
        self.keep(())

    def _close(self, key: str) -> None:
        sock = self._sockets.pop(key)
        close(sock, remove=key not in self._passed)
        self._passed.discard(key)


def close(sock: socket.socket, *, remove: bool = True) -> None:
    """Close a listening socket; remove: the name of a unix socket too, where nobody took it over."""
    with suppress(OSError):
        address = address_of(sock)
        if remove and address.startswith(UNIX):
            os.unlink(address.removeprefix(UNIX))
    sock.close()


def address_of(sock: socket.socket) -> str:
    """As the configuration writes it: "192.0.2.1:25", "[::]:25", "unix:/path"."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"{UNIX}{os.fsdecode(name)}"
    host, port = name[:2]
    return f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"


def key_of(address: str, service: str) -> str:
    """The key of a place: its address, and where that leaves the port open the service too."""
    if not address.startswith(UNIX) and host_and_port(address)[1] == 0:
        return f"{address} {service}"
    return address
