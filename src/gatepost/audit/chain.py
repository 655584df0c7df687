"""The hash chain of a writer's lines: what a line's `chain` is made from, and how a line is taken apart again.

Each line of the record ends in its chain value:

    BODY ,"chain":" 64 hexadecimal digits "} LF

BODY is the event as JSON without its closing brace; chain = SHA-256(chain before, 32 octets, + BODY). The first line of
a writer's first file follows `start_of(node, worker)`; that of a later file follows the last line of the file before,
and says so itself (`details.follows`, `details.previous`), so that a file can be checked alone.

Not here: writing (`writer`), walking the days and naming what does not fit (`verify`).
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

CHAIN_OCTETS: Final = 32
MARK: Final = b',"chain":"'
END: Final = b'"}\n'
_TAIL_OCTETS: Final = len(MARK) + 2 * CHAIN_OCTETS + len(END)
_HEX: Final = frozenset(b"0123456789abcdef")


def start_of(node: str, worker: int) -> bytes:
    """The chain value that the very first line of a writer follows: one that no other writer starts from."""
    return sha256(f"gatepost audit {node} {worker}".encode()).digest()


def link(previous: bytes, body: bytes | bytearray) -> bytes:
    """The chain value of a line. previous: that of the line before, 32 octets. body: up to `MARK`."""
    digest = sha256(previous)
    digest.update(body)
    return digest.digest()


def split(line: bytes) -> tuple[bytes, bytes] | None:
    """(body, chain value) of a whole line with its LF; None for what no writer wrote."""
    at = len(line) - _TAIL_OCTETS
    if at < 1 or not line.startswith(b"{") or not line.endswith(END) or line[at : at + len(MARK)] != MARK:
        return None
    digits = line[at + len(MARK) : -len(END)]
    return (line[:at], bytes.fromhex(digits.decode())) if _HEX.issuperset(digits) else None
