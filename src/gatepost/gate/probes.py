"""Recipient probes: whether the next hop of a domain with `relay_to` has a mailbox, asked before we take mail for it.

Not here: what an unknown recipient hears (`policy.checks.recipient_exists`), and what a reply means (`gate.answers`).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from gatepost.accounts.addresses import key_of
from gatepost.gate.answers import says, shown
from gatepost.gate.asking import MAX_HOSTS, MailHosts, Questions, answer_in, note_of
from gatepost.gate.later import is_later, then
from gatepost.mail.address import NULL_PATH, AddressError, Path
from gatepost.mail.reply import Reply
from gatepost.policy.checks import recipient_exists
from gatepost.policy.facts import RcptFacts
from gatepost.policy.findings import AddressAnswer
from gatepost.ports.clock import Clock
from gatepost.protocol.smtp.client_transaction import RecipientResult
from gatepost.standing.port import Note, Noted, Operation, StandingError, StandingStore

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

UNKNOWN_SECONDS: Final = 60.0  # a next hop that is down is asked again after that, not for each recipient
TAKES_ALL_SECONDS: Final = 3600.0  # it may learn to refuse
REFUSES_SECONDS: Final = 86400.0  # it refuses some, so its yes means something
RANDOM_OCTETS: Final = 12

NOT_ASKED: Final = AddressAnswer("not asked", "its mail is kept here, or it is nobody's")
OFF: Final = AddressAnswer("not asked", "recipients are not probed")
NOT_KNOWN: Final = AddressAnswer("not asked", "nobody has asked yet, and a question only reads")


def probe(session: GateSession, facts: RcptFacts) -> Any:
    """The gatherer: what the next hop of the recipient's domain says of it."""
    probes = session.parts.probes
    if facts.resolution != "relay":
        return NOT_ASKED
    if probes is None or session.parts.policy.mode(recipient_exists.NAME, session.facts.service) == "off":
        return OFF
    return probes.find(facts.forward_path, only_reads=session.only_asks)


class Probes:
    """Asks next hops, and remembers what they say.

    A next hop that takes a name which nobody can have takes every name: its yes says nothing, it is left alone for a
    while, and `report` is told once.
    """

    def __init__(
        self,
        hosts: MailHosts,
        standing: StandingStore,
        clock: Clock,
        settings: recipient_exists.Settings,
        report: Callable[[str], None],
    ) -> None:
        self._hosts = hosts
        self._standing = standing
        self._clock = clock
        self._settings = settings
        self._report = report
        self._questions = Questions()
        self._reported: set[str] = set()

    def find(self, path: Path, *, only_reads: bool = False) -> Any:
        """The `AddressAnswer` about `path`, at once where it is remembered. only_reads: nobody is asked."""
        if not self._settings.probe:
            return OFF
        try:
            domain, key = path.ascii_domain, f"probe:of:{_hashed(key_of(path))}"
        except AddressError:
            return NOT_ASKED
        asked: list[Operation] = [Noted(key), Noted(_takes_all(domain)), Noted(_refuses(domain))]
        try:
            kept = self._standing.tally(asked, self._clock.unix())
            return then(kept, lambda results: self._found(results, path, domain, key, only_reads=only_reads))
        except StandingError as error:
            return AddressAnswer("unknown", f"what was asked before cannot be read: {error}")

    def _found(self, kept: list[Any], path: Path, domain: str, key: str, *, only_reads: bool) -> Any:
        answer, takes_all, refuses = kept
        if takes_all is not None:
            return AddressAnswer("not asked", f"the next hop of {domain} takes every recipient")
        if (known := answer_in(answer)) is not None:
            return known
        if only_reads:
            return NOT_KNOWN
        return self._questions.ask(key, lambda: self._ask(path, domain, key, is_random_due=refuses is None))

    async def close(self) -> None:
        """What is still asked is given up."""
        await self._questions.close()

    async def _ask(self, path: Path, domain: str, key: str, *, is_random_due: bool) -> AddressAnswer:
        recipients = (path, Path(f"no-such-user-{secrets.token_hex(RANDOM_OCTETS)}", domain))
        answer, random = AddressAnswer("unknown", f"no answer in {self._settings.timeout:.0f} s"), None
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.timeout):
                answer, random = await self._ask_hosts(domain, recipients if is_random_due else recipients[:1])
        now = self._clock.unix()
        seconds = {"yes": self._settings.accepted_for, "no": self._settings.refused_for}.get(
            answer.says, UNKNOWN_SECONDS
        )
        notes: list[Operation] = [note_of(key, answer, now + seconds)]
        # Only a yes beside a yes: a host that refuses the one and takes the other was unlucky for us, or tells apart.
        if answer.says == "yes" and random == "yes":
            notes = [Note(_takes_all(domain), b"1", now + TAKES_ALL_SECONDS)]
            self._tell(domain, answer)
        elif random == "no" or answer.says == "no":
            notes.append(Note(_refuses(domain), b"1", now + REFUSES_SECONDS))
        with suppress(StandingError):  # it is asked again next time
            written = self._standing.tally(notes, now)
            if is_later(written):
                await written
        return answer

    async def _ask_hosts(self, domain: str, recipients: tuple[Path, ...]) -> tuple[AddressAnswer, str | None]:
        """The answer, and what the host says of the name that nobody has, None where that was not asked."""
        hosts = await self._hosts.find(domain)
        if isinstance(hosts, Reply):
            return AddressAnswer("unknown", str(hosts)), None
        answer, random = AddressAnswer("unknown", "there is no next hop"), None
        for host in hosts[:MAX_HOSTS]:
            results = await self._hosts.ask(host, NULL_PATH, recipients)
            answer = self._answer(results[0], str(host))
            random = says(results[1]) if len(results) > 1 else None
            if results[0].by_peer and results[0].at == "rcpt":
                break
        return answer, random

    def _answer(self, result: RecipientResult, host: str) -> AddressAnswer:
        return AddressAnswer(says(result), shown(result), host, self._clock.unix())

    def _tell(self, domain: str, answer: AddressAnswer) -> None:
        if domain not in self._reported:
            self._reported.add(domain)
            self._report(
                f"the next hop {answer.host} of {domain} takes recipients that do not exist, so nothing is refused for "
                "it; let it refuse them at RCPT, or expect it to send notices to forged senders"
            )


def _hashed(key: str) -> str:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _takes_all(domain: str) -> str:
    return f"probe:all:{domain}"


def _refuses(domain: str) -> str:
    return f"probe:some:{domain}"
