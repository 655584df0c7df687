"""Gatherers for single commands: what has been used up of their budgets, and what a list has to do with an account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from gatepost.accounts.addresses import domain_of, key_of, parse_key
from gatepost.accounts.model import Alias, Found, MailingList, Resolution
from gatepost.gate.later import had
from gatepost.mail.address import AddressError, Path, parse_mailbox, parse_path
from gatepost.mail.network import holder_of
from gatepost.mail.units import Quota
from gatepost.policy.checks import command_budget
from gatepost.policy.facts import CommandFacts, SessionFacts
from gatepost.policy.findings import CommandLevels, ListScope
from gatepost.standing.port import Charge, Level, Peek, Rate, Result

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

LOOKUPS = ("VRFY", "EXPN")
NOT_COUNTED = CommandLevels(0.0)
NO_LIST = ListScope(exists=False)


def command_levels(session: GateSession, facts: CommandFacts) -> Any:
    """The budget that the command counts against, after it was counted; most commands have none."""
    settings = session.parts.policy.settings_of(command_budget.CHECK)
    assert isinstance(settings, command_budget.Settings)
    if facts.verb in LOOKUPS:
        return _tallied(session, f"cmd:look:{_who(facts.session)}", settings.lookups, "lookups")
    if not facts.verb:
        ip = facts.session.client_ip
        where = holder_of(ip) if ip else "unix"
        return _tallied(session, f"cmd:unknown:{where}", settings.unknown, "unknown")
    return NOT_COUNTED


def _tallied(session: GateSession, key: str, quota: Quota, counted: Literal["lookups", "unknown"]) -> Any:
    """Charged and read in one step; a session that only asks reads."""
    parts = session.parts
    operation = (Peek if session.only_asks else Charge)(key, Rate(quota.units, quota.period))

    def level(results: list[Result]) -> CommandLevels:
        assert isinstance(results[0], Level)
        return CommandLevels(results[0].wait, counted)

    return had(lambda: parts.standing.tally([operation], parts.clock.unix()), level)


def _who(facts: SessionFacts) -> str:
    """Whose budget of look-ups it is: the account's, wherever it is used from; a stranger's machine's."""
    if facts.account:
        return facts.account
    return holder_of(facts.client_ip) if facts.client_ip else "unix"


def list_scope(session: GateSession, facts: CommandFacts) -> Any:
    """What the account has to do with the alias or list that EXPN names. Without an account nothing is looked up."""
    account = facts.session.account
    if facts.verb != "EXPN" or not account:
        return NO_LIST
    path = asked_path(session, facts.text)
    if path is None:
        return ListScope(exists=False, domain=True)  # it will be told that this is no address
    return had(lambda: session.parts.directory.entry(path), lambda entry: _scope(account, path, entry))


def _scope(account: str, path: Path, entry: tuple[Resolution, Found | None]) -> ListScope:
    found = entry[1]
    is_own = domain_of(account) == path.ascii_domain
    match found:
        case MailingList():
            return ListScope(True, is_own, _names(found.members, account), _names(found.owners, account))
        case Alias() if entry[0].kind == "alias":
            return ListScope(True, is_own, _names(found.targets, account))
        case _:
            return ListScope(False, is_own)


def _names(addresses: tuple[str, ...], account: str) -> bool:
    return any(_key(address) == account for address in addresses)


def _key(address: str) -> str:
    try:
        return parse_key(address)
    except AddressError:
        return address


def asked_path(session: GateSession, text: str) -> Path | None:
    """The address that VRFY or EXPN names, with or without angle brackets. A bare name is one of the account's own
    domain, or of this host (RFC 5321 §3.5.1)."""
    text = text.strip()
    try:
        if text.startswith("<"):
            path, rest = parse_path(text, null_allowed=False)
            path = path if path.domain else Path(path.local_part, _home(session))
            return None if rest else path
        path = parse_mailbox(text if "@" in text else f"{text}@{_home(session)}")
        key_of(path)  # a domain that IDNA does not know is none
        return path
    except AddressError:
        return None


def _home(session: GateSession) -> str:
    account = session.facts.account
    domain = domain_of(account) if account else ""
    return domain if domain and session.parts.directory.domain(domain) else session.facts.hostname
