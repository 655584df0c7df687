"""Fuzz target of what a sender's domain publishes: SPF records, and the names that their macros make."""

from __future__ import annotations

import asyncio
from typing import get_args

from gatepost.mail.address import Path
from gatepost.mail.spf import SpfWord
from gatepost.ports.resolver import Answer, Outcome
from gatepost.verify.spf import MAX_EXPLANATION, MAX_QUESTIONS, MAX_TERMS, Client, check_host

TYPES = ("TXT", "A", "AAAA", "MX", "PTR")


class Zone:
    """Answers that octets make: the first line is the record of the sender, the others whatever is asked for."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self.asked = 0

    def cached(self, name: str, rdtype: str) -> Answer | None:
        assert rdtype in TYPES
        self.asked += 1
        if self.asked == 1:
            return Answer(Outcome.FOUND, (self._lines[0],), name)
        line = self._lines[self.asked % len(self._lines)]
        if not line or line.startswith("!"):
            return Answer(Outcome.FAILED if line else Outcome.NO_NAME, error="!")
        return Answer(Outcome.FOUND, tuple(line.split("|")), name)

    async def query(self, name: str, rdtype: str) -> Answer:
        raise AssertionError("everything is known")


def spf(octets: bytes) -> None:
    """Whatever a record and the answers are: a result of the seven, within the limits, and text that can be shown."""
    lines = octets.decode("utf-8", "replace").split("\n")
    lines[0] = f"v=spf1 {lines[0]}"
    for ip, path in (("192.0.2.7", Path("bob", "far.example")), ("2001:db8::7", Path("", ""))):
        zone = Zone(lines)
        helo = lines[-1][:300] if len(lines) > 1 else "client.far.example"
        client = Client(ip=ip, reverse_path=path, helo=helo)
        found = asyncio.run(check_host(zone, client))
        assert found.result in get_args(SpfWord)
        assert found.lookups <= MAX_TERMS
        assert zone.asked <= MAX_QUESTIONS + 3
        assert len(found.explanation) <= MAX_EXPLANATION
        for text in (found.explanation, found.mechanism):
            assert text.isascii()
            assert text.isprintable()
