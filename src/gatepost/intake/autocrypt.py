"""Keys that come with the mail that was accepted are kept, after it was answered and one after the other.

Not here: what such a key is worth (`seal.autocrypt`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

from msgspec import UNSET, UnsetType

from gatepost.mail.address import AddressError
from gatepost.mail.dkim import DkimResult
from gatepost.mail.header import HeaderSection
from gatepost.policy.facts import MessageFacts
from gatepost.policy.findings import FromFacts
from gatepost.ports.clock import Clock
from gatepost.seal.autocrypt import NAME, RENEWED, author_of, observe_autocrypt
from gatepost.seal.port import KeyStore, KeyStoreError

MAX_AWAITED: Final = 100  # header sections that wait; what is left out comes again with the next mail of its author
MAX_REMEMBERED: Final = 4096


class Autocrypt:
    """For one worker. report: told why keys could not be kept."""

    def __init__(self, store: KeyStore, clock: Clock, report: Callable[[str], None]) -> None:
        self._store = store
        self._clock = clock
        self._report = report
        self._awaited: deque[tuple[HeaderSection, bool]] = deque(maxlen=MAX_AWAITED)
        self._seen: dict[bytes, datetime] = {}
        self._task: asyncio.Task[None] | None = None

    def accepted(self, header: HeaderSection, facts: MessageFacts, *, trusts_dkim: bool = False) -> None:
        """A message with the field was accepted. The author is proven where the account that submitted it may write as
        everybody in From and Sender, or where the author's domain has signed From and the key.

        trusts_dkim: whether `content.dkim` is enforced where it came.
        """
        is_submitted = bool(facts.session.account)
        is_proven = _are_own(facts.from_) if is_submitted else trusts_dkim and is_signed_by_author(header, facts.dkim)
        if len(self._awaited) == MAX_AWAITED or self._is_known(header, is_proven):
            return
        self._awaited.append((header, is_proven))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._keep())

    def _is_known(self, header: HeaderSection, is_proven: bool) -> bool:
        """Whether the same key of the same author came not long ago: a look at it costs milliseconds."""
        digest = sha256(b"\0".join((*header.values(b"from"), *header.values(NAME), b"proven" * is_proven))).digest()
        now = self._clock.now()
        seen = self._seen.get(digest)
        if seen is not None and now - seen < RENEWED:
            return True
        if len(self._seen) >= MAX_REMEMBERED:
            self._seen.clear()
        self._seen[digest] = now
        return False

    async def _keep(self) -> None:
        while self._awaited:
            header, is_proven = self._awaited.popleft()
            try:
                await observe_autocrypt(header, self._store, self._clock.now(), is_author_proven=is_proven)
            except KeyStoreError as error:
                self._report(str(error))

    async def close(self) -> None:
        """What waits is kept first."""
        if self._task is not None:
            await self._task


def is_signed_by_author(header: HeaderSection, results: Sequence[DkimResult] | UnsetType) -> bool:
    """Whether a signature of the author's domain, or of one above it, is about every From and every Autocrypt field:
    one that it is not about may have been put in by anybody."""
    if results is UNSET or not any(result.result == "pass" for result in results):
        return False
    author = author_of(header)
    if author is None:
        return False
    try:
        domain = author.ascii_domain
    except AddressError:
        return False
    needed = len(header.named(b"from")), len(header.named(NAME))
    return any(
        result.proves(domain) and (result.signed.count("from"), result.signed.count("autocrypt")) == needed
        for result in results
    )


def _are_own(named: object) -> bool:
    """Whether `content.from` has found that all who are named are the account's own; where it is off nobody has."""
    return isinstance(named, FromFacts) and bool(named.addresses) and not named.foreign and not named.defect
