"""A next hop that answers by script, behind a fake `Connector`: no socket, no time passes but the clock's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from tests.support.virtual_time import LoopClock

from gatepost.ports.connect import ConnectError, TlsCheck, TlsState

SILENT: Final = "(silent)"
CLOSE: Final = "(close)"
ALL: Final = ("PIPELINING", "SIZE 10000000", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "ENHANCEDSTATUSCODES")

DEFAULTS: Final = {
    "": "220 mx.example.net ESMTP",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 Go",
    ".": "250 2.0.0 Kept",
    "BDAT": "250 2.0.0 Kept",
    "RSET": "250 2.0.0 Ok",
    "QUIT": "221 2.0.0 Bye",
    "STARTTLS": "220 Go",
    "AUTH": "235 2.7.0 Ok",
}


class ScriptedPeer:
    """Answers each command with the next reply of its verb, the last one again and again.

    "" is the greeting, "." the end of data. offer: the lines of EHLO behind the name. SILENT: no answer from there
    on; CLOSE: the connection ends. "|" inside a reply separates lines that come on top of it, as they are.
    """

    def __init__(
        self, clock: LoopClock, offer: Sequence[str] = ALL, *, lmtp: bool = False, **replies: str | list[str]
    ) -> None:
        self.clock = clock
        self.lmtp = lmtp
        self.offer = offer
        self.offer_in_tls: Sequence[str] | None = None
        self.tls_result: TlsState | Exception = TlsState("TLSv1.3", "TLS_AES_128_GCM_SHA256", verified=True)
        self.refuses_connection = False
        self.piece = 1 << 20  # octets given to one read
        self.seconds_per_read = 0.0
        self.hangs = False  # who reads what does not come waits for ever, and can be cancelled
        self.takes = 1 << 40  # octets, then it reads no more
        self.address = "192.0.2.7"
        self.lines: list[str] = []
        self.contents: list[bytes] = []
        self.largest_write = 0
        self.connections = 0
        self.asked: dict[str, object] = {}
        self._replies = {verb: deque([reply]) for verb, reply in DEFAULTS.items()}
        for verb, given in replies.items():
            key = {"greeting": "", "dot": "."}.get(verb, verb)
            self._replies[key] = deque([given] if isinstance(given, str) else given)

    def reply(self, verb: str) -> str:
        if verb in ("EHLO", "LHLO") and verb not in self._replies:
            offer = self.offer_in_tls if "STARTTLS" in self.lines and self.offer_in_tls is not None else self.offer
            return "|".join(f"250-{line}" for line in ("mx.example.net", *offer)) + "|250 HELP"
        if verb == "HELO" and verb not in self._replies:
            return "250 mx.example.net"
        queue = self._replies.get(verb, deque(["500 5.5.2 What?"]))
        return queue.popleft() if len(queue) > 1 else queue[0]

    async def connect(
        self, host: str, port: int, *, timeout: float, source: str = "", implicit_tls: str = "", check: TlsCheck = "may"
    ) -> ScriptedStream:
        self.asked = {"host": host, "port": port, "source": source, "implicit_tls": implicit_tls, "check": check}
        if self.refuses_connection:
            raise ConnectError(f"{host} port {port}: connection refused")
        self.connections += 1
        stream = ScriptedStream(self)
        if implicit_tls:
            await stream.start_tls(implicit_tls, check, timeout)
        return stream


class ScriptedStream:
    """The connection: implements `ports.connect.Stream`."""

    def __init__(self, peer: ScriptedPeer) -> None:
        self.peer = peer
        self.is_closed = False
        self.local_address = "192.0.2.1"
        self.peer_address = peer.address
        self.tls: TlsState | None = None
        self._in = bytearray()
        self._out = bytearray()
        self._content: bytearray | None = None
        self._chunk = 0
        self._is_last_chunk = False
        self._accepted = 0
        self._is_silent = False
        self._in_login = False
        self._has_ended = False
        self._taken = 0
        self._say(peer.reply(""))

    async def read(self, timeout: float) -> bytes:
        self.peer.clock.advance(min(self.peer.seconds_per_read, timeout))
        if self._out:
            octets = bytes(self._out[: self.peer.piece])
            del self._out[: self.peer.piece]
            return octets
        if self._has_ended or self.is_closed:
            return b""
        if self.peer.hangs:
            await asyncio.Event().wait()
        self.peer.clock.advance(timeout)
        raise ConnectError("192.0.2.7 port 25: nothing came")

    async def write(self, octets: bytes, timeout: float) -> None:
        if self._has_ended or self.is_closed:
            raise ConnectError("192.0.2.7 port 25: the peer closed the connection")
        self.peer.largest_write = max(self.peer.largest_write, len(octets))
        self._taken += len(octets)
        if self._taken > self.peer.takes:
            self.peer.clock.advance(timeout)
            raise ConnectError("192.0.2.7 port 25: the peer took nothing")
        self._in += octets
        while self._step():
            pass

    async def start_tls(self, name: str, check: TlsCheck, timeout: float) -> TlsState:
        if isinstance(self.peer.tls_result, Exception):
            self.close()
            raise self.peer.tls_result
        self.tls = self.peer.tls_result
        return self.tls

    def close(self) -> None:
        self.is_closed = True

    def _say(self, reply: str) -> None:
        if reply == SILENT:
            self._is_silent = True
        elif reply == CLOSE:
            self._has_ended = True
        elif not self._is_silent:
            self._out += reply.replace("|", "\r\n").encode("latin-1") + b"\r\n"
            self._has_ended = self._has_ended or reply.startswith("421")

    def _step(self) -> bool:
        """Whether it could do something with what came in."""
        if self._has_ended:
            return False
        if self._content is not None:
            return self._take_content()
        if self._chunk:
            return self._take_chunk()
        end = self._in.find(b"\r\n")
        if end < 0:
            return False
        line = self._in[:end].decode()
        del self._in[: end + 2]
        self._command(line)
        return True

    def _command(self, line: str) -> None:
        self.peer.lines.append(line)
        words = line.split(" ")
        verb = words[0].upper()
        if verb == "BDAT":
            self._chunk, self._is_last_chunk = int(words[1]), words[-1] == "LAST"
            self.peer.contents.append(b"")
            if not self._chunk:
                self._end_chunk()
            return
        reply = self.peer.reply("AUTH" if self._in_login else verb)
        self._in_login = reply.startswith("334")
        if verb == "MAIL":
            self._accepted = 0
        if verb == "RCPT" and reply.startswith("2"):
            self._accepted += 1
        if verb == "DATA" and reply.startswith("3"):
            self._content = bytearray(b"\r\n")
        self._say(reply)

    def _take_content(self) -> bool:
        assert self._content is not None
        self._content += self._in
        self._in.clear()
        end = self._content.find(b"\r\n.\r\n")
        if end < 0:
            return False
        body, rest = bytes(self._content[2 : end + 2]), self._content[end + 5 :]
        self._content = None
        self._in += rest
        self.peer.contents.append(b"\r\n".join(line.removeprefix(b".") for line in body.split(b"\r\n")))
        for _ in range(self._accepted if self.peer.lmtp else 1):
            self._say(self.peer.reply("."))
        return True

    def _take_chunk(self) -> bool:
        taken = bytes(self._in[: self._chunk])
        del self._in[: len(taken)]
        self._chunk -= len(taken)
        self.peer.contents[-1] += taken
        if not self._chunk:
            self._end_chunk()
        return bool(taken)

    def _end_chunk(self) -> None:
        for _ in range(self._accepted if self.peer.lmtp and self._is_last_chunk else 1):
            self._say(self.peer.reply("BDAT"))
