"""Whether a domain has a DMARC record, its own or one above it. Not here: what such a record asks for."""

from __future__ import annotations

import re
from typing import Final

from gatepost.ports.resolver import Outcome, Resolver

MOST_LABELS: Final = 8  # RFC 9989 §4.10: whoever makes names longer makes no more questions by it
_RECORD = re.compile(r"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")


async def has_dmarc(resolver: Resolver, domain: str) -> bool:
    """Whether there is a DMARC record at `domain` or above it (RFC 9989 §4.10), or the DNS does not tell now.

    Names of one label are left out: a registry's record speaks for nobody's mail here.
    """
    labels = domain.split(".")
    names = [labels[at:] for at in range(len(labels) - 1)]
    if len(labels) > MOST_LABELS:
        names = [labels, *(name for name in names if len(name) < MOST_LABELS)]
    for name in names:
        asked = f"_dmarc.{'.'.join(name)}"
        answer = resolver.cached(asked, "TXT") or await resolver.query(asked, "TXT")
        if answer.outcome is Outcome.FAILED or any(_RECORD.match(text) for text in answer.records):
            return True
    return False
