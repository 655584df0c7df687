"""What is kept for an account, as ports: final delivery puts a message in, POP3 takes messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec


class MaildropError(Exception):
    """The maildrop cannot be read or written; transient for the peer. The message says which folder and why."""


class MaildropFullError(MaildropError):
    """The quota or the disk does not hold the message."""


class MaildropBusyError(MaildropError):
    """Another POP3 session has it (RFC 1939 §4, RFC 2449 §8.1.1 IN-USE)."""


class Arrival(msgspec.Struct, frozen=True):
    """A message at hand as a whole, for one account; the fields are those of `MaildropStore.deliver`."""

    account: str
    delivery_id: str
    prefix: bytes
    content: bytes


class Message(msgspec.Struct, frozen=True):
    """One message of a maildrop. uid: 1-70 characters 0x21-0x7e, never used again (RFC 1939 §7). octets: with CRLF
    line ends, as POP3 sends it before dot-stuffing."""

    uid: str
    octets: int


class Maildrop(Protocol):
    """An account's messages, locked for one POP3 session across all workers."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """As they were when it was opened, oldest first."""
        ...

    def read(self, index: int) -> AsyncIterator[bytes]:
        """The octets of message `index` (from 0), CRLF line ends, in pieces. Raises MaildropError when it is gone."""
        ...

    async def remove(self, indexes: tuple[int, ...]) -> int:
        """Remove those messages, durably; how many were removed (a missing one counts as removed)."""
        ...

    def close(self) -> None:
        """Unlock; nothing is removed."""
        ...


class MaildropStore(Protocol):
    """The maildrops of all accounts."""

    async def deliver(self, account: str, delivery_id: str, prefix: bytes, content: AsyncIterator[bytes]) -> str:
        """Keep a message for `account` (its address), durably: file and folder are synced when it returns its
        place, for the record. prefix: Return-Path and Delivered-To, CRLF. delivery_id: entry ID and recipient
        number, "ID-NUMBER"; a second call with the same one (after a crash) may put a second copy, never half of one.
        Raises MaildropFullError, MaildropError."""
        ...

    async def deliver_all(self, arrivals: Sequence[Arrival]) -> list[str | MaildropError]:
        """The same for many, which share what can be shared: for each in order its place, or the error that it alone
        met. All that have a place are durable when it returns."""
        ...

    async def open(self, account: str) -> Maildrop:
        """Lock and list. Raises MaildropBusyError, MaildropError."""
        ...

    async def used(self, account: str) -> int:
        """Octets that count against the quota."""
        ...
