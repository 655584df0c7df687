"""The promise: what is answered 250 is on stable storage, or with the next hop that answered so, and on the record.

Not here: whether a message is taken (`intake.mailing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gatepost.audit.event import RecordError
from gatepost.gate.proof import note_held
from gatepost.gate.shedding import ROOM
from gatepost.intake.cut_through import decided as decided_by
from gatepost.intake.sealing import NOT_SEALED, NotSealed, is_to_be_sealed, part_event, sealed_parts
from gatepost.intake.transaction import Transaction
from gatepost.mail.reply import Reply
from gatepost.policy.checks import content_dkim
from gatepost.policy.facts import MessageFacts
from gatepost.policy.findings import SealPlan
from gatepost.policy.verdict import Verdict
from gatepost.spool.model import Hold, NewEntry
from gatepost.spool.port import Content, SpoolError, SpoolFullError

if TYPE_CHECKING:
    from gatepost.intake.session import SmtpSession

ACCEPTED: Final = Reply(250, "2.0.0", "Message accepted")
NO_ROOM: Final = Reply(452, "4.3.1", "Insufficient system storage, try again later")
SPOOL_FAILED: Final = Reply(451, "4.3.0", "The message could not be stored, try again later")
UNRECORDED: Final = Reply(421, "4.3.0", "This server cannot keep its record, try again later")


class Keeper:
    """The messages of one session that are taken. messages: so far. is_keeping: one is on its way into the spool."""

    def __init__(self, session: SmtpSession) -> None:
        self._session = session
        self._gate = session.gate
        self.messages = 0
        self.is_keeping = False

    async def keep(
        self, transaction: Transaction, content: Content, facts: MessageFacts, hold: Verdict | None
    ) -> Reply:
        """The promise: 250 only when the entry is on stable storage and its event is written."""
        parts = self._session.parts
        # Where a user lives is nobody's business.
        name_address = not facts.session.submits or parts.settings.received_address
        envelope = self._session.protocol.envelope
        entry = transaction.entry(envelope, facts, content, name_address=name_address, hold=hold)
        accepted = hold.reply if hold is not None and hold.reply.is_positive else ACCEPTED
        self.is_keeping = True
        try:
            if facts.seal is not None and is_to_be_sealed(self._gate, facts.seal):
                reply = await self._sealed(transaction, entry, content, facts, accepted)
            elif transaction.through.domain and hold is None:
                reply = await self._passed_on(transaction, entry, content)
            else:
                reply = await self._added(transaction, ((entry, content),), accepted)
        finally:
            self.is_keeping = False
        if not reply.is_positive:
            transaction.ledger.end(reply)
            return reply
        await transaction.ledger.taken()
        if facts.header.has_autocrypt and hold is None and parts.autocrypt is not None:
            assert transaction.section is not None  # the facts are of it
            is_checked = self._gate.parts.policy.is_enforced(content_dkim.NAME, facts.session.service)
            parts.autocrypt.accepted(transaction.section, facts, trusts_dkim=is_checked)
        if entry.held_by is Hold.CHECK and entry.login:
            await note_held(self._gate, entry.login)
        return reply

    def recorded(self, transaction: Transaction, reply: Reply, octets: int | None = None) -> Reply:
        """`reply`, once the transaction's event is written; 421 if it cannot be."""
        try:
            self._gate.record(transaction.event(reply, octets=octets))
        except RecordError:
            return UNRECORDED
        return reply

    def not_kept(self, transaction: Transaction, trouble: SpoolError, octets: int) -> Reply:
        """What a peer hears whose message the spool could not keep; the operator hears why. Where there is no room,
        each message is counted, and few have events of their own."""
        self._session.parts.report(str(trouble))
        if not isinstance(trouble, SpoolFullError):
            return self.recorded(transaction, SPOOL_FAILED.with_id(transaction.id), octets)
        shedding = self._gate.parts.shedding
        if shedding is not None and (summed_in := shedding.shed(ROOM)):
            return NO_ROOM.with_id(summed_in)
        return self.recorded(transaction, NO_ROOM.with_id(transaction.id), octets)

    async def _passed_on(self, transaction: Transaction, entry: NewEntry, content: Content) -> Reply:
        """The next hop's answer, in our words. What it took for some recipients only is kept for the others."""
        try:
            handed = await transaction.through.hand_over(entry, content)
        except BaseException:
            content.discard()
            raise
        if handed.why:
            word = "defer" if handed.reply is None or handed.reply.is_transient else "reject"
            transaction.note(decided_by(word, f"the next hop of {transaction.through.domain} says: {handed.why}"))
        try:
            for event in handed.events:
                self._gate.record(event)
        except RecordError:
            content.discard()
            return UNRECORDED
        if handed.left is not None:
            return await self._added(transaction, ((handed.left, content),), ACCEPTED)
        content.discard()
        reply = self.recorded(transaction, (handed.reply or ACCEPTED).with_id(transaction.id), transaction.octets)
        if reply.is_positive:
            self.messages += 1
            self._session.parts.notify()  # a notice of success may be due
        return reply

    async def _sealed(
        self, transaction: Transaction, entry: NewEntry, content: Content, facts: MessageFacts, kept: Reply
    ) -> Reply:
        """Encrypted, and kept for each set of recipients; what cannot be encrypted is not kept at all."""
        sealer, spool = self._gate.parts.sealer, self._session.parts.spool
        assert sealer is not None  # it made the plan
        assert isinstance(facts.seal, SealPlan)
        added = transaction.completed(facts)
        try:
            parts = await sealed_parts(self._gate, sealer, spool, entry, added, content, facts.seal)
        except SpoolError as error:
            content.discard()
            return self.not_kept(transaction, error, transaction.octets)
        except BaseException:
            content.discard()
            raise
        if isinstance(parts, NotSealed):
            content.discard()
            transaction.note(parts.decision)
            return self.recorded(transaction, NOT_SEALED.with_id(transaction.id), octets=transaction.octets)
        transaction.sealed = parts.told
        return await self._added(transaction, parts.entries, kept)

    async def _added(self, transaction: Transaction, new: Sequence[tuple[NewEntry, Content]], kept: Reply) -> Reply:
        """The entries that the message became, the first of which has its ID, are in the spool together."""
        parts, octets = self._session.parts, transaction.octets
        try:
            await (parts.spool.add(*new[0]) if len(new) == 1 else parts.spool.add_all(new))
        except SpoolError as error:
            for _, content in new:
                content.discard()
            return self.not_kept(transaction, error, octets)
        reply = self.recorded(transaction, kept.with_id(transaction.id), octets=octets)
        try:
            for entry, _ in new[1:]:
                self._gate.record(part_event(entry, transaction.id))
        except RecordError:
            reply = UNRECORDED
        if reply.code == 421:
            # Not answered 250, so the peer keeps it and tries again; ours would be a second copy.
            for entry, _ in new:
                drop = "quarantine-drop" if entry.held_by is Hold.QUARANTINE else "drop"
                await parts.spool.change(entry.id, drop, parts.gate.clock.unix())
            return reply
        self.messages += 1
        parts.notify()
        return reply
