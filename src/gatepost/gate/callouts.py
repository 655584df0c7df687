"""Callouts: whether a sender's own mail host would take a bounce to it (`policy.checks.sender_callout`).

A callout costs somebody else a connection, so it is made seldom: each answer is remembered, each domain and all of
them together have a budget, and nobody is asked who should not be. It never goes in a circle: mail from the null
sender, which a callout itself looks like, causes none; a host is marked before it is called, and what comes from a
marked network meanwhile is not called back; the peer that we talk to is never called itself.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from gatepost.accounts.addresses import key_of
from gatepost.gate.answers import says, shown
from gatepost.gate.asking import MAX_HOSTS, MailHost, MailHosts, Questions, answer_in, note_of
from gatepost.gate.later import is_later, then
from gatepost.mail.address import NULL_PATH, AddressError, Path
from gatepost.mail.network import parse_ip, prefix_of
from gatepost.mail.reply import Reply
from gatepost.policy.checks import sender_callout
from gatepost.policy.facts import MailFacts, RcptFacts
from gatepost.policy.findings import AddressAnswer
from gatepost.ports.clock import Clock
from gatepost.standing.port import Charge, Note, Noted, Operation, Rate, StandingError, StandingStore

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

UNKNOWN_SECONDS: Final = (
    600.0  # greylisting ends after some minutes, and a host that is down is not asked for each mail
)
MARK_SECONDS: Final = 5.0  # behind the end of a call: a host that calls back does so before it answers
ROLES: Final = ("postmaster", "abuse")


def not_asked(why: str) -> AddressAnswer:
    """Nobody was asked, and this is why."""
    return AddressAnswer("not asked", why)


AT_RCPT: Final = not_asked("it is asked at RCPT")
AT_MAIL: Final = not_asked("it is asked at MAIL")
NULL_SENDER: Final = not_asked("the null sender takes no bounce")
OURS: Final = not_asked("the sender is ours, or a literal address")
ROLE: Final = not_asked("postmaster and abuse stay reachable")
TRUSTED: Final = not_asked("the peer is trusted")
OFF: Final = not_asked("there is nobody to ask")
ITSELF: Final = not_asked("the peer is the mail host of the sender's domain")
CALLING: Final = not_asked("the peer is in a network that is being asked right now")
BUDGET: Final = not_asked("the budget of questions is used up")
PROVIDER: Final = not_asked("the sender is at one of `providers`")
NOT_KNOWN: Final = not_asked("nobody has asked yet, and a question only reads")


def callout(session: GateSession, facts: MailFacts | RcptFacts) -> Any:
    """The gatherer: what the sender's mail host says of it, in the stage that the settings name."""
    parts, path = session.parts, facts.reverse_path
    settings = parts.policy.settings_of(sender_callout.CHECK)
    assert isinstance(settings, sender_callout.Settings)
    if isinstance(facts, MailFacts) and settings.at != "mail":
        return AT_RCPT
    if isinstance(facts, RcptFacts):
        if settings.at != "rcpt":
            return AT_MAIL
        if facts.is_ours and facts.forward_path.local_part.lower() in ROLES:
            return ROLE
    if path.is_null:
        return NULL_SENDER
    if parts.directory.is_ours(path) or path.domain.startswith("["):
        return OURS
    if session.facts.trusted:
        return TRUSTED
    if parts.callouts is None:
        return OFF
    return parts.callouts.find(session.peer.ip, path, only_reads=session.only_asks)


class Callouts:
    """Asks mail hosts of senders, and remembers what they say."""

    def __init__(
        self, hosts: MailHosts, standing: StandingStore, clock: Clock, settings: sender_callout.Settings
    ) -> None:
        self._hosts = hosts
        self._standing = standing
        self._clock = clock
        self._settings = settings
        self._questions = Questions()

    def find(self, peer_ip: str, path: Path, *, only_reads: bool = False) -> Any:
        """The `AddressAnswer` about the sender `path` of a peer, at once where it is remembered or nobody may be asked.
        only_reads: nobody is asked."""
        try:
            domain, key = path.ascii_domain, f"callout:of:{_hashed(key_of(path))}"
        except AddressError:
            return OURS
        if self._is_provider(domain):
            return PROVIDER
        asked: list[Operation] = [Noted(key)]
        if peer_ip:
            asked.append(Noted(_mark(peer_ip)))
        try:
            kept = self._standing.tally(asked, self._clock.unix())
            return then(kept, lambda results: self._found(results, peer_ip, path, domain, key, only_reads=only_reads))
        except StandingError as error:
            return AddressAnswer("unknown", f"what was asked before cannot be read: {error}")

    def _found(self, kept: list[Any], peer_ip: str, path: Path, domain: str, key: str, *, only_reads: bool) -> Any:
        if (known := answer_in(kept[0])) is not None:
            return known
        if len(kept) > 1 and kept[1] is not None:
            return CALLING
        if only_reads:
            return NOT_KNOWN
        # The peer belongs to the question: another may be the mail host itself, and nobody is asked for that one.
        return self._questions.ask(f"{key} {peer_ip}", lambda: self._ask(peer_ip, path, domain, key))

    async def close(self) -> None:
        """What is still asked is given up."""
        await self._questions.close()

    async def _ask(self, peer_ip: str, path: Path, domain: str, key: str) -> AddressAnswer:
        answer = AddressAnswer("unknown", f"no answer in {self._settings.timeout:.0f} s")
        try:
            async with asyncio.timeout(self._settings.timeout):
                hosts = await self._may_be_asked(peer_ip, domain)
                if isinstance(hosts, AddressAnswer):
                    return hosts
                answer = await self._ask_hosts(hosts, path)
        except TimeoutError:
            pass
        except StandingError as error:
            return not_asked(f"the budget of questions cannot be read: {error}")
        now = self._clock.unix()
        seconds = {"yes": self._settings.accepted_for, "no": self._settings.refused_for}.get(
            answer.says, UNKNOWN_SECONDS
        )
        with suppress(StandingError):  # it is asked again next time
            await self._tally([note_of(key, answer, now + seconds)])
        return answer

    async def _may_be_asked(self, peer_ip: str, domain: str) -> Sequence[MailHost] | AddressAnswer:
        """The hosts to ask, counted and marked; or why none may be."""
        hosts = await self._hosts.find(domain)
        if isinstance(hosts, Reply):
            return AddressAnswer("unknown", str(hosts))
        if any(self._is_provider(host.name) for host in hosts):
            return PROVIDER
        hosts = [host for host in hosts if not _is_same(host.address, peer_ip)][:MAX_HOSTS]
        if not hosts:
            return ITSELF
        now, settings = self._clock.unix(), self._settings
        until = now + settings.timeout + MARK_SECONDS
        marks = sorted({_mark(host.address) for host in hosts if not host.address.startswith("unix:")})
        charged = await self._tally([
            Charge(f"callout:to:{domain}", Rate(settings.per_domain.units, settings.per_domain.period), together=True),
            Charge("callout:all", Rate(settings.total.units, settings.total.period), together=True),
            *(Note(mark, b"1", until) for mark in marks),
        ])  # fmt: skip
        return hosts if all(level.allowed for level in charged[:2]) else BUDGET

    async def _ask_hosts(self, hosts: Sequence[MailHost], path: Path) -> AddressAnswer:
        answer = AddressAnswer("unknown", "there is no mail host")
        for host in hosts:
            (result,) = await self._hosts.ask(host, NULL_PATH, (path,))
            answer = AddressAnswer(says(result), shown(result), str(host), self._clock.unix())
            if result.by_peer and result.at == "rcpt":
                break
        return answer

    async def _tally(self, operations: list[Operation]) -> list[Any]:
        results = self._standing.tally(operations, self._clock.unix())
        return await results if is_later(results) else results  # type: ignore[return-value]

    def _is_provider(self, name: str) -> bool:
        return any(name == provider or name.endswith(f".{provider}") for provider in self._settings.providers)


def _hashed(key: str) -> str:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _mark(ip: str) -> str:
    return f"callout:at:{prefix_of(ip)}"


def _is_same(address: str, peer_ip: str) -> bool:
    if not peer_ip or address.startswith("unix:"):
        return False
    return parse_ip(address) == parse_ip(peer_ip)
