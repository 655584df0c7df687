"""Trace header fields: Received (RFC 5321 §4.4, RFC 3848), and Date and Message-ID where submission adds them."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final

import msgspec

from gatepost.mail.text import printable

_PLAIN_WORD: Final = re.compile(r"[A-Za-z0-9._-]{1,255}")  # what nearly every peer calls itself
_NO_WORD: Final = re.compile(r'[()<>;"\\ ]')


class Hop(msgspec.Struct, frozen=True):
    """What a Received field says of one hop.

    helo: as the peer greeted. ip: "" where it is withheld. protocol: the "with" keyword of RFC 3848 ("ESMTPS").
    recipient: named only when there is just one (§7.2: or blind copies show).
    """

    helo: str
    ip: str
    ptr: str
    by: str
    protocol: str
    tls: str
    id: str
    recipient: str = ""


def received(hop: Hop, at: datetime) -> bytes:
    """The field, folded, with its CRLF. Nothing of what the peer said can end a line or a comment."""
    if hop.ip:
        literal = f"[IPv6:{hop.ip}]" if ":" in hop.ip else f"[{hop.ip}]"
        helo = hop.helo if _PLAIN_WORD.fullmatch(hop.helo) else _word(hop.helo) or "unknown"
        origin = f"from {helo} ({hop.ptr + ' ' if hop.ptr else ''}{literal})"
    else:
        origin = "from submitter.invalid (address withheld)"
    tls = f" ({hop.tls})" if hop.tls else ""
    whom = f"\r\n\tfor <{hop.recipient}>" if hop.recipient else ""
    text = f"Received: {origin}\r\n\tby {hop.by} with {hop.protocol}{tls} id {hop.id}{whom};\r\n\t{date(at)}\r\n"
    return text.encode("utf-8")


@lru_cache(maxsize=32)  # as many as there are
def protocol_keyword(*, extended: bool, tls: bool, login: bool, utf8: bool, lmtp: bool) -> str:
    """The "with" keyword: SMTP, ESMTP, ESMTPS, ESMTPSA, LMTP, UTF8SMTPS ... (RFC 3848, RFC 6531 §3.7.3)."""
    if not extended:
        return "SMTP"
    base = ("UTF8LMTP" if utf8 else "LMTP") if lmtp else ("UTF8SMTP" if utf8 else "ESMTP")
    return base + ("S" if tls else "") + ("A" if login else "")


def date(at: datetime) -> str:
    """`at` as RFC 5322 §3.3 writes it, to the second."""
    return _date(at.replace(microsecond=0))


@lru_cache(maxsize=16)
def _date(at: datetime) -> str:
    return format_datetime(at)


def _word(text: str) -> str:
    """`text` where RFC 5321 wants a domain: what could be read as anything else is escaped away."""
    return _NO_WORD.sub("?", printable(text, 255))
