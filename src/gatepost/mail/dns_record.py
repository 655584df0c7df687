"""A record to be put into DNS, as a value and in the form of a zone file (RFC 1035 §5.1)."""

from __future__ import annotations

from typing import Final

import msgspec

TTL_SECONDS: Final = 3600
MAX_STRING_OCTETS: Final = 255  # RFC 1035 §3.3: one character-string
_LINE: Final = 100


class DnsRecord(msgspec.Struct, frozen=True, kw_only=True):
    """name: without the final dot. data: in presentation form; of a TXT, the text itself. remark: what to know."""

    name: str
    type: str
    data: str
    ttl: int = TTL_SECONDS
    remark: str = ""

    def in_zone_file(self) -> str:
        """One entry; long data on several lines, in parentheses. A remark stands before it."""
        data = _quoted(self.data) if self.type == "TXT" else self.data
        remark = f"; {self.remark}\n" if self.remark else ""
        entry = f"{remark}{self.name}. {self.ttl} IN {self.type} "
        if len(data) <= _LINE or self.type == "TXT":
            return entry + data
        words = [word[at : at + _LINE] for word in data.split(" ") for at in range(0, len(word), _LINE)]
        return entry + "(\n    " + "\n    ".join(words) + " )"


def _quoted(text: str) -> str:
    """In strings of at most 255 octets."""
    octets = text.encode()
    pieces = [octets[at : at + MAX_STRING_OCTETS] for at in range(0, len(octets), MAX_STRING_OCTETS)] or [b""]
    return " ".join('"' + "".join(_escaped(octet) for octet in piece) + '"' for piece in pieces)


def _escaped(octet: int) -> str:
    char = chr(octet)
    if char in '"\\':
        return f"\\{char}"
    return char if 0x20 <= octet < 0x7F else f"\\{octet:03d}"
