"""Final delivery: recipients of ours into maildrops, aliases and lists into new entries.

Not here: how a maildrop keeps a message (`store.maildir`), and what an address means (`accounts.directory`).
"""

from __future__ import annotations

from collections.abc import Awaitable
from inspect import isawaitable
from typing import Any, Protocol

from gatepost.accounts.model import Resolution, Target
from gatepost.accounts.port import AccountsError
from gatepost.delivery.course import Course, Reach
from gatepost.delivery.expansion import Expansion, LoopError, delivered_to
from gatepost.delivery.outcome import Attempt, Outcome
from gatepost.mail.address import Path
from gatepost.mail.reply import Reply
from gatepost.maildrop.port import MaildropError, MaildropFullError, MaildropStore
from gatepost.ports.clock import Clock
from gatepost.spool.model import Entry, EntryRecipient, NewEntry
from gatepost.spool.port import Content, SpoolError, SpoolStore


class Addresses(Protocol):
    """What delivery asks of `accounts.directory.Directory`."""

    def resolve(self, path: Path) -> Resolution | Awaitable[Resolution]: ...
    def expand(self, path: Path, *, is_notice: bool = False) -> list[Target] | Awaitable[list[Target]]: ...


class LocalDelivery:
    """Delivers the recipients whose destination is "local"."""

    def __init__(
        self,
        hostname: str,
        addresses: Addresses,
        maildrops: MaildropStore,
        spool: SpoolStore,
        expansion: Expansion,
        clock: Clock,
    ) -> None:
        self._hostname = hostname
        self._addresses = addresses
        self._maildrops = maildrops
        self._spool = spool
        self._expansion = expansion
        self._clock = clock

    async def attempt(self, entry: Entry, course: Course) -> Attempt:
        """One outcome for each recipient of `entry`, one after the other: their syncs would queue anyway. Cut off, it
        has outcomes for those whose turn had come."""
        began = self._clock.monotonic()
        outcomes: list[Outcome] = []
        new: list[tuple[NewEntry, Content]] = []
        places: dict[str, Any] = {}

        def so_far() -> Attempt | None:
            took_ms = round((self._clock.monotonic() - began) * 1000)
            details = {"destination": "local", **places}
            return Attempt(tuple(outcomes), took_ms, tuple(new), details) if outcomes else None

        course.so_far = so_far
        for recipient in entry.recipients:
            outcomes.append(await self._one(entry, recipient, new, places, course))
            if course.is_cut:
                break
        whole = so_far()
        assert whole is not None  # no entry is without recipients
        return whole

    async def _one(
        self,
        entry: Entry,
        recipient: EntryRecipient,
        new: list[tuple[NewEntry, Content]],
        places: dict[str, Any],
        course: Course,
    ) -> Outcome:
        path = recipient.recipient.path
        try:
            found = self._addresses.expand(path, is_notice=entry.envelope.reverse_path.is_null)
            targets = await found if isawaitable(found) else found
        except AccountsError as error:
            return _deferred(recipient, Reply(451, "4.3.0", f"the accounts cannot be read: {error}"))
        if not targets or [target.kind for target in targets] == ["unknown"]:
            return Outcome(recipient, "failed", Reply(550, "5.1.1", "there is no such mailbox here"))
        only = targets[0]
        if len(targets) == 1 and only.kind in ("maildrop", "aside") and only.reverse_path is None:
            course.reaches(Reach.WRITING)
            try:
                return await self._keep(entry, recipient, only, places)
            finally:
                course.reaches(Reach.OPEN)
        try:
            made, success = await self._expansion.entries(entry, recipient, targets)
        except LoopError as error:
            return Outcome(recipient, "failed", Reply(554, "5.4.6", str(error)))
        except SpoolError as error:
            return _deferred(recipient, Reply(452, "4.3.1", f"there is no room for the copies: {error}"))
        new += made
        places.setdefault("expanded", {})[str(path)] = [str(target.path) for target in targets[:20]]
        reply = Reply(250, "2.1.5", f"passed on to {len(targets)}")
        return Outcome(recipient, "delivered", reply, success=success, is_expanded=True)

    async def _keep(self, entry: Entry, recipient: EntryRecipient, target: Target, places: dict[str, Any]) -> Outcome:
        """Into one maildrop, whose account is the target's address."""
        account = str(target.path)
        prefix = trace_prefix(entry.envelope.reverse_path, recipient.recipient.path, self._hostname)
        try:
            place = await self._maildrops.deliver(
                account, f"{entry.id}-{recipient.number}", prefix, self._spool.read(entry.id)
            )
        except MaildropFullError as error:
            return Outcome(
                recipient, "deferred", Reply(452, "4.2.2", "the mailbox is full"), expired="5.2.2", at=str(error)
            )
        except MaildropError as error:
            return _deferred(recipient, Reply(451, "4.3.0", "the mailbox cannot be written now"), str(error))
        except SpoolError as error:
            return Outcome(recipient, "held", Reply(451, "4.3.0", "the message cannot be read"), at=str(error))
        places.setdefault("places", {})[account] = place
        if target.kind == "aside":
            places["aside"] = True
        return Outcome(recipient, "delivered", Reply(250, "2.1.5", "delivered"), success="delivered")


def trace_prefix(reverse_path: Path, forward_path: Path, hostname: str) -> bytes:
    """Return-Path (RFC 5321 §4.4, at final delivery only) and Delivered-To, CRLF."""
    return f"Return-Path: <{reverse_path}>\r\nDelivered-To: {delivered_to(forward_path, hostname)}\r\n".encode()


def _deferred(recipient: EntryRecipient, reply: Reply, cause: str = "") -> Outcome:
    return Outcome(recipient, "deferred", reply, at=cause)
