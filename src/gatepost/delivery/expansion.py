"""Aliases and lists: one recipient becomes new entries, added in the commit that settles it.

Each target then has a state, retries and notices of its own, and a full mailbox on a list delays nobody else.
Not here: who the targets are (`accounts.directory`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gatepost.accounts.model import Target
from gatepost.delivery.outcome import Success
from gatepost.gate.expanding import MAX_RECIPIENTS, by_reverse_path, carried_on, delivered_to, is_list
from gatepost.mail.envelope import Envelope
from gatepost.mail.header import section_end, walk
from gatepost.mail.text import printable
from gatepost.ports.clock import Clock, Ids
from gatepost.spool.destination import destination
from gatepost.spool.model import Entry, EntryRecipient, NewEntry
from gatepost.spool.port import Content, ContentStore, SpoolStore

MAX_HEADER_OCTETS: Final = 512 * 1024  # that are searched for Delivered-To


class LoopError(Exception):
    """The message was expanded at this address before; the text is for its sender."""


class Expansion:
    """Makes the new entries."""

    def __init__(self, hostname: str, spool: SpoolStore, ids: Ids, clock: Clock) -> None:
        self._hostname = hostname
        self._spool = spool
        self._ids = ids
        self._clock = clock

    async def entries(
        self, entry: Entry, recipient: EntryRecipient, targets: Sequence[Target], all_targets: int
    ) -> tuple[list[tuple[NewEntry, Content]], Success]:
        """The entries that carry the message on to `targets`, and the success notice that is due to the sender.
        all_targets: how many there are, together with those who are served already.

        Each is marked with a Delivered-To field of the expanded address, which is how a ring is noticed when it comes
        back. Raises LoopError when it did, SpoolError when the message cannot be read or copied.
        """
        address = delivered_to(recipient.recipient.path, self._hostname)
        await self._check_ring(entry, address)
        prefix = f"Delivered-To: {address}\r\n".encode()
        made: list[tuple[NewEntry, Content]] = []
        try:
            for reverse_path, group in by_reverse_path(entry.envelope.reverse_path, targets).items():
                for at in range(0, len(group), MAX_RECIPIENTS):
                    some = group[at : at + MAX_RECIPIENTS]
                    envelope = carried_on(entry.envelope, recipient.recipient, reverse_path, some, all_targets)
                    content = await self._copy(entry.id)
                    made.append((self._entry(entry, envelope, some, prefix, content), content))
        except BaseException:
            for _, content in made:
                content.discard()
            raise
        return made, success_of(targets, all_targets)

    def _entry(
        self, entry: Entry, envelope: Envelope, targets: Sequence[Target], prefix: bytes, content: Content
    ) -> NewEntry:
        return NewEntry(
            id=self._ids.new(),
            envelope=envelope,
            received_at=self._clock.unix(),
            prefix=prefix,
            octets=len(prefix) + content.octets,
            destinations=tuple(destination(target.path, kept_here=target.kind != "remote") for target in targets),
            login=entry.login,
            client=entry.client,
            has_8bit=entry.has_8bit or not prefix.isascii(),
            require_tls=entry.require_tls,
        )

    async def _copy(self, entry_id: str) -> Content:
        content = self._spool.new_content()
        try:
            async for octets in self._spool.read(entry_id):
                content.write(octets)
            content.finish()
        except BaseException:
            content.discard()
            raise
        return content

    async def _check_ring(self, entry: Entry, address: str) -> None:
        header = await read_header(self._spool, entry.id, MAX_HEADER_OCTETS)
        wanted = address.lower().encode()
        if any(value.lower() == wanted for value in walk(header).values(b"delivered-to")):
            raise LoopError(f"mail for {printable(address)} comes back to it: a loop of aliases or forwards")


def success_of(targets: Sequence[Target], all_targets: int) -> Success:
    """The notice that is due when an address was expanded."""
    if is_list(targets):
        return "delivered"  # RFC 3461 §5.2.7.1: to the list; what becomes of members is the owner's affair
    return "expanded" if all_targets > 1 else ""


async def read_header(spool: ContentStore, entry_id: str, limit: int) -> bytes:
    """The header section of an entry, blank line included; cut at the end of a line when it is over `limit` octets."""
    header = bytearray()
    async for octets in spool.read(entry_id):
        searched = len(header)
        header += octets
        end = section_end(bytes(header), searched)
        if 0 <= end <= limit:
            return bytes(header[:end])
        if len(header) > limit:
            return bytes(header[: header.rfind(b"\r\n", 0, limit) + 2])
    return bytes(header)
