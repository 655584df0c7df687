"""A DNS server for the client's domain: the bench measures servers, not the way to somebody's resolver."""

from __future__ import annotations

import socket
import threading
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL: Final = 3600
RECORDS: Final = {
    ("example.net.", "MX"): "10 mx.example.net.",
    ("mx.example.net.", "A"): "192.0.2.1",
    ("client.example.net.", "A"): "192.0.2.2",
}
NAMES: Final = frozenset(name for name, _ in RECORDS)


def answer(query: dns.message.Message) -> dns.message.Message:
    """What the zone knows: a record, none of that type, or no such name."""
    reply = dns.message.make_response(query, recursion_available=True)
    name, kind = query.question[0].name, query.question[0].rdtype
    text = name.to_text().lower()
    if text not in NAMES:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif (record := RECORDS.get((text, dns.rdatatype.to_text(kind)))) is not None:
        reply.answer.append(dns.rrset.from_text(name, TTL, "IN", kind, record))
    if not reply.answer:
        reply.authority.append(dns.rrset.from_text(name, TTL, "IN", "SOA", f". . 1 {TTL} {TTL} {TTL} {TTL}"))
    return reply


class Names:
    """The server, in a thread; address: as a list of resolvers wants it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.queries = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                octets, peer = self._socket.recvfrom(4096)
            except OSError:
                return
            try:
                self._socket.sendto(answer(dns.message.from_wire(octets)).to_wire(), peer)
            except (dns.exception.DNSException, OSError, IndexError):
                continue
            self.queries += 1

    def stop(self) -> None:
        self._socket.close()
