"""What each command does: gather, decide, and the reply that follows. The order of commands is `protocol`'s."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from gatepost.audit.event import RecordError
from gatepost.gate.gather_authors import is_our_domain
from gatepost.gate.granted import choose, note_use, release
from gatepost.gate.later import then
from gatepost.gate.login import offered_mechanisms
from gatepost.gate.penalty import wait_for
from gatepost.gate.proof import note_held
from gatepost.gate.session import Decided
from gatepost.intake.auth import AuthDialogue
from gatepost.intake.cut_through import ALONE
from gatepost.intake.cut_through import decided as decided_by
from gatepost.intake.lookup import expand, verify
from gatepost.intake.settings import ListenerSettings
from gatepost.intake.sizes import announced_limit, content_limit
from gatepost.intake.tls_memory import note_failure, offers_starttls
from gatepost.intake.transaction import Transaction
from gatepost.intake.xclient import client_after
from gatepost.mail.address import parse_literal
from gatepost.mail.envelope import Recipient
from gatepost.mail.network import NetworkSet
from gatepost.mail.reply import Reply
from gatepost.policy.checks import command_allowed, content_framing
from gatepost.policy.checks.command_budget import LEAST_IDLE
from gatepost.policy.facts import (
    CommandFacts,
    HeloFacts,
    MailFacts,
    MessageFacts,
    RcptFacts,
    Stage,
)
from gatepost.policy.verdict import Decision, Evaluated, Verdict, freezing
from gatepost.protocol.smtp.commands import (
    Auth,
    AuthResponse,
    Command,
    Data,
    Ehlo,
    EndOfChunk,
    EndOfData,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Malformed,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
    Xclient,
)
from gatepost.protocol.smtp.extensions import Offer
from gatepost.spool.model import Hold, NewEntry
from gatepost.spool.port import Content, SpoolError, SpoolFullError

if TYPE_CHECKING:
    from gatepost.intake.session import SmtpSession

ACCEPTED: Final = Reply(250, "2.0.0", "Message accepted")
OK: Final = Reply(250, "2.0.0", "Ok")
START_CONTENT: Final = Reply(354, "", "Start mail input; end with <CRLF>.<CRLF>")
NO_ROOM: Final = Reply(452, "4.3.1", "Insufficient system storage, try again later")
SPOOL_FAILED: Final = Reply(451, "4.3.0", "The message could not be stored, try again later")
UNKNOWN_PEER: Final = Reply(421, "4.3.0", "Your certificate cannot be looked up now, try again later")
UNRECORDED: Final = Reply(421, "4.3.0", "This server cannot keep its record, try again later")
COMMANDS_HELP: Final = "Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY EXPN HELP STARTTLS AUTH"
# A refusal of the syntax is a check's decision too; these are the checks.
SYNTAX_CHECKS: Final = {"MAIL": "sender.syntax", "RCPT": "recipient.syntax"}
# Not counted by `command.budget`: what belongs to a command before it, and the end.
_UNCOUNTED: Final = frozenset((AuthResponse, Data, EndOfData, EndOfChunk, Quit))
_DECIDED: Final = frozenset((Vrfy, Expn, Help))  # the `command` stage sees them anyhow


class Commands:
    """The commands of one session. messages: accepted so far. is_keeping: one is on its way into the spool."""

    def __init__(self, session: SmtpSession, listener: ListenerSettings) -> None:
        self._session = session
        self._gate = session.gate
        self._listener = listener
        self._transaction: Transaction | None = None
        self._at_door: tuple[Verdict, ...] = ()  # verdicts that wait, of the connection
        self._carried: tuple[Verdict, ...] = ()  # the same, and those of the greeting
        self._auth = AuthDialogue(session.gate, session.parts.settings, session.wire)
        self._tls_offered = True
        self.offer = self._current_offer()
        self.messages = 0
        self.is_keeping = False
        self._idle = 0  # commands since the last recipient that was accepted

    # --- for the driver ------------------------------------------------------------------------------------------

    def connected(self) -> Any:
        """The greeting, or the refusal to start a session; None to close without a word."""
        return then(self._gate.connect(), self._connected)

    def _connected(self, decided: Decided) -> Reply | None:
        decision, _ = decided
        self._gate.note(decision)
        self._at_door = decision.later
        verdict = decision.verdict
        if verdict is None:
            return self.offer.greeting()
        return None if verdict.silent else verdict.reply.with_id(self._gate.id)

    def answer(self, command: Command | Malformed) -> Any:
        """The reply to a command that is legal now; an awaitable where something must be waited for."""
        kind = type(command)
        if self._transaction is None and self._gate.granted is not None:
            release(self._gate)
        if kind not in _UNCOUNTED and not (kind is Rcpt and self._open().recipients):
            self._idle += 1
            if self._idle >= LEAST_IDLE and kind not in _DECIDED:
                return self._single(kind.__name__.upper(), lambda: _HANDLERS[kind](self, command))
        return _HANDLERS[kind](self, command)

    def refused(self, verb: str, reply: Reply) -> Any:
        """`reply` to a command that the session refuses by itself, unless there were too many such."""
        self._idle += 1
        if self._idle < LEAST_IDLE and verb:
            return reply
        return self._single(verb, lambda: reply)

    def answered(self, reply: Reply) -> None:
        """What must happen once `reply` is on its way."""
        if reply.code == 354:
            self._session.parser.expect_content()
            self.begin_content()
        elif reply.code == 334:
            self._session.parser.expect_response()
        elif reply.code == 235:
            self._set_dialect(extended=True)

    def malformed(self, command: Malformed) -> Any:
        """The reply to a line that is no command; a refused path is on the record under its check."""
        return then(self.refused(command.verb, command.reply), lambda reply: self._malformed(command, reply))

    def _malformed(self, command: Malformed, reply: Reply) -> Reply:
        check = SYNTAX_CHECKS.get(command.verb)
        if check is None or reply is not command.reply:
            return reply
        decision = Decision(None, (Evaluated(check, "enforce", "reject", command.reason),))
        if self._transaction is None:
            self._gate.note(decision)
            return command.reply.with_id(self._gate.id)
        reply = command.reply.with_id(self._transaction.id)
        self._transaction.refuse_recipient("", decision, reply)
        return reply

    def session_ended(self, reason: str, in_handshake: bool) -> None:
        """The connection is gone."""
        self._auth.cancel()
        if in_handshake:
            note_failure(self._gate, reason)

    def forget_greeting(self) -> None:
        """After STARTTLS and XCLIENT the peer greets again."""
        self._carried = self._at_door
        self._set_dialect(extended=True)

    # --- greeting ------------------------------------------------------------------------------------------------

    def _current_offer(self) -> Offer:
        """What this peer may use now; `offer` is what it was told last."""
        facts, session = self._gate.facts, self._session
        may_use = self._may_use()
        return Offer(
            hostname=facts.hostname,
            lmtp=facts.service == "lmtp",
            size_limit_octets=announced_limit(self._gate),
            starttls=session.wire.can_start_tls and self._tls_offered,
            auth=offered_mechanisms(self._gate),
            rcptmax=session.parts.recipient_limits.get(facts.service),
            expn=facts.may_relay_by is not None and may_use("EXPN"),
            smtputf8=may_use("SMTPUTF8"),
            chunking=may_use("CHUNKING") and not self.mends_line_ends(),  # a chunk's octets are counted as sent
            dsn=may_use("DSN"),
            xclient=self._listener.xclient and facts.trusted,
            # Old programs write "MAIL FROM: bob@example.org". From peers that are known it is no sign of evil.
            strict=not (facts.trusted or facts.may_relay_by or facts.granted),
        )

    def mends_line_ends(self) -> bool:
        """Whether this peer is one of those whose bare LF is repaired (`content.framing`)."""
        facts = self._gate.facts
        settings = self._gate.parts.policy.settings_of(content_framing.CHECK)
        assert isinstance(settings, content_framing.Settings)
        return bool(settings.repair) and facts.network_may_relay and facts.client_ip in NetworkSet(settings.repair)

    def _may_use(self) -> Callable[[str], bool]:
        """Tells of a command or extension whether it is this peer's to use."""
        policy, facts = self._gate.parts.policy, self._gate.facts
        settings = policy.settings_of(command_allowed.CHECK)
        assert isinstance(settings, command_allowed.Settings)
        if command_allowed.CHECK.mode_for(facts.service, settings) != "enforce":
            return lambda _: True
        return lambda verb: command_allowed.may_use(verb, facts, settings)

    def _set_dialect(self, *, extended: bool) -> None:
        session = self._session
        self.offer = self._current_offer()
        session.dialect = self.offer.dialect(extended=extended)
        session.parser.set_dialect(session.dialect)

    def _helo(self, command: Helo | Ehlo | Lhlo) -> Any:
        return then(self._gate.recognise(), lambda unknown: UNKNOWN_PEER if unknown else self._greet(command))

    def _greet(self, command: Helo | Ehlo | Lhlo) -> Any:
        literal = parse_literal(command.domain)
        facts = HeloFacts(
            session=self._gate.facts,
            name=command.domain,
            well_formed=literal is not None or is_host_name(command.domain),
            literal_ip=str(literal) if literal else "",
        )
        return then(self._gate.decide(Stage.HELO, facts), lambda decided: self._greeted(command, decided[0]))

    def _greeted(self, command: Helo | Ehlo | Lhlo, decision: Decision) -> Any:
        self._gate.note(decision)
        if decision.verdict is not None:
            return self._after(decision, decision.verdict.reply.with_id(self._gate.id))
        self.end_transaction("greeting")
        self._carried = self._at_door + decision.later
        extended = not isinstance(command, Helo)
        self._gate.know(helo=command.domain, extended=extended)
        if not extended:
            self._set_dialect(extended=False)
            return self.offer.helo_reply()
        return then(offers_starttls(self._gate, self._session.wire), self._ehlo_reply)

    def _ehlo_reply(self, offers_tls: bool) -> Reply:
        self._tls_offered = offers_tls
        self._set_dialect(extended=True)
        return self.offer.ehlo_reply()

    def _starttls(self, _: StartTls) -> Reply:
        if not self._session.wire.can_start_tls:
            return Reply(454, "4.7.0", "TLS is not available here")
        self.end_transaction("STARTTLS")
        return Reply(220, "2.0.0", "Ready to start TLS")

    def _xclient(self, command: Xclient) -> Any:
        peer = client_after(self._gate.peer, command.attributes)
        self.end_transaction("XCLIENT")
        self._gate.end()
        self._gate.become(peer)
        self.forget_greeting()
        return then(self._gate.connect(), self._reconnected)

    def _reconnected(self, decided: Decided) -> Reply:
        """The peer that was named may start a session; one that may not has none, and the connection ends."""
        decision, _ = decided
        self._gate.note(decision)
        self._at_door = self._carried = decision.later
        if decision.verdict is None:
            return self.offer.greeting()
        self._session.end_after_answer()
        return decision.verdict.reply.with_id(self._gate.id)

    # --- AUTH ----------------------------------------------------------------------------------------------------

    def _start_auth(self, command: Auth) -> Any:
        return self._auth.start(command)

    def _continue_auth(self, command: AuthResponse) -> Any:
        assert command.response is not None  # a cancellation is answered by the session
        return self._auth.respond(command.response)

    # --- the envelope --------------------------------------------------------------------------------------------

    def _mail(self, command: Mail) -> Any:
        self.end_transaction("")
        return then(choose(self._gate, command.reverse_path), lambda _: self._from(command))

    def _from(self, command: Mail) -> Any:
        waiting = self._carried if self._gate.facts.may_relay_by is None else ()  # a login in between counts
        transaction = Transaction(self._gate, command.reverse_path, waiting, self._session.parts.passage)
        facts = MailFacts(
            session=self._gate.facts,
            reverse_path=command.reverse_path,
            smtputf8=command.smtputf8,
            size=command.size,
            sender_is_ours=is_our_domain(self._gate.parts.directory, command.reverse_path),
        )
        return then(self._gate.decide(Stage.MAIL, facts), lambda decided: self._mailed(transaction, decided))

    def _mailed(self, transaction: Transaction, decided: Decided) -> Any:
        decision, facts = decided
        transaction.note(decision)
        is_accepted = decision.verdict is None
        try:
            note_use(self._gate, transaction.id, transaction.reverse_path, accepted=is_accepted)
        except RecordError:
            return UNRECORDED
        if decision.verdict is not None:
            reply = decision.verdict.reply.with_id(transaction.id)
            return self._after(decision, self._recorded(transaction, reply))
        transaction.ledger.begin(facts)
        self._transaction = transaction
        return self._after(decision, Reply(250, "2.1.0", "Sender ok"))

    def _rcpt(self, command: Rcpt) -> Any:
        transaction, mail = self._open(), self._session.protocol.mail
        facts = RcptFacts(
            session=self._gate.facts,
            reverse_path=transaction.reverse_path,
            forward_path=command.recipient.path,
            smtputf8=bool(mail and mail.smtputf8),
            size=mail.size if mail else None,
            accepted=len(transaction.recipients),
            carried=self._carried,
            allowances=transaction.ledger.allowances,
            pending=transaction.ledger.pending,
        )
        return then(self._gate.decide(Stage.RCPT, facts), self._rcpt_decided)

    def _rcpt_decided(self, decided: Decided) -> Any:
        decision, facts = decided
        assert isinstance(facts, RcptFacts)
        transaction = self._open()
        if decision.verdict is not None:
            reply = decision.verdict.reply.with_id(transaction.id)
            transaction.refuse_recipient(facts.forward_path, decision, reply)
            transaction.ledger.refuse(reply)
            return self._after(decision, reply)
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
        transaction = self._open()
        reply = reply.with_id(transaction.id)
        transaction.refuse_recipient(facts.forward_path, why, reply)
        transaction.ledger.refuse(reply)
        return reply

    def _take(self, decision: Decision, facts: RcptFacts, through: str = "") -> Any:
        transaction = self._open()
        transaction.through.domain = through
        transaction.note(decision)
        transaction.add_recipient(facts.forward_path, str(facts.resolution))
        transaction.ledger.accept(facts)
        self._idle = 0
        return self._after(decision, Reply(250, "2.1.5", "Recipient ok"))

    def _after(self, decision: Decision, reply: Reply) -> Any:
        """`reply`, once the wait that the decision lays on the peer is over."""
        return self._late(decision.wait, reply) if decision.wait else reply

    async def _late(self, seconds: float, reply: Reply) -> Reply:
        await wait_for(self._session.wire, seconds)
        return reply

    # --- content -------------------------------------------------------------------------------------------------

    def _data(self, _: Data) -> Reply:
        return START_CONTENT

    def begin_content(self) -> None:
        """Content of the transaction follows; a later chunk goes on where the one before ended."""
        transaction = self._open()
        if transaction.content is None:
            limit = content_limit(self._gate, transaction.recipients)
            transaction.begin_content(self._session.parts.spool.new_content(), limit)

    def content(self, octets: bytes) -> None:
        """A piece of content arrived."""
        content = self._open().content
        assert content is not None  # begin_content came before
        content.write(octets)

    def _end_of_chunk(self, command: EndOfChunk) -> Any:
        if command.last:
            return self._end_of_message(command)
        return Reply(250, "2.0.0", f"{command.octets} octets received")

    def _end_of_message(self, command: EndOfData | EndOfChunk) -> Any:
        transaction = self._open()
        envelope = self._session.protocol.envelope
        content, facts = transaction.message_facts(command, envelope)
        decided = self._gate.decide(Stage.MESSAGE, facts)
        return then(decided, lambda result: self._message_decided(transaction, content, result))

    def _message_decided(self, transaction: Transaction, content: Content, decided: Decided) -> Any:
        decision, facts = decided
        assert isinstance(facts, MessageFacts)
        transaction.note(decision)
        transaction.ledger.whole(facts)
        verdict = decision.verdict
        refused = verdict is not None and not verdict.freezes
        if refused or (transaction.content is not None and transaction.content.is_full):
            content.discard()
            reply = (verdict.reply if verdict and refused else NO_ROOM).with_id(transaction.id)
            self._transaction = None
            transaction.ledger.end(reply)
            reply = self._recorded(transaction, reply, octets=facts.octets)
            if verdict is not None and verdict.close:
                self._session.end_after_answer()
            return reply
        return self._keep(transaction, content, facts, freezing(transaction.waiting))

    async def _keep(
        self, transaction: Transaction, content: Content, facts: MessageFacts, hold: Verdict | None
    ) -> Reply:
        """The promise: 250 only when the entry is on stable storage and its event is written."""
        parts = self._session.parts
        # Where a user lives is nobody's business.
        name_address = not facts.session.submits or parts.settings.received_address
        envelope = self._session.protocol.envelope
        entry = transaction.entry(envelope, facts, content, name_address=name_address, hold=hold)
        accepted = hold.reply if hold is not None and hold.reply.is_positive else ACCEPTED
        self._transaction = None
        self.is_keeping = True
        try:
            if transaction.through.domain and hold is None:
                reply = await self._passed_on(transaction, entry, content)
            else:
                reply = await self._kept(transaction, entry, content, accepted)
        finally:
            self.is_keeping = False
        if not reply.is_positive:
            transaction.ledger.end(reply)
            return reply
        await transaction.ledger.taken()
        if entry.held_by is Hold.CHECK and entry.login:
            await note_held(self._gate, entry.login)
        return reply

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
            return await self._kept(transaction, handed.left, content, ACCEPTED)
        content.discard()
        reply = self._recorded(transaction, (handed.reply or ACCEPTED).with_id(transaction.id), transaction.octets)
        if reply.is_positive:
            self.messages += 1
            self._session.parts.notify()  # a notice of success may be due
        return reply

    async def _kept(self, transaction: Transaction, entry: NewEntry, content: Content, kept: Reply) -> Reply:
        parts, octets = self._session.parts, transaction.octets
        try:
            await parts.spool.add(entry, content)
        except SpoolFullError:
            content.discard()
            return self._recorded(transaction, NO_ROOM.with_id(transaction.id), octets=octets)
        except SpoolError:
            content.discard()
            return self._recorded(transaction, SPOOL_FAILED.with_id(transaction.id), octets=octets)
        reply = self._recorded(transaction, kept.with_id(transaction.id), octets=octets)
        if reply.code == 421:
            # Not answered 250, so the peer keeps it and tries again; ours would be a second copy.
            drop = "quarantine-drop" if entry.held_by is Hold.QUARANTINE else "drop"
            await parts.spool.change(entry.id, drop, parts.gate.clock.unix())
            return reply
        self.messages += 1
        parts.notify()
        return reply

    def _recorded(self, transaction: Transaction, reply: Reply, octets: int | None = None) -> Reply:
        """`reply`, once the transaction's event is written; 421 if it cannot be."""
        try:
            self._gate.record(transaction.event(reply, octets=octets))
        except RecordError:
            return UNRECORDED
        return reply

    def end_transaction(self, how: str) -> None:
        """The open transaction, if any, is over without a message; it is recorded. Raises RecordError."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.through.part()
            if transaction.content is not None:
                transaction.content.discard()
            transaction.ledger.end(None)
            self._gate.record(transaction.event(None, ended=how))
            release(self._gate)

    def _open(self) -> Transaction:
        assert self._transaction is not None  # the session's table lets nothing else come here
        return self._transaction

    # --- the rest ------------------------------------------------------------------------------------------------

    def _rset(self, _: Rset) -> Reply:
        self.end_transaction("RSET")
        return OK

    def _noop(self, _: Noop) -> Reply:
        return OK

    def _quit(self, _: Quit) -> Reply:
        self.end_transaction("QUIT")
        return Reply(221, "2.0.0", "Goodbye")

    def _help(self, command: Help) -> Any:
        return self._single("HELP", lambda: Reply(214, "2.0.0", COMMANDS_HELP))

    def _vrfy(self, command: Vrfy) -> Any:
        return self._single("VRFY", lambda: verify(self._gate, command.text), command.text)

    def _expn(self, command: Expn) -> Any:
        return self._single("EXPN", lambda: expand(self._gate, command.text), command.text)

    def _single(self, verb: str, answer: Callable[[], Any], text: str = "") -> Any:
        """A command that the `command` stage decides about."""
        facts = CommandFacts(session=self._gate.facts, verb=verb, text=text, idle=self._idle)

        def decided(result: Decided) -> Any:
            decision, _ = result
            self._gate.note(decision)
            verdict = decision.verdict
            if verdict is None:
                return answer()
            reply = verdict.reply if verdict.reply.is_positive else verdict.reply.with_id(self._gate.id)
            return self._after(decision, reply)

        return then(self._gate.decide(Stage.COMMAND, facts), decided)


def is_host_name(name: str) -> bool:
    """Whether `name` may be a domain (RFC 5321 §4.1.2); underscores pass, and a final dot."""
    labels = name.removesuffix(".").split(".")
    return len(name) <= 255 and all(_is_label(label) for label in labels)


def _is_label(label: str) -> bool:
    bare = label.replace("-", "").replace("_", "")
    return 0 < len(label) <= 63 and bare.isascii() and bare.isalnum() and not label.startswith("-")


_HANDLERS: Final[Mapping[type[Any], Callable[[Commands, Any], Any]]] = {
    Helo: Commands._helo,
    Ehlo: Commands._helo,
    Lhlo: Commands._helo,
    StartTls: Commands._starttls,
    Xclient: Commands._xclient,
    Auth: Commands._start_auth,
    AuthResponse: Commands._continue_auth,
    Mail: Commands._mail,
    Rcpt: Commands._rcpt,
    Data: Commands._data,
    EndOfData: Commands._end_of_message,
    EndOfChunk: Commands._end_of_chunk,
    Rset: Commands._rset,
    Noop: Commands._noop,
    Quit: Commands._quit,
    Help: Commands._help,
    Vrfy: Commands._vrfy,
    Expn: Commands._expn,
}
