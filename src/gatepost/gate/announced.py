"""Logins that another POP3 or IMAP server announces: they make grants like those over our own POP3 service.

The form is that of Dovecot's auth policy protocol where `auth_policy_request_attributes` has our names; see
`examples/dovecot`. Not here: HTTP and the token (`admin.grants`).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec

from gatepost.accounts.addresses import parse_key
from gatepost.accounts.directory import Directory
from gatepost.accounts.model import Account
from gatepost.audit.event import Event, EventClient, Recorder
from gatepost.gate.flood import Floods
from gatepost.gate.grants import Grants
from gatepost.gate.later import is_later
from gatepost.mail.address import AddressError
from gatepost.mail.network import holder_of, is_loopback, parse_ip
from gatepost.mail.text import printable
from gatepost.ports.clock import Ids

MAX_NAME: Final = 320  # of a login name; a local part and a domain are no longer
MAX_SERVICE: Final = 20
ANNOUNCED: Final = "api"  # what `by` of such a grant begins with
NO_ACCOUNT: Final = "there is no such account here"


class Announcement(msgspec.Struct, frozen=True):
    """A login at another server. account: the login name. address: of the client. success: it went well, and says so
    literally; policy_reject: another rule refused it all the same. tls: it was encrypted. service: "imap", "pop3"."""

    account: str
    address: str
    success: bool = False
    tls: bool = False
    service: str = ""
    policy_reject: bool = False


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of it. until: the end of the grant, seconds since 1970. why: there is none."""

    granted: bool
    until: float | None = None
    why: str = ""


class AnnouncementError(ValueError):
    """The announcement makes no sense; the message says what is wrong."""


class Announcements:
    """Takes them for one worker."""

    def __init__(self, grants: Grants, directory: Directory, recorder: Recorder, ids: Ids, floods: Floods) -> None:
        self._grants = grants
        self._directory = directory
        self._recorder = recorder
        self._ids = ids
        self._floods = floods

    async def take(self, announced: Announcement) -> Answer:
        """What came of the login. A grant is durable and on the record, and so is that there is none, where there could
        be one. Raises AnnouncementError, AccountsError, StandingError, RecordError."""
        try:
            ip = str(parse_ip(announced.address.strip()))
        except ValueError:
            raise AnnouncementError(f"address: {printable(announced.address)[:60]!r} is no IP address") from None
        if not announced.success or announced.policy_reject:
            return Answer(granted=False, why="the login did not go well")
        if not self._grants.covers(ip):
            return Answer(granted=False, why="no grants are made at that address")
        service = printable(announced.service)[:MAX_SERVICE]
        by = f"{ANNOUNCED}:{service}" if service else ANNOUNCED
        name = announced.account[:MAX_NAME]
        account = await self._account(name)
        if account is None:
            details = {
                "what": "refused",
                "address": holder_of(ip),
                "why": NO_ACCOUNT,
                "by": by,
                "tried": printable(name),
            }
            self._recorder.record(self._event(ip, "", id=self._ids.new(), details=details))
            return Answer(granted=False, why=NO_ACCOUNT)
        outcome = await self._grants.logged_in(
            ip,
            account,
            None,
            by=by,
            is_private=announced.tls or is_loopback(ip),
            event_of=partial(self._event, ip, account.address),
        )
        if outcome is None or outcome.grant is None:
            return Answer(granted=False, why=outcome.refused if outcome else "")
        return Answer(granted=True, until=outcome.grant.until)

    def refused(self, ip: str, why: str) -> None:
        """Somebody who may not announce logins tried to; many such are one event a minute. Raises RecordError."""
        if ip and self._floods.refused(ip, "admin", why, None):
            return
        self._recorder.record(self._event(ip, "", id=self._ids.new(), details={"what": "refused", "why": why}))

    async def _account(self, name: str) -> Account | None:
        try:
            key = parse_key(name)
        except AddressError:
            return None
        found: Any = self._directory.account(key)
        account: Account | None = await found if is_later(found) else found
        return account

    @staticmethod
    def _event(ip: str, login: str, **fields: Any) -> Event:
        return Event("grant", service="admin", client=EventClient(ip), login=login, **fields)
