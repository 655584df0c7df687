"""Gatherers about whose address a sender writes: in the envelope whether it is ours, in From and Sender whose it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from gatepost.accounts.directory import Directory
from gatepost.accounts.model import Account
from gatepost.gate.later import had, is_later, then
from gatepost.mail.address import Path
from gatepost.mail.header_address import AddressList, HeaderAddressError, parse_address_list
from gatepost.mail.text import printable
from gatepost.policy.facts import MailFacts, MessageFacts
from gatepost.policy.findings import FromFacts

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

MAX_AUTHORS: Final = 50  # each is looked up; more is no letter that people wrote together
NOBODY: Final = FromFacts()


def is_our_domain(directory: Directory, reverse_path: Path) -> bool:
    """Whether the reverse-path names one of our domains, or this host."""
    return not reverse_path.is_null and directory.is_ours(reverse_path)


def sender_is_ours(session: GateSession, facts: MailFacts) -> bool:
    """The same, for whoever did not bring it along."""
    return is_our_domain(session.parts.directory, facts.reverse_path)


def local_user_may_use(session: GateSession, path: Path) -> bool:
    """A program of this machine (`gatepost sendmail`): its own user, and root as anybody of this machine's domains,
    since cron and system programs speak for others."""
    if session.peer.user == "root":
        return session.parts.directory.is_ours(path)
    return str(path).lower() == session.facts.login.lower()


def from_(session: GateSession, facts: MessageFacts) -> Any:
    """The addresses in From and Sender, and which of them the account may not use."""
    name = facts.session.account
    if not name or not facts.header.authors:
        return NOBODY  # `content.headers` says who may leave From out
    try:
        authors = [parse_address_list(value) for value in facts.header.authors]
        submitters = [parse_address_list(value) for value in facts.header.submitters]
    except HeaderAddressError as error:
        return FromFacts(defect=str(error))
    paths = [path for field in (*authors, *submitters) for path in _paths(field)]
    if not all(field.mailboxes for field in authors):
        return FromFacts(defect="it names no address")
    if len(paths) > MAX_AUTHORS:
        return FromFacts(defect=f"it names more than {MAX_AUTHORS} addresses")
    needs_sender = not submitters and sum(len(field.mailboxes) for field in authors) > 1

    def judged(own: Sequence[bool]) -> FromFacts:
        foreign = [path for path, is_own in zip(paths, own, strict=True) if not is_own]
        return FromFacts(_texts(paths), _texts(foreign), needs_sender)

    if session.peer.user:
        return judged([local_user_may_use(session, path) for path in paths])
    directory = session.parts.directory
    return had(lambda: directory.account(name), lambda account: then(_own(directory, account, paths), judged))


def _own(directory: Directory, account: Account | None, paths: list[Path]) -> Any:
    """For each path whether `account` may use it; None has been removed since the login."""
    if account is None:
        return [False] * len(paths)
    answers = [directory.may_send_as(account, path) for path in paths]
    return _own_later(answers) if any(is_later(each) for each in answers) else answers


async def _own_later(answers: list[Any]) -> list[bool]:
    return [await each if is_later(each) else each for each in answers]


def _paths(field: AddressList) -> tuple[Path, ...]:
    return (*(mailbox.path for mailbox in field.mailboxes), *field.in_phrases)


def _texts(paths: Sequence[Path]) -> tuple[str, ...]:
    return tuple(printable(str(path)) for path in paths)
