"""The report and the rows of its tables, as values. Not here: counting them (`report`)."""

from __future__ import annotations

from typing import Any

import msgspec


class ClientRow(msgspec.Struct):
    """One address, or IPv6 /64. messages: that were taken. refusals: of the session, of recipients, of messages."""

    network: str
    sessions: int = 0
    messages: int = 0
    recipients: int = 0
    refusals: int = 0
    logins: int = 0
    failed_logins: int = 0
    first: str = ""
    last: str = ""

    @property
    def weight(self) -> int:
        return self.sessions + self.messages + self.refusals + self.logins + self.failed_logins


class AccountRow(msgspec.Struct):
    """One account. networks: that it sent or logged in from. plot: messages by slot."""

    account: str
    messages: int = 0
    recipients: int = 0
    octets: int = 0
    logins: int = 0
    failed_logins: int = 0
    networks: set[str] = msgspec.field(default_factory=set)
    plot: dict[int, int] = msgspec.field(default_factory=dict)

    @property
    def weight(self) -> int:
        return self.messages + self.logins + self.failed_logins


class CheckRow(msgspec.Struct):
    """One check: how often it refused, deferred, did something else (slow, hold), and would have. event: the last."""

    check: str
    rejected: int = 0
    deferred: int = 0
    other: int = 0
    shadow: int = 0
    event: str = ""
    plot: dict[int, int] = msgspec.field(default_factory=dict)


class AbuserRow(msgspec.Struct):
    """One network and what it did that nobody should. names: different ones. events: the last."""

    network: str
    count: int = 0
    names: set[str] = msgspec.field(default_factory=set)
    others: int = 0
    last: str = ""
    event: str = ""

    @property
    def weight(self) -> int:
        return self.count


class GrantRow(msgspec.Struct):
    """A device that sends without a login of its own. grants: that were made; messages: that they let through; last:
    when one was."""

    account: str
    network: str
    grants: int = 0
    messages: int = 0
    last: str = ""


class Told(msgspec.Struct):
    """An alert, a ban or an act of a person."""

    time: str
    what: str
    id: str = ""


class Report(msgspec.Struct, kw_only=True):
    """What the record tells of a time.

    since, until: as events have them. slot_seconds: the width of a plot's column. plots: by name, oldest first.
    totals: by name. harvesters: names are recipients that do not exist, others those that do. relays: names are
    pairs of sender and recipient. guessers: names are accounts that failed, others good logins. limits: accounts near
    theirs, as they stand now; filled in by whoever can ask. unread: lines that were none.
    """

    since: str
    until: str
    slot_seconds: float
    events: int
    unread: int
    totals: dict[str, int]
    plots: dict[str, list[int]]
    clients: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    accounts: list[dict[str, Any]]
    checks: list[dict[str, Any]]
    guessers: list[dict[str, Any]]
    targets: list[dict[str, Any]]
    harvesters: list[dict[str, Any]]
    relays: list[dict[str, Any]]
    grants: list[dict[str, Any]]
    alerts: list[dict[str, Any]]
    bans: list[dict[str, Any]]
    acts: list[dict[str, Any]]
    limits: list[dict[str, Any]] = []
