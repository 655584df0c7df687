"""Spool entries as values: one message with its envelope, and a state for each recipient."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from gatepost.mail.envelope import Envelope, Recipient


class State(StrEnum):
    """Where one recipient of an entry stands.

    DUE, DEFERRED: waits for its time (DEFERRED has failed before). LEASED: an attempt is running. HELD: frozen until
    a person releases it. DONE, BOUNCED: settled; an entry whose recipients are all settled leaves the spool.
    """

    DUE = "due"
    LEASED = "leased"
    DEFERRED = "deferred"
    HELD = "held"
    DONE = "done"
    BOUNCED = "bounced"


SETTLED = frozenset({State.DONE, State.BOUNCED})


class Hold(StrEnum):
    """Who froze a recipient, and so who lets it go.

    PERSON: at the queue. CHECK: a verdict "hold"; what it waits for may let it go too. QUARANTINE: a verdict
    "quarantine"; only a person does, and only at the quarantine. DELIVERY: an attempt that could not be settled.
    ACCOUNT: the account that submitted it was held when it was in the queue already; its release lets it go too.
    """

    PERSON = "person"
    CHECK = "check"
    QUARANTINE = "quarantine"
    DELIVERY = "delivery"
    ACCOUNT = "account"


class NewEntry(msgspec.Struct, frozen=True):
    """A message on its way into the spool.

    id: from `Ids`; it is the `smtp.message` event's too. prefix: octets that stand before the content (our trace
    header fields), CRLF line ends. octets: size of prefix and content together. login: the account that submitted
    it, "" for none. has_8bit: an octet above 127 occurs in it. held_by: every recipient starts HELD, by that one and
    for `hold_reason` ("CHECK: REASON"). destinations: for each recipient of the envelope, in order, the key that
    attempts are grouped by (next-hop domain, lower case with A-labels; "local" for our maildrops).
    """

    id: str
    envelope: Envelope
    received_at: float
    prefix: bytes
    octets: int
    destinations: tuple[str, ...]
    login: str = ""
    client: str = ""
    has_8bit: bool = False
    require_tls: bool = False
    held_by: Hold | None = None
    hold_reason: str = ""

    @property
    def held(self) -> bool:
        """Whether it is frozen from the start."""
        return self.held_by is not None


class EntryRecipient(msgspec.Struct, frozen=True):
    """One recipient of an entry. number: its place in the envelope. attempts: that failed so far. due: seconds since
    1970. reply: of the last attempt, with its code. remote: who gave it. delay_told: a delay DSN was sent. held_by,
    hold_reason: of what is HELD, who froze it and why."""

    number: int
    recipient: Recipient
    destination: str
    state: State
    attempts: int = 0
    due: float = 0.0
    reply: str = ""
    remote: str = ""
    delay_told: bool = False
    held_by: Hold | None = None
    hold_reason: str = ""


class Entry(msgspec.Struct, frozen=True):
    """An entry as it lies in the spool. spool: the name of the spool that holds it ("0")."""

    id: str
    envelope: Envelope  # without recipients: they are below, with their states
    received_at: float
    octets: int
    login: str
    client: str
    has_8bit: bool
    require_tls: bool
    recipients: tuple[EntryRecipient, ...]
    spool: str = ""


class Settlement(msgspec.Struct, frozen=True):
    """What became of one leased recipient. due: for DEFERRED, when to try again."""

    entry_id: str
    number: int
    state: State
    due: float = 0.0
    reply: str = ""
    remote: str = ""
    delay_told: bool = False
