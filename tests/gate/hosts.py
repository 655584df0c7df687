"""Mail hosts that say what a test wants: `gate.asking.MailHosts`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from gatepost.delivery.next_hop import NextHop
from gatepost.mail.address import Path
from gatepost.mail.reply import Reply
from gatepost.protocol.smtp.client_transaction import RecipientResult

HOST = NextHop("192.0.2.25", "mx.far.example")
SECOND = NextHop("198.51.100.25", "mx2.far.example")
DOWN = RecipientResult(Reply(451, "4.4.1", "connection refused"), "connect", "deferred", by_peer=False)


def at_rcpt(code: int, esc: str, text: str) -> RecipientResult:
    """A host's own answer to RCPT."""
    kind = "delivered" if code < 400 else "deferred" if code < 500 else "failed"
    return RecipientResult(Reply(code, esc, text), "rcpt", kind)  # type: ignore[arg-type]  # one of its words


TAKEN = at_rcpt(250, "2.1.5", "ok")
NO_USER = at_rcpt(550, "5.1.1", "no such user at inner.example")


class ScriptedHosts:
    """answers: by address; others are like `other`. found: the hosts of every domain, or why there are none.

    asked: (host, reverse-path, recipients) of each question. gate: when set, answers wait for it.
    """

    def __init__(
        self,
        answers: Mapping[str, RecipientResult] | None = None,
        other: RecipientResult = NO_USER,
        found: Sequence[NextHop] | Reply = (HOST,),
    ) -> None:
        self.answers = dict(answers or {})
        self.other = other
        self.found = found
        self.down: set[str] = set()
        self.asked: list[tuple[str, str, list[str]]] = []
        self.sought: list[str] = []
        self.gate: asyncio.Event | None = None

    async def find(self, domain: str) -> Sequence[NextHop] | Reply:
        self.sought.append(domain)
        return self.found

    async def ask(self, host: Any, reverse_path: Path, recipients: Sequence[Path]) -> tuple[RecipientResult, ...]:
        self.asked.append((host.address, str(reverse_path), [str(path) for path in recipients]))
        if self.gate is not None:
            await self.gate.wait()
        if host.address in self.down:
            return (DOWN,) * len(recipients)
        return tuple(self.answers.get(str(path), self.other) for path in recipients)
