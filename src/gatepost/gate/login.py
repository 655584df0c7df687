"""Logging in, the same for SMTP and POP3: policy before the password is looked at, the exchange, and its record."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import structlog

from gatepost.accounts.authentication import Candidate, Denied, Login
from gatepost.accounts.port import AccountsError
from gatepost.gate.bans import remember_admin
from gatepost.gate.gather_attempts import (
    NOTHING_COUNTED,
    attempts,
    good_key,
    network_key,
    stays_counted,
    taken_back,
)
from gatepost.gate.later import is_later, then
from gatepost.gate.penalty import wait_for
from gatepost.gate.proof import note_login
from gatepost.gate.session import Decided, GateSession
from gatepost.mail.network import is_loopback
from gatepost.mail.reply import Reply
from gatepost.policy.facts import AuthFacts, Stage
from gatepost.policy.findings import Unavailable
from gatepost.policy.verdict import Decision, Needs
from gatepost.ports.wire import Wire
from gatepost.protocol.sasl.exchange import ACCEPTED, CANCELLED, MALFORMED, REFUSED, UNAVAILABLE, Exchange
from gatepost.protocol.sasl.mechanism import (
    Action,
    Challenge,
    Failure,
    NeedsPassword,
    NeedsVerifiers,
    Success,
)
from gatepost.protocol.sasl.server import offered_mechanisms as mechanisms_for
from gatepost.protocol.sasl.server import server_mechanism
from gatepost.standing.port import StandingError

log = structlog.get_logger()

GOOD_SECONDS: Final = 30 * 86400.0  # how long a network is remembered from which an account logged in
GOOD_RENEWED: Final = 7 * 86400.0  # a network in use is remembered anew so rarely: each is a write to the disk
NOT_OFFERED: Final = Reply(504, "5.5.4", "That mechanism is not offered here")


class ChallengeStep(msgspec.Struct, frozen=True):
    """The peer has to answer. text: base64, as it follows `334 ` or `+ `."""

    text: str


class LoggedIn(msgspec.Struct, frozen=True):
    """The peer is `account` (its address); the session's facts say so already. credential: the app password, "" for the
    account's own."""

    account: str
    credential: str = ""


class Refused(msgspec.Struct, frozen=True):
    """It is over. delayed: it was a wrong guess, and the answer should wait (each costs more). failures: how many count
    for that. close: the connection ends."""

    reply: Reply
    delayed: bool = False
    close: bool = False
    failures: int = 0


Step = ChallengeStep | LoggedIn | Refused


def offered_mechanisms(session: GateSession) -> tuple[str, ...]:
    """The mechanisms to show this peer now: none where a login would be refused anyway (no TLS, no AUTH here)."""
    if session.facts.login:
        return ()
    facts = AuthFacts(session=session.facts, mechanism="", attempts=NOTHING_COUNTED)
    decision, _ = session.parts.policy.decide(Stage.AUTH, facts)
    assert not isinstance(decision, Needs)  # all that AUTH checks read is given
    return () if decision.verdict is not None else mechanisms_for(_end_point(session), session.facts.certificate)


class LoginAttempt:
    """One AUTH exchange. wire: whose timers a login waits on that has to be slow."""

    def __init__(self, session: GateSession, mechanism: str, wire: Wire) -> None:
        self._session = session
        self._mechanism = mechanism
        self._wire = wire
        self._exchange: Exchange | None = None
        self._name = ""
        self._login: Login | None = None
        self._denied: Denied | None = None
        self._candidate: Candidate | None = None

    def begin(self, initial: bytes | None) -> Any:
        """The first step (or an awaitable of it). initial: the decoded initial response, None without one."""
        facts = AuthFacts(
            session=self._session.facts, mechanism=self._mechanism, failures_in_session=self._session.failures
        )
        return then(self._session.decide(Stage.AUTH, facts), lambda decided: self._allowed(decided, initial))

    def respond(self, response: bytes | None) -> Any:
        """The step after the peer's answer; None: it cancelled."""
        assert self._exchange is not None  # a challenge came before
        return self._follow(self._exchange.respond(response))

    def with_password(self, name: str, password: str) -> Any:
        """The only step of a login whose name and password are at hand."""

        async def check() -> Step:
            try:
                found = await self._session.parts.authenticator.password(name, password)
            except AccountsError as error:
                return await self._unavailable(error)
            if isinstance(found, Login):
                return await accept(self._session, found, self._mechanism)
            return await reject(self._session, found, self._mechanism, name)

        return self._with_name(name, check)

    def _allowed(self, decided: Decided, initial: bytes | None) -> Any:
        decision, _ = decided
        if decision.verdict is not None:
            return self._policy_refusal(decision)
        mechanism = server_mechanism(
            self._mechanism,
            nonce=secrets.token_urlsafe(24),
            end_point=_end_point(self._session),
            identity=self._session.facts.certificate,
        )
        if mechanism is None:
            return Refused(NOT_OFFERED)
        self._exchange = Exchange(mechanism)
        return self._follow(self._exchange.begin(initial))

    def _follow(self, action: Action) -> Any:
        match action:
            case Challenge():
                return ChallengeStep(base64.b64encode(action.data).decode("ascii"))
            case NeedsPassword():
                return self._with_name(action.name, lambda: self._check(action))
            case NeedsVerifiers():
                return self._with_name(action.name, lambda: self._supply(action))
            case Success():
                return self._succeeded(action)
            case Failure():
                return self._failed(action)

    def _with_name(self, name: str, go_on: Any) -> Any:
        """The name is known now: may it be tried at all? Refused before anything is hashed."""
        self._name = name
        facts = AuthFacts(
            session=self._session.facts,
            mechanism=self._mechanism,
            name=name,
            failures_in_session=self._session.failures,
        )

        def decided(result: Decided) -> Any:
            decision, _ = result
            if decision.verdict is not None:
                return self._policy_refusal(decision)
            return self._slowly(decision, go_on) if decision.wait else go_on()

        return then(self._session.decide(Stage.AUTH, facts), decided)

    async def _slowly(self, decision: Decision, go_on: Any) -> Step:
        self._session.note(decision)
        await wait_for(self._wire, decision.wait)
        step = go_on()
        result: Step = await step if is_later(step) else step
        return result

    async def _unavailable(self, error: AccountsError) -> Refused:
        """Accounts cannot be read: nobody's failure."""
        log.error("accounts cannot be read", error=str(error))
        await _take_back(self._session, succeeded=False)
        return Refused(UNAVAILABLE)

    async def _check(self, asked: NeedsPassword) -> Step:
        assert self._exchange is not None  # it asked
        try:
            found = await self._session.parts.authenticator.password(asked.name, asked.password)
            if isinstance(found, Login):
                self._login = found
            else:
                self._denied = found
            return await self._next(self._exchange.checked(isinstance(found, Login)))
        except AccountsError as error:
            return await self._unavailable(error)

    async def _supply(self, asked: NeedsVerifiers) -> Step:
        assert self._exchange is not None  # it asked
        try:
            self._candidate = await self._session.parts.authenticator.candidate(asked.name)
            return await self._next(self._exchange.supply(self._candidate.verifiers))
        except AccountsError as error:
            return await self._unavailable(error)

    async def _next(self, action: Action) -> Step:
        step = self._follow(action)
        result: Step = await step if is_later(step) else step
        return result

    async def _succeeded(self, success: Success) -> Step:
        if success.matched is not None and self._candidate is not None:
            found = await self._session.parts.authenticator.confirm(self._candidate, success.matched)
            if isinstance(found, Denied):
                return await reject(self._session, found, self._mechanism)
            self._login = found
        if self._login is None:
            return await self._certified(success.name)
        return await accept(self._session, self._login, self._mechanism)

    async def _certified(self, name: str) -> Step:
        """EXTERNAL: the account of the certificate, if it is still there."""
        try:
            found: Any = self._session.parts.directory.account(name)
            account = await found if is_later(found) else found
        except AccountsError as error:
            return await self._unavailable(error)
        if account is None:
            return await reject(self._session, Denied(name, "the account of the certificate is gone"), self._mechanism)
        return await accept(self._session, Login(account), self._mechanism)

    async def _failed(self, failure: Failure) -> Step:
        if failure.kind == "cancelled":
            stays_counted(self._session)  # whoever leaves off after the name is known may have been guessing
            return Refused(CANCELLED)
        if failure.kind == "malformed" and not self._name:
            return Refused(MALFORMED)
        denied = self._denied
        if denied is None:
            recorded = await self._session.parts.authenticator.recorded_name(failure.name or self._name)
            denied = Denied(recorded, failure.reason)
        return await reject(self._session, denied, self._mechanism, self._name)

    def _policy_refusal(self, decision: Decision) -> Refused:
        """A login that is not even tried; one that names an account is on the record."""
        verdict = decision.verdict
        assert verdict is not None  # the caller saw it
        self._session.note(decision)
        stays_counted(self._session)
        reply = verdict.reply.with_id(self._session.id)
        return Refused(reply, close=verdict.close)


async def password_login(
    session: GateSession, name: str, password: str, mechanism: str, wire: Wire
) -> LoggedIn | Refused:
    """A login that came without an exchange (POP3's USER and PASS)."""
    attempt = LoginAttempt(session, mechanism, wire)
    step = attempt.with_password(name, password)
    result: LoggedIn | Refused = await step if is_later(step) else step
    return result


async def accept(session: GateSession, login: Login, mechanism: str) -> LoggedIn:
    """`login` is this session's from now on, and on the record. Raises RecordError."""
    address = login.account.address
    await _take_back(session, succeeded=True)
    session.know(login=address, auth_mechanism=mechanism)
    details = {"mechanism": mechanism}
    if login.credential:
        details["app_password"] = login.credential
    session.record(session.event("auth", reply=str(ACCEPTED), details=details))
    parts, ip = session.parts, session.peer.ip
    if ip and not is_loopback(ip):
        now = parts.clock.unix()
        await _remember_good(session, (good_key(address, ip), network_key(ip)), now)
        if login.account.role == "admin":
            await remember_admin(parts.standing, ip, address, now)
        if parts.gateways is not None and not session.facts.trusted:
            parts.gateways.logged_in(ip, address)
    await note_login(session, address, mechanism)
    return LoggedIn(address, login.credential)


async def reject(session: GateSession, denied: Denied, mechanism: str, tried: str = "") -> Refused:
    """A failed login: counted, recorded, and answered after a while. Raises RecordError."""
    session.failures += 1
    parts = session.parts
    if session.attempt is None:  # it failed before anybody asked about the name
        facts = AuthFacts(session=session.facts, mechanism=mechanism, name=tried or denied.name)
        counted = attempts(session, facts)
        if isinstance(await counted if is_later(counted) else counted, Unavailable):
            log.error("failed login not counted", client=session.peer.ip)
    failures = max(session.failures, stays_counted(session))
    event_id = parts.ids.new()
    reply = REFUSED.with_id(event_id)
    details = {"mechanism": mechanism, "tried": denied.name, "reason": denied.reason, "failures": session.failures}
    session.record(session.event("auth", id=event_id, reply=str(reply), details=details))
    return Refused(reply, delayed=True, failures=failures)


async def _take_back(session: GateSession, *, succeeded: bool) -> None:
    """The attempt was no failure."""
    operations = taken_back(session, succeeded=succeeded)
    if not operations:
        return
    try:
        tallied = session.parts.standing.tally(operations, session.parts.clock.unix())
        if is_later(tallied):
            await tallied
    except StandingError as error:
        log.error("good login counted as a failure", client=session.peer.ip, error=str(error))


async def _remember_good(session: GateSession, keys: Iterable[str], now: float) -> None:
    """The peer's network is good for this account, and for not being banned."""
    standing = session.parts.standing
    try:
        for key in keys:
            known: Any = standing.recall("good", key, now)
            value = await known if is_later(known) else known
            if value is None or float(value.split()[-1]) < now - GOOD_RENEWED:
                await standing.remember("good", key, f"{now:.0f}".encode(), now + GOOD_SECONDS)
    except StandingError as error:
        log.error("good login not remembered", client=session.peer.ip, error=str(error))


def _end_point(session: GateSession) -> bytes:
    return session.tls.end_point if session.tls else b""
