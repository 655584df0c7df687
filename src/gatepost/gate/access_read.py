"""Reads one table of `client.access` in a process of its own: `python -P -m gatepost.gate.access_read FILE`.

A million lines keep Python busy for seconds; in another process the sessions of the server do not feel it. What was
read goes to standard output (`policy.access_table.hand_over`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from gatepost.policy.access_table import Buffer, HandedOver, framed, hand_over, read_list


def read_file(path: str) -> Iterator[Buffer]:
    """What `path` holds, or why it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            found = read_list(file, path)
    except OSError as error:
        return framed(HandedOver(error=error.strerror or str(error)))
    return hand_over(*found)


if __name__ == "__main__":
    for piece in read_file(sys.argv[1]):
        sys.stdout.buffer.write(piece)
