"""One mail transaction: what was decided about it, the spool entry that it becomes, and its event."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec import UNSET

from gatepost.accounts.addresses import path_of
from gatepost.audit.event import Event
from gatepost.gate.gather_authors import NOBODY
from gatepost.gate.gather_sealing import is_sealed_here
from gatepost.gate.ledger import Ledger
from gatepost.gate.session import MAX_RECORDED_VERDICTS, GateSession
from gatepost.intake.authenticated import found_by_us, is_stranger_of_mx
from gatepost.intake.content import HeldHeaders, MessageContent, header_facts
from gatepost.intake.cut_through import CutThrough, Passage
from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope
from gatepost.mail.header import HeaderSection
from gatepost.mail.reply import Reply
from gatepost.mail.spf import SpfResult
from gatepost.mail.text import printable
from gatepost.mail.trace import Hop, date, protocol_keyword, received
from gatepost.policy.facts import MessageFacts
from gatepost.policy.findings import FromFacts
from gatepost.policy.verdict import Decision, Evaluated, Verdict
from gatepost.protocol.smtp.commands import EndOfChunk, EndOfData
from gatepost.spool.destination import destination
from gatepost.spool.model import Hold, NewEntry
from gatepost.spool.port import Content

MAX_REFUSED_RECORDED: Final = 100  # recipients named in the event; more are counted


class Transaction:
    """From MAIL to its end. id: of the spool entry and of the `smtp.message` event. waiting: verdicts that were given
    before the message was there, and are about it. through: cut-through, where its recipients want that. sealed: what
    was encrypted to which key by which rule. spf: of a stranger."""

    __slots__ = (
        "_began",
        "_evaluated",
        "_frozen",
        "_passed",
        "_refused",
        "_refused_count",
        "_session",
        "content",
        "destinations",
        "id",
        "ledger",
        "recipients",
        "reverse_path",
        "sealed",
        "section",
        "spf",
        "through",
        "waiting",
    )

    def __init__(
        self,
        session: GateSession,
        reverse_path: Path,
        waiting: Iterable[Verdict] = (),
        passage: Passage | None = None,
    ) -> None:
        self._session = session
        self.id = session.parts.ids.new()
        self.reverse_path = reverse_path
        self.recipients: list[Path] = []
        self.destinations: list[str] = []
        self.content: MessageContent | None = None
        self.section: HeaderSection | None = None
        self.sealed: tuple[dict[str, Any], ...] = ()
        self.spf: SpfResult | None = None
        self.ledger = Ledger(session)
        self._began = session.parts.clock.monotonic()
        self._evaluated: list[Evaluated] = []
        self._passed: list[Decision] = []
        self._refused: list[dict[str, str]] = []
        self._refused_count = 0
        self._frozen: Verdict | None = None
        self.waiting = list(waiting)
        self.through = CutThrough(session, passage)

    def note(self, decision: Decision) -> None:
        """Keep what was evaluated. Recipients that passed alike are recorded once: it is the same decision."""
        for passed in self._passed:
            if passed is decision:
                return
        self.waiting.extend(decision.later)
        if len(self._evaluated) < MAX_RECORDED_VERDICTS:
            self._passed.append(decision)
            self._evaluated.extend(decision.evaluated)

    def add_recipient(self, path: Path, kind: str) -> None:
        """`path` was accepted; kind: what it is here (`accounts.model.Resolution`)."""
        self.recipients.append(path)
        self.destinations.append(destination(path, kept_here=kind not in ("foreign", "relay")))

    def refuse_recipient(self, path: Path | str, decision: Decision, reply: Reply) -> None:
        """`path` was refused with `reply`; the rest of the transaction goes on."""
        self._refused_count += 1
        if len(self._refused) < MAX_REFUSED_RECORDED:
            self._refused.append({"recipient": printable(str(path)), "reply": str(reply)})
            self._evaluated.extend(each for each in decision.evaluated if each.verdict != "pass")

    @property
    def octets(self) -> int:
        """Of the content that has arrived."""
        return self.content.octets if self.content else 0

    # --- content -------------------------------------------------------------------------------------------------

    def begin_content(self, content: Content, limit: int, headers: HeldHeaders) -> None:
        """DATA or the first BDAT was accepted."""
        self.through.part()
        facts = self._session.facts
        authserv_id = facts.hostname if is_stranger_of_mx(facts) else ""
        self.content = MessageContent(content, limit, headers, drop_bcc=facts.submits, authserv_id=authserv_id)

    def message_facts(self, end: EndOfData | EndOfChunk, envelope: Envelope) -> tuple[Content, MessageFacts]:
        """The finished content, and the facts of the last stage."""
        assert self.content is not None  # the session's table lets no end of data come before it
        content, self.section = self.content.finish()
        self._session.header, self._session.body_at = self.section, self.content.body_at
        header = header_facts(self.section)
        facts = MessageFacts(
            session=self._session.facts,
            reverse_path=self.reverse_path,
            recipients=tuple(self.recipients),
            octets=self.content.octets,
            header=header,
            defects=end.defects,
            longest_line=end.longest_line,
            has_8bit=end.has_8bit,
            declared_8bit=envelope.body == "8BITMIME",
            smtputf8=envelope.smtputf8,
            from_=UNSET if self._session.facts.account else NOBODY,  # at hand: who has no account writes as it likes
            new=self.ledger.new,
            recipient_limits=self.ledger.recipient_limits,
            spf=self.spf,
            spf_excuse=UNSET if self.spf is not None and self.spf.has_dmarc else "",
            dkim=UNSET if header.is_signed else (),
            seal=UNSET if self._may_be_sealed() else None,
        )
        return content, facts

    def _may_be_sealed(self) -> bool:
        session = self._session
        return bool(session.own_keys or session.shared) or is_sealed_here(session)

    def entry(
        self, envelope: Envelope, facts: MessageFacts, content: Content, *, name_address: bool, hold: Verdict | None
    ) -> NewEntry:
        """The spool entry: the content with our trace fields on top.

        name_address: whether Received tells the peer's address; for what users submit it may be withheld. hold: the
        verdict that freezes it, None to deliver it.
        """
        self._frozen = hold
        session, clock = self._session, self._session.parts.clock
        prefix = found_by_us(session, facts) + self._trace(envelope, name_address) + self.completed(facts)
        return NewEntry(
            id=self.id,
            envelope=envelope,
            received_at=clock.unix(),
            prefix=prefix,
            octets=len(prefix) + content.octets,
            destinations=tuple(self.destinations),
            login=session.facts.account,
            client=session.facts.client_ip,
            has_8bit=facts.has_8bit,
            held_by=_held_by(hold),
            hold_reason=f"{hold.name}: {hold.reason}" if hold is not None else "",
        )

    def _trace(self, envelope: Envelope, name_address: bool) -> bytes:
        facts = self._session.facts
        protocol = protocol_keyword(
            extended=facts.extended,
            tls=bool(facts.tls_version),
            login=bool(facts.login or facts.certificate),  # a grant is no AUTH (RFC 3848)
            utf8=envelope.smtputf8,
            lmtp=facts.service == "lmtp",
        )
        hop = Hop(
            helo=facts.helo,
            ip=facts.client_ip if name_address else "",
            ptr="",
            by=facts.hostname,
            protocol=protocol,
            tls=f"{facts.tls_version} {facts.tls_cipher}" if facts.tls_version else "",
            id=self.id,
            recipient=str(self.recipients[0]) if len(self.recipients) == 1 else "",
        )
        return received(hop, self._session.parts.clock.now())

    def completed(self, facts: MessageFacts) -> bytes:
        """Date and Message-ID, where a user's program left them out (RFC 6409 §8.1, §8.3), and the Sender that From
        needs when several wrote together (RFC 5322 §3.6.2)."""
        if not facts.session.submits:
            return b""
        added = ""
        if not facts.header.counts.get("date"):
            added += f"Date: {date(self._session.parts.clock.now())}\r\n"
        if not facts.header.counts.get("message-id"):
            added += f"Message-ID: <{self.id.lower()}@{facts.session.hostname}>\r\n"
        account = facts.session.account
        if isinstance(facts.from_, FromFacts) and facts.from_.needs_sender and (account.isascii() or facts.smtputf8):
            added += f"Sender: <{path_of(account)}>\r\n"
        return added.encode("utf-8")

    # --- the record ----------------------------------------------------------------------------------------------

    def event(self, reply: Reply | None, *, octets: int | None = None, ended: str = "") -> Event:
        """The `smtp.message` event. reply: that ended it, None when the peer did (`ended` says how)."""
        details: dict[str, Any] = {}
        if self._refused:
            details["refused"] = self._refused
        if self._refused_count > len(self._refused):
            details["refused_more"] = self._refused_count - len(self._refused)
        if ended:
            details["ended"] = ended
        if (granted := self._session.granted) is not None and granted.chosen is not None:
            details["grant"] = granted.chosen.id
        if self.sealed:
            details["seal"] = list(self.sealed)
        if self.content is not None and self.content.claimed:
            details["claims_removed"] = self.content.claimed
        if self._frozen is not None:
            details["held"] = self._frozen.word
        if self.section is not None and (message_id := self.section.first(b"message-id")) is not None:
            details["message_id"] = printable(message_id)
        clock = self._session.parts.clock
        return self._session.event(
            "smtp.message",
            id=self.id,
            sender=str(self.reverse_path),
            recipients=tuple([str(path) for path in self.recipients]),
            octets=octets,
            verdicts=self._evaluated,
            reply=str(reply) if reply else "",
            took_ms=round((clock.monotonic() - self._began) * 1000),
            details=details,
        )


def _held_by(hold: Verdict | None) -> Hold | None:
    if hold is None:
        return None
    return Hold.QUARANTINE if hold.action == "quarantine" else Hold.CHECK
