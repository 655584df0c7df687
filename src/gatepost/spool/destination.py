"""The key that a recipient's attempts are grouped by. Whoever makes a `NewEntry` asks here; routing reads it back.

Not here: where a destination's mail goes (`delivery.routing`) and who is ours (`accounts.directory`).
"""

from __future__ import annotations

from typing import Final

from gatepost.mail.address import Path

LOCAL: Final = "local"


def destination(path: Path, *, kept_here: bool) -> str:
    """The destination of a forward-path: "local", or its domain in lower case with A-labels.

    kept_here: an account, alias, list, catch-all or role address of ours, or unknown in a domain that we keep; False
    for what leaves this host, domains with `relay_to` included. An address literal is its own destination.
    """
    if kept_here or not path.domain:
        return LOCAL
    domain = path.ascii_domain
    # A foreign domain may be called "local" (RFC 6762 networks use it): the final dot tells it from our maildrops.
    return f"{LOCAL}." if domain == LOCAL else domain


def domain_of(key: str) -> str:
    """The domain of a destination that is not "local"."""
    return LOCAL if key == f"{LOCAL}." else key
