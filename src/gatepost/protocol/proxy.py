"""The PROXY protocol, versions 1 and 2 (HAProxy): a proxy says in front of everything which client it speaks for.

Only what a TCP listener needs: addresses and ports. Whether a header may come, and from whom, is the listener's
business; where it does, nothing is taken before it, and a broken one ends the connection without an answer.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

import msgspec

from gatepost.mail.text import printable

MAX_V1_OCTETS: Final = 107  # protocol text §2.1, CRLF included
MAX_V2_OCTETS: Final = 1024  # ours: addresses (at most 216) and the TLVs that proxies send; the field allows 65551
_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEADER_OCTETS: Final = 16
_TLV_CRC32C: Final = 0x03


class ProxyEndpoint(msgspec.Struct, frozen=True):
    """ip: as text; an IPv4-mapped address is IPv4."""

    ip: str
    port: int


class ProxyHeader(msgspec.Struct, frozen=True):
    """What the proxy said, and the octets that came after it.

    command: "LOCAL" when the proxy speaks for itself (a health check): the connection's own addresses count.
    source, destination: None for LOCAL, and where the proxy knows none (UNKNOWN, UNSPEC, a unix socket). rest:
    octets of the session that arrived with the header.
    """

    version: Literal[1, 2]
    command: Literal["PROXY", "LOCAL"]
    source: ProxyEndpoint | None
    destination: ProxyEndpoint | None
    rest: bytes


class NeedMore(msgspec.Struct, frozen=True):
    """The header is not complete."""


class ProxyError(msgspec.Struct, frozen=True):
    """This is no header. reason: for the operator, printable."""

    reason: str


class _Broken(ValueError):
    pass


_NEED_MORE: Final = NeedMore()


class ProxyParser:
    """The header at the beginning of one connection. After a header or an error it takes nothing more."""

    __slots__ = ("_buffer", "_is_done")

    def __init__(self) -> None:
        self._buffer = b""
        self._is_done = False

    def feed(self, octets: bytes) -> ProxyHeader | NeedMore | ProxyError:
        """The header once it is complete, NeedMore before, ProxyError as soon as it cannot become one.

        Holds at most 1024 octets and the fed piece. Raises RuntimeError after the end: the octets belong to the
        session then.
        """
        if self._is_done:
            raise RuntimeError("the PROXY header is over; these octets belong to the session")
        buffer = self._buffer + octets
        try:
            header = _parse(buffer)
        except _Broken as error:
            self._buffer, self._is_done = b"", True
            return ProxyError(str(error))
        if header is None:
            self._buffer = buffer
            return _NEED_MORE
        self._buffer, self._is_done = b"", True
        return header


def _parse(buffer: bytes) -> ProxyHeader | None:
    if buffer.startswith(_SIGNATURE):
        return _parse_v2(buffer)
    if buffer.startswith(b"PROXY "):
        return _parse_v1(buffer)
    if _SIGNATURE.startswith(buffer) or b"PROXY ".startswith(buffer):
        return None
    raise _Broken(f"a PROXY header was expected and something else came: {printable(buffer, 60)}")


# --- version 1 -----------------------------------------------------------------------------------------------------


def _parse_v1(buffer: bytes) -> ProxyHeader | None:
    end = buffer.find(b"\r\n", 0, MAX_V1_OCTETS)
    if end < 0:
        # A CR that ends the buffer may get its LF; any other CR, and an LF without one, never will.
        stray = buffer.find(b"\n") >= 0 or b"\r" in buffer[:-1]
        if stray or len(buffer) >= MAX_V1_OCTETS:
            raise _Broken(f"a PROXY v1 header without CRLF in {MAX_V1_OCTETS} octets: {printable(buffer, 120)}")
        return None
    line, rest = buffer[:end], buffer[end + 2 :]
    if b"\r" in line or b"\n" in line:
        raise _Broken(f"a PROXY v1 header with a stray CR or LF: {printable(line, 120)}")
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return ProxyHeader(1, "PROXY", None, None, rest)  # what follows UNKNOWN is ignored
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise _Broken(f"a PROXY v1 header that is malformed: {printable(line, 120)}")
    is_v6 = words[1] == b"TCP6"
    try:
        text = [word.decode("ascii") for word in words[2:]]
        source = ProxyEndpoint(_address(text[0], is_v6), _port(text[2]))
        destination = ProxyEndpoint(_address(text[1], is_v6), _port(text[3]))
    except ValueError as error:
        raise _Broken(f"a PROXY v1 header with a bad address or port: {printable(line, 120)}") from error
    return ProxyHeader(1, "PROXY", source, destination, rest)


def _address(text: str, is_v6: bool) -> str:
    if not is_v6:
        return str(IPv4Address(text))
    if "%" in text:
        raise ValueError("a zone is no part of an address")
    return _plain(IPv6Address(text))


def _plain(address: IPv6Address) -> str:
    return str(address.ipv4_mapped or address)


def _port(text: str) -> int:
    if not text.isdigit() or (text[0] == "0" and text != "0") or len(text) > 5 or int(text) > 65535:
        raise ValueError("a port is a number up to 65535")
    return int(text)


# --- version 2 -----------------------------------------------------------------------------------------------------

# Octets of an address pair, by family and transport (§2.2). Datagrams do not arrive on a stream.
_PAIR_OCTETS: Final = {0x00: 0, 0x11: 12, 0x21: 36, 0x31: 216}


def _parse_v2(buffer: bytes) -> ProxyHeader | None:
    if len(buffer) >= 13 and buffer[12] not in (0x20, 0x21):
        raise _Broken(f"a PROXY v2 header of unknown version or command 0x{buffer[12]:02x}")
    if len(buffer) < _V2_HEADER_OCTETS:
        return None
    family = buffer[13]
    octets = _V2_HEADER_OCTETS + int.from_bytes(buffer[14:16], "big")
    if octets > MAX_V2_OCTETS:
        raise _Broken(f"a PROXY v2 header of {octets} octets; {MAX_V2_OCTETS} are allowed")
    if len(buffer) < octets:
        return None
    header, rest = buffer[:octets], buffer[octets:]
    if buffer[12] == 0x20:
        # LOCAL: the family, and addresses of any kind, are ignored (§2.2); the TLVs cannot be found then.
        return ProxyHeader(2, "LOCAL", None, None, rest)
    pair = _PAIR_OCTETS.get(family)
    if pair is None:
        raise _Broken(f"a PROXY v2 header of unknown family and transport 0x{family:02x}")
    body = header[_V2_HEADER_OCTETS:]
    if len(body) < pair:
        raise _Broken(f"a PROXY v2 header too short for its addresses: {len(body)} octets instead of {pair}")
    if family != 0x00:  # after UNSPEC everything is to be ignored
        _check_tlvs(header, _V2_HEADER_OCTETS + pair)
    source, destination = _endpoints(family, body)
    return ProxyHeader(2, "PROXY", source, destination, rest)


def _endpoints(family: int, body: bytes) -> tuple[ProxyEndpoint | None, ProxyEndpoint | None]:
    if family == 0x11:
        ips = [str(IPv4Address(body[0:4])), str(IPv4Address(body[4:8]))]
        ports = body[8:12]
    elif family == 0x21:
        ips = [_plain(IPv6Address(body[0:16])), _plain(IPv6Address(body[16:32]))]
        ports = body[32:36]
    else:
        return None, None
    source = ProxyEndpoint(ips[0], int.from_bytes(ports[:2], "big"))
    return source, ProxyEndpoint(ips[1], int.from_bytes(ports[2:], "big"))


def _check_tlvs(header: bytes, at: int) -> None:
    """The TLVs are well-formed and their CRC32C, if there is one, is right (§2.2.3); nothing else is read."""
    while at < len(header):
        end = at + 3 + int.from_bytes(header[at + 1 : at + 3], "big")
        if at + 3 > len(header) or end > len(header):
            raise _Broken("a PROXY v2 header with a TLV that reaches beyond its end")
        if header[at] == _TLV_CRC32C:
            if end - at != 7:
                raise _Broken("a PROXY v2 header with a CRC32C that has not 4 octets")
            blank = header[: at + 3] + bytes(4) + header[end:]
            if crc32c(blank) != int.from_bytes(header[at + 3 : end], "big"):
                raise _Broken("a PROXY v2 header whose CRC32C does not match")
        at = end


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for octet in range(256):
        remainder = octet
        for _ in range(8):
            remainder = (remainder >> 1) ^ (0x82F63B78 if remainder & 1 else 0)  # Castagnoli's polynomial, reflected
        table.append(remainder)
    return tuple(table)


_CRC32C: Final = _crc32c_table()


def crc32c(octets: bytes) -> int:
    """The CRC32C of `octets` (RFC 9260, appendix A)."""
    remainder = 0xFFFFFFFF
    for octet in octets:
        remainder = (remainder >> 8) ^ _CRC32C[(remainder ^ octet) & 0xFF]
    return remainder ^ 0xFFFFFFFF
