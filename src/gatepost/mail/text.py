"""Text that came from a peer, made safe to print in a reply, a log line or on a terminal."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]|\\")


def printable(octets: bytes | str, limit: int = 200) -> str:
    """`octets` as printable ASCII, at most about `limit` characters.

    Every octet outside 0x20-0x7e, and the backslash itself, becomes `\\xNN`, so what a peer sent can neither end
    a line nor move a cursor, and can be read back unambiguously. A longer text is cut and ends in `...`.
    """
    text = octets.decode("latin-1") if isinstance(octets, bytes) else octets
    cut = text[:limit]
    if not cut.isascii() or not cut.isprintable() or "\\" in cut:
        if isinstance(octets, str):
            cut = cut.encode("utf-8", "surrogatepass").decode("latin-1")  # one character an octet, as in bytes
        cut = _UNPRINTABLE.sub(_escaped, cut)
    return cut + "..." if len(text) > limit else cut


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{ord(match.group()):02x}"
