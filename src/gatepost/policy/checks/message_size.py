"""`message.size`: announced by the SIZE parameter (RFC 1870), then the octets themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gatepost.mail.address import AddressError, Path
from gatepost.mail.reply import Reply
from gatepost.mail.units import AddressText, DomainText, Octets, show_size
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, MailFacts, MessageFacts, RcptFacts, Service, SessionFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "message.size"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """Octets of a message, header section included. limit: where nothing else is said. service: on one service.
    domain: for recipients of one domain, in place of these two. account: of what one account sends."""

    limit: Octets = 50 * 2**20
    service: Mapping[Service, Octets] = {}
    domain: Mapping[DomainText, Octets] = {}
    account: Mapping[AddressText, Octets] = {}

    def for_peer(self, session: SessionFacts) -> int:
        """What this peer may send where no domain says otherwise."""
        own = self.account.get(session.account) if session.account else None
        return self.service.get(session.service, self.limit) if own is None else own

    def for_recipient(self, session: SessionFacts, domain: str) -> int:
        """What this peer may send to somebody in `domain` (lower case): what an account may not send, no domain
        allows, and what a domain does not take, no account may send."""
        limit = self.domain.get(domain) if self.domain else None
        if limit is None:
            return self.for_peer(session)
        own = self.account.get(session.account) if session.account else None
        return limit if own is None else min(limit, own)

    def for_recipients(self, session: SessionFacts, recipients: Iterable[Path]) -> int:
        """What this peer may send to all of them at once."""
        if not self.domain:
            return self.for_peer(session)
        return min((self.for_recipient(session, domain_of(path)) for path in recipients), default=self.limit)

    def at_most(self, session: SessionFacts) -> int:
        """What this peer may send to anybody at all: what EHLO announces (RFC 1870 §4), before a login for whoever
        might log in."""
        if session.account:
            own = self.account.get(session.account)
            if own is not None:
                return own
            return max(self.for_peer(session), *self.domain.values()) if self.domain else self.for_peer(session)
        return max(self.for_peer(session), *self.domain.values(), *self.account.values(), 0)


def domain_of(path: Path) -> str:
    """The domain as settings write it, "" where there is none (`<postmaster>`) or none that has A-labels."""
    try:
        return path.ascii_domain if path.domain else ""
    except AddressError:
        return ""


def announced(facts: MailFacts, settings: Settings) -> Verdict | None:
    """Too large for everybody; whether it is for a recipient, RCPT tells."""
    return _verdict(facts.size, settings.at_most(facts.session), "announced")


def to_recipient(facts: RcptFacts, settings: Settings) -> Verdict | None:
    """Too large for this one."""
    if facts.size is None:
        return None
    limit = settings.for_recipient(facts.session, domain_of(facts.forward_path))
    return _verdict(facts.size, limit, "announced")


def arrived(facts: MessageFacts, settings: Settings) -> Verdict | None:
    """Too large for one of the recipients: without SIZE there was no telling before, and all get it or nobody."""
    return _verdict(facts.octets, settings.for_recipients(facts.session, facts.recipients), "arrived")


def _verdict(octets: int | None, limit: int, how: str) -> Verdict | None:
    if octets is None or octets <= limit:
        return None
    reply = Reply(552, "5.3.4", f"Message too large: at most {show_size(limit)} are accepted")
    return Verdict(NAME, reply, f"{octets} octets {how}, {limit} are allowed")


CHECK = Check(
    NAME,
    "the size of a message, as announced and as it arrived",
    (
        Step(Stage.MAIL, announced, reads=("size",)),
        Step(Stage.RCPT, to_recipient, reads=("size", "forward_path")),
        Step(Stage.MESSAGE, arrived, reads=("octets",)),
    ),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    Settings(),
)
