"""A DNS that a test fills in: `ports.resolver.Resolver`."""

from __future__ import annotations

from gatepost.ports.resolver import Answer, Outcome


class MemoryResolver:
    """Names that are not there do not exist. asked: every question, in order."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer] = {}
        self.asked: list[tuple[str, str]] = []

    def put(self, name: str, rdtype: str, *records: str) -> None:
        """`name` has these records; none: it exists without such."""
        outcome = Outcome.FOUND if records else Outcome.NO_DATA
        self.answers[name, rdtype] = Answer(outcome, records, name, ttl=300)

    def fail(self, name: str, rdtype: str) -> None:
        """The question gets no answer."""
        self.answers[name, rdtype] = Answer(Outcome.FAILED, error="SERVFAIL")

    async def query(self, name: str, rdtype: str) -> Answer:
        self.asked.append((name, rdtype))
        return self.answers.get((name, rdtype), Answer(Outcome.NO_NAME, name=name))

    def cached(self, name: str, rdtype: str) -> Answer | None:
        return None
