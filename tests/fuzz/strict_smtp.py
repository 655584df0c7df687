"""A strict reader of SMTP, written apart from the server and from the RFC alone, to compare what the server took with.

It is given all that a client sent and all that the server replied, and says which messages those replies accepted. It
shares no code with `gatepost.protocol`, reads only whole input, and knows one end of a line, CRLF.
"""

from __future__ import annotations

import re

_BDAT = re.compile(rb"BDAT +(\d{1,20})( +LAST)?[ \t]*", re.I)
_REPLY = re.compile(rb"(?:\d{3}-[^\r\n]*\r\n)*(\d{3})(?: [^\r\n]*)?\r\n")
_FORGETS = (b"EHLO", b"HELO", b"LHLO", b"MAIL", b"RSET", b"XCLI")


class Desynchronised(AssertionError):
    """The server's replies do not fit what a strict reader sees in the client's octets."""


def codes_of(said: bytes) -> list[int]:
    """The code of each whole reply in `said`. Raises Desynchronised for octets that are no reply."""
    codes, at = [], 0
    while at < len(said):
        found = _REPLY.match(said, at)
        if found is None:
            raise Desynchronised(f"the server says no reply: {said[at : at + 80]!r}")
        codes.append(int(found[1]))
        at = found.end()
    return codes


class Reader:
    """The client's octets, read once from the beginning."""

    def __init__(self, octets: bytes, said: bytes) -> None:
        self.messages: list[bytes] = []
        self._octets = octets
        self._at = 0
        self._codes = codes_of(said)
        self._chunks: list[bytes] | None = None
        self._read()

    def _read(self) -> None:
        if self._next_code() != 220:
            raise Desynchronised("the server does not greet")
        is_response = False  # behind a 334 a line is a part of the AUTH exchange, whatever it looks like (RFC 4954 §4)
        while (line := self._line()) is not None:
            if line[:1] == b"\x16" or any(octet in line for octet in b"\r\n\0"):
                self._must_end("a line that is none in SMTP")
                return
            if not is_response and (chunk := _BDAT.fullmatch(line)) is not None:
                if not self._chunk(int(chunk[1]), is_last=bool(chunk[2])):
                    return
                continue
            code = self._next_code()
            if code is None or code in (221, 421):
                self._must_end("221 or 421")
                return
            if not is_response and line[:4].upper() in _FORGETS and code < 400:
                self._chunks = None
            is_response = code == 334
            if code == 354 and not self._data():
                return
        self._must_end("the last whole line")

    def _line(self) -> bytes | None:
        end = self._octets.find(b"\r\n", self._at)
        if end < 0:
            return None
        line, self._at = self._octets[self._at : end], end + 2
        return line

    def _data(self) -> bool:
        """The content behind a 354; False if its end did not come."""
        rest = b"\r\n" + self._octets[self._at :]
        end = rest.find(b"\r\n.\r\n")
        if end < 0:
            self._must_end("content without an end")
            return False
        self._at += end + 3
        lines = rest[2 : end + 2].split(b"\r\n")
        content = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)
        code = self._next_code()
        if code is None:
            raise Desynchronised("the end of data is not answered")
        if code == 250:
            self._accept(content)
        return True

    def _chunk(self, octets: int, *, is_last: bool) -> bool:
        """A chunk and its answer; False if it did not come whole, or the session ended."""
        chunk = self._octets[self._at : self._at + octets]
        if len(chunk) < octets:
            self._must_end("half a chunk", refusals=(500, 501, 502))  # refused where it is not offered: the end, too
            return False
        self._at += octets
        code = self._next_code()
        if code is None or code == 421:
            return False
        if code != 250:
            self._chunks = None
        else:
            self._chunks = [*(self._chunks or ()), chunk]
            if is_last:
                self._accept(b"".join(self._chunks))
                self._chunks = None
        return True

    def _accept(self, content: bytes) -> None:
        if b"\0" in content or content.replace(b"\r\n", b"").translate(None, b"\r\n") != content.replace(b"\r\n", b""):
            raise Desynchronised("content with a bare CR, a bare LF or NUL was accepted: others see another end of it")
        self.messages.append(content)

    def _next_code(self) -> int | None:
        return self._codes.pop(0) if self._codes else None

    def _must_end(self, behind: str, refusals: tuple[int, ...] = (500,)) -> None:
        """Nothing more was answered, but for a refusal that ends the session in the middle of a line."""
        if len(self._codes) > 1 or (self._codes and self._codes[0] not in refusals):
            raise Desynchronised(f"behind {behind} the server answers {self._codes[:5]}")
