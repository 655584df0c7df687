"""Notices to senders: which are due, to whom, and as entries ready for the spool (RFC 3461 §5, RFC 3464 §2).

Not here: the report's text and form (`mail.dsn`), and when an attempt was the last (`delivery.settling`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from inspect import isawaitable
from typing import Final

from gatepost.delivery.expansion import read_header
from gatepost.delivery.local import Addresses
from gatepost.delivery.outcome import Success
from gatepost.mail.address import NULL_PATH
from gatepost.mail.dsn import Action, RecipientReport, Report, compose, needs_smtputf8
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.ports.clock import Clock, Ids
from gatepost.spool.destination import destination
from gatepost.spool.model import Entry, NewEntry
from gatepost.spool.port import Content, ContentStore, SpoolError

MAX_RETURNED_HEADER_OCTETS: Final = 64 * 1024


def is_wanted(entry: Entry, recipient: Recipient, action: Action | Success) -> bool:
    """Whether the sender is to hear of `action` at that recipient: what NOTIFY says, and nothing to a null path."""
    if entry.envelope.reverse_path.is_null:  # RFC 5321 §4.5.5: a notice about a notice would never end
        return False
    if action == "failed":
        return recipient.wants("FAILURE")
    if action == "delayed":
        return recipient.wants("DELAY")
    return bool(action) and recipient.wants("SUCCESS")


class Notices:
    """Writes notices as new entries."""

    def __init__(
        self,
        hostname: str,
        addresses: Addresses,
        spool: ContentStore,
        ids: Ids,
        clock: Clock,
        full_octets: int = 256 * 1024,
    ) -> None:
        """full_octets: a larger message is returned by its header even where RET=FULL asks for more."""
        self._hostname = hostname
        self._addresses = addresses
        self._spool = spool
        self._ids = ids
        self._clock = clock
        self._full_octets = full_octets

    async def entry(self, about: Entry, reports: Sequence[RecipientReport]) -> tuple[NewEntry, Content]:
        """One notice about all of `reports`, to the reverse-path of `about`.

        Raises SpoolError when there is no room for it, AccountsError when it cannot be known where it goes.
        """
        to = about.envelope.reverse_path
        found = self._addresses.resolve(to)
        resolution = await found if isawaitable(found) else found
        notice_id = self._ids.new()
        octets = compose(await self._report(about, reports, notice_id))
        content = self._spool.new_content()
        try:
            content.write(octets)
            content.finish()
        except BaseException:
            content.discard()
            raise
        new = NewEntry(
            id=notice_id,
            envelope=Envelope(
                reverse_path=NULL_PATH,
                recipients=(Recipient(to, notify=("NEVER",)),),  # RFC 3461 §6.1: nothing else may stand there
                smtputf8=needs_smtputf8(to),
            ),
            received_at=self._clock.unix(),
            prefix=b"",
            octets=len(octets),
            destinations=(destination(to, kept_here=resolution.kind not in ("foreign", "relay")),),
            has_8bit=not octets.isascii(),
        )
        return new, content

    async def _report(self, about: Entry, reports: Sequence[RecipientReport], notice_id: str) -> Report:
        header, whole = await self._returned(about, reports)
        return Report(
            hostname=self._hostname,
            to=about.envelope.reverse_path,
            id=about.id,
            dsn_id=notice_id,
            arrived_at=datetime.fromtimestamp(about.received_at, UTC),
            now=self._clock.now(),
            recipients=tuple(reports),
            header=header,
            whole=whole,
            envid=about.envelope.envid,
            smtputf8=about.envelope.smtputf8,
        )

    async def _returned(self, about: Entry, reports: Sequence[RecipientReport]) -> tuple[bytes, bytes | None]:
        """The header section, and the whole when RET=FULL asks for it (RFC 3461 §4.3: with failures only) and it is
        small. A message that cannot be read any more is reported without either."""
        is_full = about.envelope.ret == "FULL" and about.octets <= self._full_octets
        try:
            header = await read_header(self._spool, about.id, MAX_RETURNED_HEADER_OCTETS)
            if is_full and any(report.action == "failed" for report in reports):
                return header, await _joined(self._spool.read(about.id))
        except SpoolError:
            return b"X-Returned: the message cannot be read any more\r\n\r\n", None
        return header, None


async def _joined(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])
