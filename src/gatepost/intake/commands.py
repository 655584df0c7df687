"""What each command does: gather, decide, and the reply that follows. The order of commands is `protocol`'s."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from gatepost.gate.granted import release
from gatepost.gate.later import then
from gatepost.gate.penalty import answer_after
from gatepost.gate.session import Decided
from gatepost.intake.auth import AuthDialogue
from gatepost.intake.keeping import Keeper
from gatepost.intake.lookup import expand, verify
from gatepost.intake.mailing import Mailing
from gatepost.intake.offering import current_offer
from gatepost.intake.settings import ListenerSettings
from gatepost.intake.tls_memory import note_failure, offers_starttls
from gatepost.intake.xclient import client_after
from gatepost.mail.address import parse_literal
from gatepost.mail.reply import Reply
from gatepost.policy.checks.command_budget import LEAST_IDLE
from gatepost.policy.facts import CommandFacts, HeloFacts, Stage
from gatepost.policy.verdict import Decision, Evaluated, Verdict
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

if TYPE_CHECKING:
    from gatepost.intake.session import SmtpSession

OK: Final = Reply(250, "2.0.0", "Ok")
START_CONTENT: Final = Reply(354, "", "Start mail input; end with <CRLF>.<CRLF>")
UNKNOWN_PEER: Final = Reply(421, "4.3.0", "Your certificate cannot be looked up now, try again later")
COMMANDS_HELP: Final = "Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY EXPN HELP STARTTLS AUTH"
# A refusal of the syntax is a check's decision too; these are the checks.
SYNTAX_CHECKS: Final = {"MAIL": "sender.syntax", "RCPT": "recipient.syntax"}
# Not counted by `command.budget`: what belongs to a command before it, and the end.
_UNCOUNTED: Final = frozenset((AuthResponse, Data, EndOfData, EndOfChunk, Quit))
_DECIDED: Final = frozenset((Vrfy, Expn, Help))  # the `command` stage sees them anyhow


class Commands:
    """The commands of one session."""

    def __init__(self, session: SmtpSession, listener: ListenerSettings) -> None:
        self._session = session
        self._gate = session.gate
        self._listener = listener
        self._keeper = Keeper(session)
        self._mailing = Mailing(session, self._keeper)
        self._at_door: tuple[Verdict, ...] = ()  # verdicts that wait, of the connection
        self._carried: tuple[Verdict, ...] = ()  # the same, and those of the greeting
        self._auth = AuthDialogue(session.gate, session.parts.settings, session.wire)
        self._tls_offered = True
        self.offer = self._current_offer()

    @property
    def messages(self) -> int:
        """Accepted so far."""
        return self._keeper.messages

    @property
    def is_keeping(self) -> bool:
        """Whether a message is on its way into the spool."""
        return self._keeper.is_keeping

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
        if self._mailing.transaction is None and self._gate.granted is not None:
            release(self._gate)
        if kind not in _UNCOUNTED and not (kind is Rcpt and self._mailing.open().recipients):
            self._mailing.idle += 1
            if self._mailing.idle >= LEAST_IDLE and kind not in _DECIDED:
                return self._single(kind.__name__.upper(), lambda: _HANDLERS[kind](self, command))
        return _HANDLERS[kind](self, command)

    def refused(self, verb: str, reply: Reply) -> Any:
        """`reply` to a command that the session refuses by itself, unless there were too many such."""
        self._mailing.idle += 1
        if self._mailing.idle < LEAST_IDLE and verb:
            return reply
        return self._single(verb, lambda: reply)

    def answered(self, reply: Reply) -> None:
        """What must happen once `reply`, with which something begins, is on its way."""
        if reply.code == 354:
            self._session.parser.expect_content()
            self._mailing.begin_content()
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
        if self._mailing.transaction is None:
            self._gate.note(decision)
            return command.reply.with_id(self._gate.id)
        reply = command.reply.with_id(self._mailing.transaction.id)
        self._mailing.transaction.refuse_recipient("", decision, reply)
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
        session = self._session
        starttls = session.wire.can_start_tls and self._tls_offered
        return current_offer(self._gate, session.parts, self._listener, starttls=starttls)

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
            return answer_after(self._session.wire, decision, decision.verdict.reply.with_id(self._gate.id))
        self._mailing.end("greeting")
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
        self._mailing.end("STARTTLS")
        return Reply(220, "2.0.0", "Ready to start TLS")

    def _xclient(self, command: Xclient) -> Any:
        peer = client_after(self._gate.peer, command.attributes)
        self._mailing.end("XCLIENT")
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

    # --- the message -----------------------------------------------------------------------------------------------

    def _mail(self, command: Mail) -> Any:
        return self._mailing.mail(command, self._carried)

    def _rcpt(self, command: Rcpt) -> Any:
        return self._mailing.rcpt(command, self._carried)

    def _data(self, _: Data) -> Reply:
        return START_CONTENT

    def begin_content(self) -> None:
        """Content of the transaction follows; a later chunk goes on where the one before ended."""
        self._mailing.begin_content()

    def content(self, octets: bytes) -> None:
        """A piece of content arrived."""
        self._mailing.content(octets)

    def _end_of_message(self, command: EndOfData) -> Any:
        return self._mailing.end_of_message(command)

    def _end_of_chunk(self, command: EndOfChunk) -> Any:
        return self._mailing.end_of_chunk(command)

    def end_transaction(self, how: str) -> None:
        """The open transaction, if any, is over without a message; it is recorded. Raises RecordError."""
        self._mailing.end(how)

    # --- the rest ------------------------------------------------------------------------------------------------

    def _rset(self, _: Rset) -> Reply:
        self._mailing.end("RSET")
        return OK

    def _noop(self, _: Noop) -> Reply:
        return OK

    def _quit(self, _: Quit) -> Reply:
        self._mailing.end("QUIT")
        return Reply(221, "2.0.0", "Goodbye")

    def _help(self, command: Help) -> Any:
        return self._single("HELP", lambda: Reply(214, "2.0.0", COMMANDS_HELP))

    def _vrfy(self, command: Vrfy) -> Any:
        return self._single("VRFY", lambda: verify(self._gate, command.text), command.text)

    def _expn(self, command: Expn) -> Any:
        return self._single("EXPN", lambda: expand(self._gate, command.text), command.text)

    def _single(self, verb: str, answer: Callable[[], Any], text: str = "") -> Any:
        """A command that the `command` stage decides about."""
        facts = CommandFacts(session=self._gate.facts, verb=verb, text=text, idle=self._mailing.idle)

        def decided(result: Decided) -> Any:
            decision, _ = result
            self._gate.note(decision)
            verdict = decision.verdict
            if verdict is None:
                return answer()
            reply = verdict.reply if verdict.reply.is_positive else verdict.reply.with_id(self._gate.id)
            return answer_after(self._session.wire, decision, reply)

        return then(self._gate.decide(Stage.COMMAND, facts), decided)


def is_host_name(name: str) -> bool:
    """Whether `name` may be a domain (RFC 5321 §4.1.2); underscores pass, and a final dot."""
    return len(name) <= 255 and _HOST_NAME.fullmatch(name) is not None


_LABEL: Final = r"(?=[-_]*[A-Za-z0-9])[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")


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
