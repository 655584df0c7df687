"""The attributes of XCLIENT, a Postfix extension: a trusted proxy or filter in front names the client it speaks for.

Who may use it is decided elsewhere (a listener that has it, a trusted peer). LOGIN is read and dropped: whatever a
peer claims, it never sets a login.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

import msgspec

from gatepost.mail.text import printable
from gatepost.protocol.smtp.xtext import decode_xtext

ATTRIBUTES: Final = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "DESTADDR", "DESTPORT")  # as EHLO offers them


class Missing(Enum):
    """Why an attribute has no value."""

    NOT_SENT = "not sent"  # what was known before stays
    UNAVAILABLE = "unavailable"  # there is none
    TEMPORARY = "temporarily unavailable"  # a look-up failed, it may be had later


class XclientError(ValueError):
    """The attributes cannot be read; the message is for the peer and quotes only escaped text."""


class XclientAttributes(msgspec.Struct, frozen=True):
    """What one XCLIENT command said.

    addr, destaddr: an IP address as text ("192.0.2.1", "2001:db8::1"; an IPv4-mapped one is IPv4). name, helo: as
    the proxy saw them, unchecked, printable ASCII. proto: "SMTP" or "ESMTP".
    """

    name: str | Missing = Missing.NOT_SENT
    addr: str | Missing = Missing.NOT_SENT
    port: int | Missing = Missing.NOT_SENT
    proto: str | Missing = Missing.NOT_SENT
    helo: str | Missing = Missing.NOT_SENT
    destaddr: str | Missing = Missing.NOT_SENT
    destport: int | Missing = Missing.NOT_SENT

    def over(self, earlier: XclientAttributes) -> XclientAttributes:
        """These attributes, and those of `earlier` where these say nothing: one client may take several commands."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        kept = {name: getattr(earlier, name) for name, value in values.items() if value is Missing.NOT_SENT}
        return msgspec.structs.replace(self, **kept)


def parse_attributes(text: str) -> XclientAttributes:
    """The attributes in `text`, which follows the verb and a blank. Raises XclientError."""
    found: dict[str, Any] = {}
    for word in text.split(" "):
        name, equals, value = word.partition("=")
        name = name.upper()
        if not equals or (name not in _READERS and name != "LOGIN"):
            raise XclientError(f"Bad XCLIENT attribute: {printable(word, 60)}")
        if name.lower() in found:
            raise XclientError(f"XCLIENT attribute {name} is given twice")
        plain = decode_xtext(value)
        if plain is None:
            raise XclientError(f"Bad XCLIENT {name} syntax: the value is no xtext")
        if name == "LOGIN":
            continue
        found[name.lower()] = _MISSING.get(plain.upper()) or _READERS[name](name, plain)
    return XclientAttributes(**found)


def _text(name: str, value: str) -> str:
    if not value or len(value) > 255:
        raise XclientError(f"Bad XCLIENT {name} value: 1 to 255 characters are expected")
    return printable(value, 1024)


def _address(name: str, value: str) -> str:
    try:
        if value[:5].upper() != "IPV6:":
            return str(IPv4Address(value))
        address = IPv6Address(value[5:])
    except ValueError as error:
        raise XclientError(f"Bad XCLIENT {name} syntax: {printable(value, 60)}") from error
    if address.scope_id is not None:
        raise XclientError(f"Bad XCLIENT {name} syntax: a zone is no part of an address")
    return str(address.ipv4_mapped or address)


def _port(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > 5 or int(value) > 65535:
        raise XclientError(f"Bad XCLIENT {name} value: {printable(value, 60)}")
    return int(value)


def _proto(name: str, value: str) -> str:
    if value.upper() not in ("SMTP", "ESMTP"):
        raise XclientError(f"Bad XCLIENT {name} value: SMTP or ESMTP is expected")
    return value.upper()


_MISSING: Final = {"[UNAVAILABLE]": Missing.UNAVAILABLE, "[TEMPUNAVAIL]": Missing.TEMPORARY}
_READERS: Final[dict[str, Callable[[str, str], str | int]]] = {
    "NAME": _text,
    "ADDR": _address,
    "PORT": _port,
    "PROTO": _proto,
    "HELO": _text,
    "DESTADDR": _address,
    "DESTPORT": _port,
}
