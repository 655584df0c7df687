"""Cut-through: a stranger's message for a domain with `cut_through` is answered as its next hop answers, so that what
the next hop refuses stays with the sender, and nothing bounces to an address that was forged.

Recipients are asked about while the peer names them. At the end of the message the next hop gets all of it, and the
peer hears 250 after the next hop has said so; until then the content is where a spool would have it, and nowhere else.
Not here: the client (`delivery.passage`), and mail of peers that may relay, which is queued: their senders are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from gatepost.audit.event import Event
from gatepost.gate.session import GateSession
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.reply import Reply
from gatepost.policy.facts import RcptFacts
from gatepost.policy.verdict import Decision, Evaluated
from gatepost.protocol.smtp.client_transaction import RecipientResult
from gatepost.spool.model import NewEntry
from gatepost.spool.port import Content

NAME: Final = "cut_through"  # in the record, beside the checks
ALONE: Final = Reply(452, "4.5.3", "This recipient needs a message of its own; send it again for it alone")
UNREACHABLE: Final = Reply(451, "4.4.1", "The server that keeps this mailbox cannot be reached now, try again later")
NOT_NOW: Final = "The server that keeps this mailbox does not take the message now, try again later"
NOT_THE_RECIPIENT: Final = "The server that keeps this mailbox refuses the recipient or the sender"
NOT_THE_MESSAGE: Final = "The server that keeps this mailbox refuses the message"
BROKEN: Final = Reply(451, "4.4.2", "The message could not be passed on to the end, try again later")
# What a next hop may say in our name; others are about our session with it (421, 502, ...).
OURS_TO_SAY: Final = frozenset({450, 451, 452, 550, 551, 552, 553, 554, 556})


class Line(Protocol):
    """A transaction with the next hop in which recipients are asked about."""

    @property
    def is_open(self) -> bool:
        """Whether another may be asked about."""
        ...

    async def ask(self, recipient: Recipient) -> RecipientResult: ...


class Passage(Protocol):
    """The client that reaches next hops. Never raises for what they do."""

    async def line(self, domain: str, envelope: Envelope) -> Line | RecipientResult:
        """A line to a next hop of our domain, on the reverse-path of `envelope`; or what came in the way."""
        ...

    def part(self, line: Line) -> None:
        """The line is ended; nobody waits for it."""
        ...

    async def hand_over(self, entry: NewEntry, content: Content) -> tuple[Sequence[RecipientResult], Sequence[Event]]:
        """What the next hop says of each recipient of the whole message, in the order of the envelope, within the time
        that the peer waits (RFC 5321 §4.5.3.2.6); and the events that tell of it."""
        ...


class Handed(msgspec.Struct, frozen=True):
    """How it ended. reply: to the peer. left: what has to be kept, since the next hop took it for others. why: for the
    record, "" when it was taken."""

    reply: Reply | None
    left: NewEntry | None = None
    why: str = ""
    events: tuple[Event, ...] = ()


class CutThrough:
    """That of one transaction. domain: to which its accepted recipients go through, "" where they are queued."""

    __slots__ = ("_gate", "_leads_to", "_line", "_passage", "domain")

    def __init__(self, gate: GateSession, passage: Passage | None) -> None:
        self._gate = gate
        self._passage = passage
        self._line: Line | None = None
        self._leads_to = ""
        self.domain = ""

    def domain_for(self, facts: RcptFacts) -> str:
        """The domain that the recipient's mail goes through to, "" for a recipient whose mail is queued."""
        if self._passage is None or facts.resolution != "relay" or facts.session.may_relay_by is not None:
            return ""
        domain = self._gate.parts.directory.domain(facts.forward_path.domain)
        return domain.name if domain is not None and domain.cut_through else ""

    async def ask(self, domain: str, recipient: Recipient, envelope: Envelope) -> tuple[Reply, Decision] | None:
        """None where the next hop takes the recipient; else our reply, and the words of the next hop for the record."""
        assert self._passage is not None  # domain_for looked
        if self._line is None or not self._line.is_open or self._leads_to != domain:
            self.part()
            line = await self._passage.line(domain, envelope)
            if isinstance(line, RecipientResult):
                return reply_to(line, NOT_THE_RECIPIENT), noted(line, domain)
            self._line, self._leads_to = line, domain
        result = await self._line.ask(recipient)
        return None if result.reply.is_positive else (reply_to(result, NOT_THE_RECIPIENT), noted(result, domain))

    def part(self) -> None:
        """No more recipients come."""
        line, self._line = self._line, None
        if line is not None and self._passage is not None:
            self._passage.part(line)

    async def hand_over(self, entry: NewEntry, content: Content) -> Handed:
        """Pass the whole message on. One reply stands for all recipients: where some were taken, it is 250, and the
        others are kept, as any mail is; where none was, the worst that can be mended is the peer's to hear."""
        assert self._passage is not None  # nobody else has a domain
        results, events = await self._passage.hand_over(entry, content)
        taken = [result.kind == "delivered" for result in results]
        if all(taken):
            return Handed(None, events=tuple(events))
        if any(taken):
            return Handed(None, _without(entry, taken), _words(results), tuple(events))
        worst = next((result for result in results if result.kind == "deferred"), results[0])
        return Handed(reply_to(worst, NOT_THE_MESSAGE), None, _words(results), tuple(events))


def reply_to(result: RecipientResult, refused: str) -> Reply:
    """What the peer hears of the next hop's answer: its code, and words of ours. refused: those for 5yz."""
    reply = result.reply
    if result.kind == "deferred" and not result.by_peer:
        return UNREACHABLE if result.at in ("connect", "helo") else BROKEN
    # A 5yz before MAIL is about us, and for us to mend.
    if result.kind == "deferred" or result.at in ("connect", "helo"):
        code = reply.code if reply.code in OURS_TO_SAY and reply.is_transient else 451
        return Reply(code, reply.esc if reply.esc.startswith("4.") else "4.4.0", NOT_NOW)
    code = reply.code if reply.code in OURS_TO_SAY else 554
    return Reply(code, reply.esc if reply.esc.startswith("5.") else "5.0.0", refused)


def noted(result: RecipientResult, domain: str) -> Decision:
    """The next hop's own words, for the record."""
    word = "defer" if result.kind == "deferred" else "reject"
    return decided(word, f"the next hop of {domain} says at {result.at}: {str(result.reply)[:200]}")


def decided(word: str, reason: str) -> Decision:
    """How a transaction's record tells of cut-through."""
    return Decision(None, (Evaluated(NAME, "enforce", word, reason),))


def _without(entry: NewEntry, taken: Sequence[bool]) -> NewEntry:
    recipients = [one for one, is_taken in zip(entry.envelope.recipients, taken, strict=True) if not is_taken]
    destinations = [one for one, is_taken in zip(entry.destinations, taken, strict=True) if not is_taken]
    envelope = msgspec.structs.replace(entry.envelope, recipients=tuple(recipients))
    return msgspec.structs.replace(entry, envelope=envelope, destinations=tuple(destinations))


def _words(results: Sequence[RecipientResult]) -> str:
    said = dict.fromkeys(str(result.reply)[:200] for result in results if result.kind != "delivered")
    return "; ".join(list(said)[:5])
