"""The listening sockets of one generation, as its leader comes by them. Not here: who holds them (`listening`)."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from gatepost.net.listener import ListenError, bind
from gatepost.net.listening import address_of
from gatepost.net.process_link import Bound, Gone, send


def take_sockets(
    channel: socket.socket, descriptors: Mapping[str, int], places: Mapping[str, str]
) -> dict[str, socket.socket]:
    """The socket of each place: inherited, or bound now and given to the supervisor for those that come after.

    descriptors: of what was inherited, by key; what no place wants is closed. Raises ListenError that lists all that
    cannot be bound, Gone.
    """
    inherited = {key: socket.socket(fileno=descriptor) for key, descriptor in descriptors.items()}
    for sock in inherited.values():
        sock.set_inheritable(False)
        sock.setblocking(False)
    found, problems = {}, []
    for key, address in places.items():
        if key in inherited:
            found[key] = inherited.pop(key)
            continue
        try:
            sock = found[key] = bind(address)
        except ListenError as error:
            problems.append(f"{error}{_our_own(address, inherited)}")
            continue
        sock.set_inheritable(False)
        if not send(channel, Bound(key), [sock.fileno()]):
            raise Gone
    for sock in inherited.values():
        sock.close()
    if problems:
        raise ListenError("\n".join(problems))
    return found


def _our_own(address: str, inherited: Mapping[str, socket.socket]) -> str:
    """A hint where the address may be taken by a listener of this server, which it gives up only afterwards."""
    port = address.rpartition(":")[2]
    ours = [taken for sock in inherited.values() if (taken := address_of(sock)).endswith(f":{port}")]
    return f" (this server itself listens on {', '.join(ours)} until then: restart it for this change)" if ours else ""
