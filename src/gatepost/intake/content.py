"""The content of one message while it arrives: its header section is found and walked, the rest passes through."""

from __future__ import annotations

from typing import Final

from gatepost.mail import authentication_results
from gatepost.mail.header import SINGLETONS, Field, HeaderSection, section_end, walk
from gatepost.policy.findings import HeaderFacts
from gatepost.spool.port import Content, SpoolError, SpoolFullError
from gatepost.spool.settings import SpoolSettings

MAX_HEADER_OCTETS: Final = 256 * 1024  # kept in memory until it ends; `content.lines` refuses far smaller ones


class HeldHeaders:
    """What the header sections that are arriving hold in memory. octets: now. limit: at most."""

    __slots__ = ("limit", "octets")

    def __init__(self, limit: int = SpoolSettings().memory_octets) -> None:
        self.limit = limit
        self.octets = 0


class MessageContent:
    """Octets in, a spool's `Content` filled. Nothing is changed, but that fields are left out of the header: Bcc
    with `drop_bcc`, and what claims in the name `authserv_id` that somebody's mail was authenticated (RFC 8601 §5).
    body_at: where the body begins in what is kept. claimed: how many such claims there were.

    Past `limit` octets are counted and not kept: the message will be refused (`message.size`). What the spool cannot
    write is remembered in `trouble` and answered at the end of data, where the peer listens; so is a header section
    for which `headers` has no room (`is_header_cut`).
    """

    __slots__ = (
        *("_authserv_id", "_content", "_drop_bcc", "_head", "_headers", "_limit", "_searched", "_section"),
        *("body_at", "claimed"),
        *("is_header_cut", "octets", "trouble"),
    )

    def __init__(
        self, content: Content, limit: int, headers: HeldHeaders, *, drop_bcc: bool, authserv_id: str = ""
    ) -> None:
        self._content = content
        self._limit = limit
        self._headers = headers
        self.is_header_cut = False
        self._drop_bcc = drop_bcc
        self._authserv_id = authserv_id
        self.body_at = 0
        self.claimed = 0
        self._head: bytes | None = b""  # None once the header section has ended
        self._searched = 0
        self._section: HeaderSection | None = None
        self.octets = 0
        self.trouble: SpoolError | None = None

    def write(self, octets: bytes) -> None:
        """The next octets, without dot-stuffing."""
        self.octets += len(octets)
        if self._head is None:
            self._keep(octets)
            return
        head = self._head + octets if self._head else octets
        end = section_end(head, self._searched)
        if end >= 0:
            self._end_header(head, end)
        elif len(head) > MAX_HEADER_OCTETS:
            self._end_header(head, len(head))
        else:
            self._hold(head)

    def finish(self) -> tuple[Content, HeaderSection]:
        """All has come: the content for the spool, and the header section as it was received."""
        if self._head is not None:
            self._end_header(self._head, len(self._head))
        self._content.finish()
        assert self._section is not None  # _end_header has set it
        return self._content, self._section

    def discard(self) -> None:
        """The message is not kept."""
        self._let_go()
        self._content.discard()

    def _hold(self, head: bytes) -> None:
        """Keep the header section until more of it comes."""
        headers, more = self._headers, len(head) - self._searched
        if headers.octets + more > headers.limit:
            self.trouble = SpoolFullError(f"header sections that arrive hold {headers.octets} octets already")
            self.is_header_cut = True
            self._end_header(head, len(head))
            return
        headers.octets += more
        self._head, self._searched = head, len(head)

    def _let_go(self) -> None:
        if self._head is not None:
            self._headers.octets -= self._searched
            self._head, self._searched = None, 0

    def _end_header(self, head: bytes, end: int) -> None:
        section = self._section = walk(head[:end])
        self._let_go()
        if dropped := self._dropped(section):
            kept = section.without(dropped)
            self.body_at = len(kept)
            self._keep(kept)
            self._keep(head[end:])
        else:
            self.body_at = end
            self._keep(head)

    def _dropped(self, section: HeaderSection) -> list[Field]:
        """The fields that are left out."""
        if self._drop_bcc:
            return section.named(b"bcc")
        if not self._authserv_id:
            return []
        found = section.named(authentication_results.NAME)
        if found:
            claims, name = authentication_results.claims, self._authserv_id
            found = [field for field in found if claims(section.value(field), name)]
            self.claimed = len(found)
        return found

    def _keep(self, octets: bytes) -> None:
        if not octets or self.trouble is not None or self.octets > self._limit:
            return
        try:
            self._content.write(octets)
        except SpoolError as error:
            self.trouble = error


def header_facts(section: HeaderSection) -> HeaderFacts:
    """What checks read of a header section."""
    counts: dict[str, int] = {}
    received = 0
    delivered_to: tuple[str, ...] = ()
    authors: tuple[bytes, ...] = ()
    submitters: tuple[bytes, ...] = ()
    has_autocrypt = False
    is_signed = False
    for field in section.fields:
        if field.name == b"received":
            received += 1
        elif field.name in SINGLETONS:
            name = field.name.decode("ascii")
            counts[name] = counts.get(name, 0) + 1
            if field.name == b"from":
                authors += (section.value(field),)
            elif field.name == b"sender":
                submitters += (section.value(field),)
        elif field.name == b"delivered-to":
            delivered_to += (section.value(field).decode("utf-8", "replace"),)
        elif field.name == b"autocrypt":
            has_autocrypt = True
        elif field.name == b"dkim-signature":
            is_signed = True
    return HeaderFacts(
        octets=len(section.octets),
        fields=len(section.fields),
        received=received,
        counts=counts,
        defects=section.defects,
        delivered_to=delivered_to,
        has_8bit=not section.octets.isascii(),
        authors=authors,
        submitters=submitters,
        has_autocrypt=has_autocrypt,
        is_signed=is_signed,
    )
