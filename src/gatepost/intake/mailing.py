"""The transactions of one session: from MAIL over its recipients to the end of the message, and what is decided there.

Not here: how a message is kept (`intake.keeping`), and what a transaction is made of (`intake.transaction`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from gatepost.audit.event import RecordError
from gatepost.gate.gather_authors import is_our_domain
from gatepost.gate.gather_sealing import is_sealed_here
from gatepost.gate.gather_spf import is_free_of_spf
from gatepost.gate.granted import choose, note_use, release
from gatepost.gate.later import then
from gatepost.gate.penalty import answer_after
from gatepost.gate.session import Decided
from gatepost.intake.cut_through import ALONE
from gatepost.intake.cut_through import decided as decided_by
from gatepost.intake.keeping import UNRECORDED, Keeper
from gatepost.intake.sealing import may_be_sealed
from gatepost.intake.sizes import content_limit
from gatepost.intake.transaction import Transaction
from gatepost.mail.envelope import Recipient
from gatepost.mail.reply import Reply
from gatepost.policy.facts import MailFacts, MessageFacts, RcptFacts, Stage
from gatepost.policy.verdict import Decision, Verdict, freezing
from gatepost.protocol.smtp.commands import EndOfChunk, EndOfData, Mail, Rcpt
from gatepost.spool.port import Content

if TYPE_CHECKING:
    from gatepost.intake.session import SmtpSession


SENDER_OK: Final = Reply(250, "2.1.0", "Sender ok")
RECIPIENT_OK: Final = Reply(250, "2.1.5", "Recipient ok")


class Mailing:
    """One transaction after the other. transaction: the open one, read only. idle: commands since the last recipient
    that was accepted, as whoever has commands counts them."""

    def __init__(self, session: SmtpSession, keeper: Keeper) -> None:
        self._session = session
        self._gate = session.gate
        self._keeper = keeper
        self.idle = 0
        self.transaction: Transaction | None = None

    def mail(self, command: Mail, waiting: tuple[Verdict, ...]) -> Any:
        """The reply to MAIL. waiting: verdicts on a stranger that wait for the message."""
        self.end("")
        chosen = choose(self._gate, command.reverse_path)
        return self._from(command, waiting) if chosen is None else then(chosen, lambda _: self._from(command, waiting))

    def _from(self, command: Mail, waiting: tuple[Verdict, ...]) -> Any:
        if self._gate.facts.may_relay_by is not None:
            waiting = ()  # a login in between counts
        self._gate.own_keys.clear()
        self._gate.shared.clear()
        transaction = Transaction(self._gate, command.reverse_path, waiting, self._session.parts.passage)
        facts = MailFacts(
            session=self._gate.facts,
            reverse_path=command.reverse_path,
            smtputf8=command.smtputf8,
            size=command.size,
            sender_is_ours=is_our_domain(self._gate.parts.directory, command.reverse_path),
            spf=None if is_free_of_spf(self._gate.facts) else UNSET,
        )
        return then(self._gate.decide(Stage.MAIL, facts), lambda decided: self._mailed(transaction, decided))

    def _mailed(self, transaction: Transaction, decided: Decided) -> Any:
        decision, facts = decided
        transaction.note(decision)
        transaction.spf = facts.spf or None
        is_accepted = decision.verdict is None
        try:
            note_use(self._gate, transaction.id, transaction.reverse_path, accepted=is_accepted)
        except RecordError:
            return UNRECORDED
        if decision.verdict is not None:
            reply = decision.verdict.reply.with_id(transaction.id)
            return answer_after(self._session.wire, decision, self._keeper.recorded(transaction, reply))
        transaction.ledger.begin(facts)
        self.transaction = transaction
        return answer_after(self._session.wire, decision, SENDER_OK)

    def rcpt(self, command: Rcpt, carried: tuple[Verdict, ...]) -> Any:
        """The reply to RCPT. carried: refusals of a stranger that wait for it."""
        transaction, mail = self.open(), self._session.protocol.mail
        facts = RcptFacts(
            session=self._gate.facts,
            reverse_path=transaction.reverse_path,
            forward_path=command.recipient.path,
            smtputf8=bool(mail and mail.smtputf8),
            size=mail.size if mail else None,
            accepted=len(transaction.recipients),
            carried=carried,
            allowances=transaction.ledger.allowances,
            pending=transaction.ledger.pending,
            seal=UNSET if is_sealed_here(self._gate) else None,
        )
        return then(self._gate.decide(Stage.RCPT, facts), self._rcpt_decided)

    def _rcpt_decided(self, decided: Decided) -> Any:
        decision, facts = decided
        assert isinstance(facts, RcptFacts)
        transaction = self.open()
        if decision.verdict is not None:
            reply = decision.verdict.reply.with_id(transaction.id)
            transaction.refuse_recipient(facts.forward_path, decision, reply)
            transaction.ledger.refuse(reply)
            return answer_after(self._session.wire, decision, reply)
        domain = transaction.through.domain_for(facts)
        if transaction.recipients and domain != transaction.through.domain:
            apart = decided_by("defer", f"{facts.forward_path} is answered by another server than those before it")
            return self._not_taken(facts, ALONE, apart)
        if not domain:
            return self._take(decision, facts)
        envelope = self._session.protocol.envelope
        asked = transaction.through.ask(domain, Recipient(facts.forward_path), envelope)
        return then(asked, lambda no: self._not_taken(facts, *no) if no else self._take(decision, facts, domain))

    def _not_taken(self, facts: RcptFacts, reply: Reply, why: Decision) -> Reply:
        """A recipient that passed the checks, and cannot be taken all the same."""
        transaction = self.open()
        reply = reply.with_id(transaction.id)
        transaction.refuse_recipient(facts.forward_path, why, reply)
        transaction.ledger.refuse(reply)
        return reply

    def _take(self, decision: Decision, facts: RcptFacts, through: str = "") -> Any:
        transaction = self.open()
        transaction.through.domain = through
        transaction.note(decision)
        transaction.add_recipient(facts.forward_path, str(facts.resolution))
        transaction.ledger.accept(facts)
        self.idle = 0
        return answer_after(self._session.wire, decision, RECIPIENT_OK)

    # --- content -------------------------------------------------------------------------------------------------

    def begin_content(self) -> None:
        """Content of the transaction follows; a later chunk goes on where the one before ended."""
        transaction = self.open()
        if transaction.content is None:
            limit = content_limit(self._gate, transaction.recipients)
            parts = self._session.parts
            for_sealing = may_be_sealed(self._gate, transaction.reverse_path, transaction.recipients)
            content = parts.spool.new_content(for_sealing=for_sealing)
            transaction.begin_content(content, limit, parts.headers)

    def content(self, octets: bytes) -> None:
        """A piece of content arrived."""
        content = self.open().content
        assert content is not None  # begin_content came before
        content.write(octets)

    def end_of_chunk(self, command: EndOfChunk) -> Any:
        """The reply to a chunk; to the last one, that to the message."""
        if command.last:
            return self.end_of_message(command)
        return Reply(250, "2.0.0", f"{command.octets} octets received")

    def end_of_message(self, command: EndOfData | EndOfChunk) -> Any:
        """The reply to the whole message."""
        transaction = self.open()
        envelope = self._session.protocol.envelope
        content, facts = transaction.message_facts(command, envelope)
        self._gate.content = content
        decided = self._gate.decide(Stage.MESSAGE, facts)
        return then(decided, lambda result: self._message_decided(transaction, content, result))

    def _message_decided(self, transaction: Transaction, content: Content, decided: Decided) -> Any:
        decision, facts = decided
        assert isinstance(facts, MessageFacts)
        self._gate.content = self._gate.header = None
        transaction.note(decision)
        transaction.ledger.whole(facts)
        verdict = decision.verdict
        refused = verdict is not None and not verdict.freezes
        arrived = transaction.content
        trouble = arrived.trouble if arrived is not None else None
        # What was decided about half a header is not said: the whole one may pass, later.
        if trouble is not None and (not refused or (arrived is not None and arrived.is_header_cut)):
            content.discard()
            self.transaction = None
            reply = self._keeper.not_kept(transaction, trouble, facts.octets)
            transaction.ledger.end(reply)
            return reply
        if verdict is not None and refused:
            content.discard()
            reply = verdict.reply.with_id(transaction.id)
            self.transaction = None
            transaction.ledger.end(reply)
            reply = self._keeper.recorded(transaction, reply, octets=facts.octets)
            if verdict.close:
                self._session.end_after_answer()
            return reply
        return self._keep(transaction, content, facts)

    async def _keep(self, transaction: Transaction, content: Content, facts: MessageFacts) -> Reply:
        self.transaction = None  # not before: a session that ends before this runs ends the transaction
        return await self._keeper.keep(transaction, content, facts, freezing(transaction.waiting))

    def end(self, how: str) -> None:
        """The open transaction, if any, is over without a message; it is recorded. Raises RecordError."""
        transaction, self.transaction = self.transaction, None
        if transaction is not None:
            transaction.through.part()
            if transaction.content is not None:
                transaction.content.discard()
            transaction.ledger.end(None)
            self._gate.record(transaction.event(None, ended=how))
            release(self._gate)

    def open(self) -> Transaction:
        """The open transaction; called where there is one."""
        assert self.transaction is not None  # the session's table lets nothing else come here
        return self.transaction
