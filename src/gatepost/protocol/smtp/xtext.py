"""xtext (RFC 3461 §4) and the forms of an internationalised address in DSN parameters (RFC 6533 §3)."""

from __future__ import annotations

import re
from typing import Final

_HEX_CHARACTER: Final = re.compile(r"\+([0-9A-F]{2})")
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
# RFC 6533 §3: "\x{HEX}" for what is not printable ASCII, and for the blank, "+", "=" and the backslash itself.
_UNICODE_POINT: Final = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_UTF8_ADDRESS: Final = re.compile(r"(?:[!-*,-<>-\[\]-~\u00a0-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})*")


def decode_xtext(text: str) -> str | None:
    """What `text` stands for, one character an octet (latin-1); None when it is no xtext.

    The result may hold any octet, CR and LF too: whoever prints it escapes it, and where a field allows printable
    ASCII only, the caller checks that.
    """
    if _XTEXT.fullmatch(text) is None:
        return None
    if "+" not in text:
        return text
    return _HEX_CHARACTER.sub(lambda match: chr(int(match.group(1), 16)), text)


def encode_xtext(text: str) -> str:
    """`text`, which is ASCII, as xtext. Raises ValueError for anything else."""
    if not text.isascii():
        raise ValueError("xtext stands for ASCII only")
    return "".join([c if "!" <= c <= "~" and c not in "+=" else f"+{ord(c):02X}" for c in text])


def decode_utf8_address(text: str) -> str | None:
    """The address behind a utf-8-addr-xtext or utf-8-addr-unitext; None when it is neither.

    Surrogates, control characters and numbers beyond Unicode are refused.
    """
    if _UTF8_ADDRESS.fullmatch(text) is None:
        return None
    points = [int(match.group(1), 16) for match in _UNICODE_POINT.finditer(text)]
    if any(point < 0x20 or 0x7F <= point < 0xA0 or 0xD800 <= point < 0xE000 or point > 0x10FFFF for point in points):
        return None
    return _UNICODE_POINT.sub(lambda match: chr(int(match.group(1), 16)), text)


def encode_utf8_address(text: str) -> str:
    """`text` as utf-8-addr-xtext, which is ASCII: for a next hop without SMTPUTF8 (RFC 6533 §3)."""
    plain = [c if "!" <= c <= "~" and c not in "+=\\" else f"\\x{{{ord(c):02X}}}" for c in text]
    return "".join(plain)
