"""A DNS that a test fills in: `ports.resolver.Resolver`."""

from __future__ import annotations

from gatepost.ports.resolver import Answer, Outcome


class MemoryResolver:
    """Names that are not there do not exist, but with `every_domain_has_mx` they have a mail host. asked: every
    question, in order."""

    def __init__(self, *, every_domain_has_mx: bool = False) -> None:
        self._every_domain_has_mx = every_domain_has_mx
        self.answers: dict[tuple[str, str], Answer] = {}
        self.asked: list[tuple[str, str]] = []

    def put(self, name: str, rdtype: str, *records: str) -> None:
        """`name` has these records; none: it exists without such."""
        outcome = Outcome.FOUND if records else Outcome.NO_DATA
        self.answers[name, rdtype] = Answer(outcome, records, name, ttl=300)

    def fail(self, name: str, rdtype: str) -> None:
        """The question gets no answer."""
        self.answers[name, rdtype] = Answer(Outcome.FAILED, error="SERVFAIL")

    def lack(self, name: str) -> None:
        """There is no such name."""
        for rdtype in ("MX", "A", "AAAA"):
            self.answers[name, rdtype] = Answer(Outcome.NO_NAME, name=name)

    async def query(self, name: str, rdtype: str) -> Answer:
        self.asked.append((name, rdtype))
        if self._every_domain_has_mx and rdtype == "MX" and (name, rdtype) not in self.answers:
            return Answer(Outcome.FOUND, (f"10 mx.{name}",), name, ttl=300)
        return self.answers.get((name, rdtype), Answer(Outcome.NO_NAME, name=name))

    def cached(self, name: str, rdtype: str) -> Answer | None:
        return None
