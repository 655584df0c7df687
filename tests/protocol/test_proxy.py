"""PROXY headers: what is taken, what ends the connection, and that the cut of the octets does not matter."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.protocol.proxy import (
    MAX_V1_OCTETS,
    MAX_V2_OCTETS,
    NeedMore,
    ProxyEndpoint,
    ProxyError,
    ProxyHeader,
    ProxyParser,
    crc32c,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
CLIENT, SERVER = ProxyEndpoint("192.0.2.7", 40112), ProxyEndpoint("198.51.100.1", 25)
CLIENT6, SERVER6 = ProxyEndpoint("2001:db8::7", 40112), ProxyEndpoint("2001:db8::1", 25)


def v2(family: int, body: bytes, *, command: int = 0x21, length: int | None = None) -> bytes:
    octets = len(body) if length is None else length
    return SIGNATURE + bytes([command, family]) + octets.to_bytes(2, "big") + body


def pair(source: ProxyEndpoint, destination: ProxyEndpoint) -> bytes:
    ips = ip_address(source.ip).packed + ip_address(destination.ip).packed
    return ips + source.port.to_bytes(2, "big") + destination.port.to_bytes(2, "big")


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


def with_crc(body: bytes, family: int = 0x11) -> bytes:
    blank = v2(family, body + tlv(0x03, bytes(4)))
    return blank[:-4] + crc32c(blank).to_bytes(4, "big")


GOOD = {
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40112 25\r\n": (1, "PROXY", CLIENT, SERVER),
    b"PROXY TCP6 2001:DB8::7 2001:db8:0:0::1 40112 25\r\n": (1, "PROXY", CLIENT6, SERVER6),
    b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 40112 25\r\n": (1, "PROXY", CLIENT, SERVER6),
    b"PROXY UNKNOWN\r\n": (1, "PROXY", None, None),
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n": (1, "PROXY", None, None),
    v2(0x11, pair(CLIENT, SERVER)): (2, "PROXY", CLIENT, SERVER),
    v2(0x21, pair(CLIENT6, SERVER6)): (2, "PROXY", CLIENT6, SERVER6),
    v2(0x11, pair(CLIENT, SERVER) + tlv(0x02, b"mx.example.org") + tlv(0x04, b"")): (2, "PROXY", CLIENT, SERVER),
    with_crc(pair(CLIENT, SERVER)): (2, "PROXY", CLIENT, SERVER),
    v2(0x31, bytes(216)): (2, "PROXY", None, None),
    v2(0x00, b""): (2, "PROXY", None, None),
    v2(0x00, b"anything"): (2, "PROXY", None, None),
    v2(0x00, b"", command=0x20): (2, "LOCAL", None, None),
    v2(0x11, pair(CLIENT, SERVER), command=0x20): (2, "LOCAL", None, None),
    v2(0x7F, b"x" * 5, command=0x20): (2, "LOCAL", None, None),
}


@pytest.mark.parametrize("header", GOOD)
def test_a_header_and_what_follows_it(header: bytes) -> None:
    for rest in (b"", b"EHLO c\r\n", header):
        assert ProxyParser().feed(header + rest) == ProxyHeader(*GOOD[header], rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("header", GOOD)
def test_octet_by_octet_nothing_is_known_before_the_last(header: bytes) -> None:
    parser = ProxyParser()
    for i in range(len(header) - 1):
        assert parser.feed(header[i : i + 1]) == NeedMore()
    assert parser.feed(header[-1:]) == ProxyHeader(*GOOD[header], b"")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        parser.feed(b"EHLO c\r\n")


@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO c\r\n",
        b"\x16\x03\x01",
        b"proxy TCP4 192.0.2.7 198.51.100.1 40112 25\r\n",
        b"PROXY\r\n",
        b"PROXY \r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.1 40112 25\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40112\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40112 25 x\r\n",
        b"PROXY TCP4  192.0.2.7 198.51.100.1 40112 25\r\n",
        b"PROXY TCP4 192.0.2.07 198.51.100.1 40112 25\r\n",
        b"PROXY TCP4 192.0.2.7 mx.example.org 40112 25\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 40112 25\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 40112 25\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::1 40112 25\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 040 25\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 \u0661 25\r\n".encode(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40112 25\n",
        b"PROXY UNKNOWN a\nb\r\n",
        b"PROXY UNKNOWN a\rb\r\n",
        b"PROXY UNKNOWN " + b"x" * (MAX_V1_OCTETS - 15) + b"\r\n",
        b"PROXY UNKNOWN " + b"x" * MAX_V1_OCTETS,
        v2(0x11, pair(CLIENT, SERVER), command=0x22),
        v2(0x11, pair(CLIENT, SERVER), command=0x11),
        v2(0x12, pair(CLIENT, SERVER)),
        v2(0x41, pair(CLIENT, SERVER)),
        v2(0x11, pair(CLIENT, SERVER)[:-1]),
        v2(0x21, pair(CLIENT, SERVER)),
        v2(0x31, bytes(215)),
        v2(0x11, pair(CLIENT, SERVER) + b"\x04"),
        v2(0x11, pair(CLIENT, SERVER) + b"\x04\x00\x02x"),
        v2(0x11, pair(CLIENT, SERVER) + tlv(0x03, bytes(4))),
        v2(0x11, pair(CLIENT, SERVER) + tlv(0x03, b"abc")),
        v2(0x11, b"", length=MAX_V2_OCTETS - 15),
        v2(0x11, b"", length=65535),
    ],
)
def test_a_broken_header_is_an_error_and_nothing_is_taken_after_it(octets: bytes) -> None:
    parser = ProxyParser()
    result = parser.feed(octets)
    assert isinstance(result, ProxyError)
    assert result.reason.isprintable()
    with pytest.raises(RuntimeError):
        parser.feed(b"x")


def test_a_spoofed_address_fails_the_checksum() -> None:
    good = with_crc(pair(CLIENT, SERVER))
    spoofed = good.replace(bytes([192, 0, 2, 7]), bytes([192, 0, 2, 8]))
    assert isinstance(ProxyParser().feed(spoofed), ProxyError)


def test_crc32c_of_the_check_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283


_PIECES = st.sampled_from(
    [SIGNATURE, b"PROXY ", b"TCP4 ", b"UNKNOWN", b"192.0.2.7 ", b"25", b"\r", b"\n", b"\x21\x11", b"\0\x0c", b"x" * 12]
)


@given(st.lists(_PIECES, max_size=9).map(b"".join) | st.sampled_from(list(GOOD)), st.data())
@example(b"PROXY UNKNOWN \r\n", None)
def test_any_cut_ends_in_the_same_result_and_no_octets_raise(octets: bytes, data: st.DataObject | None) -> None:
    whole = ProxyParser().feed(octets)
    cut = data.draw(st.integers(0, len(octets))) if data else 3
    parser = ProxyParser()
    result = parser.feed(octets[:cut])
    if isinstance(result, ProxyHeader):
        result = ProxyHeader(
            result.version, result.command, result.source, result.destination, result.rest + octets[cut:]
        )
    elif isinstance(result, NeedMore):
        result = parser.feed(octets[cut:])
    if isinstance(whole, ProxyError):
        assert isinstance(result, ProxyError)
    else:
        assert result == whole
