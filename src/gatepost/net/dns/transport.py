"""One query, one reply: the octets go to a resolver over UDP, or over TCP. No retry, no meaning, no time limit of its
own (the caller sets one around it)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gatepost.net.dns.servers import Server

MAX_STRAY_DATAGRAMS: Final = 20  # more wrong answers than that to one query are guesses at its ID


class FloodedWithStrays(OSError):
    """Somebody guesses at the ID of our query: ask over TCP, which cannot be guessed from afar."""


async def ask_udp(server: Server, query: bytes, belongs: Callable[[bytes], bool]) -> bytes:
    """The first datagram from `server` that `belongs` to the query; others are passed over.

    Each query has a socket of its own, connected, at a port that the kernel picks at random (RFC 5452 §9.2).
    Raises OSError when the host or port is unreachable.
    """
    loop = asyncio.get_running_loop()
    transport, asking = await loop.create_datagram_endpoint(
        lambda: _Asking(belongs, loop.create_future()), remote_addr=(server.host, server.port)
    )
    try:
        transport.sendto(query)
        return await asking.reply
    finally:
        transport.close()


async def ask_tcp(server: Server, query: bytes, belongs: Callable[[bytes], bool]) -> bytes:
    """The reply over a connection of its own, with two octets of length before each message (RFC 7766 §8).

    Raises OSError when the connection fails, ends early or brings another's answer.
    """
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        length = int.from_bytes(await reader.readexactly(2), "big")
        reply = await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise OSError("connection closed in mid-answer") from error
    finally:
        writer.close()
    if not belongs(reply):
        raise OSError("an answer to another question came over TCP")
    return reply


class _Asking(asyncio.DatagramProtocol):
    """Waits for the datagram that answers one query."""

    def __init__(self, belongs: Callable[[bytes], bool], reply: asyncio.Future[bytes]) -> None:
        self.reply = reply
        self._belongs = belongs
        self._strays = 0

    def datagram_received(self, data: bytes, addr: object) -> None:
        if self.reply.done():
            return
        if self._belongs(data):
            self.reply.set_result(data)
            return
        self._strays += 1
        if self._strays > MAX_STRAY_DATAGRAMS:
            self.reply.set_exception(FloodedWithStrays("flooded with wrong answers"))

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.reply.done():
            self.reply.cancel()
