"""Where keys are kept, as ports: those of recipients, and those of our own users that we publish. Implemented in
`store`; how keys are found when none is kept is in `discovery`."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, Protocol

import msgspec

from gatepost.seal.model import Kind, RecipientKey, Source

KeyState = Literal["used", "waiting", "unproven", "displaced", "replaced", "withdrawn"]
"""used: mail may be encrypted to it. waiting: it came after another one, and nobody has said yet that it is right.
unproven: it came with a mail that anybody could have written; used only when somebody trusts it.
displaced: a more trusted place has another one. replaced: somebody said that another one is right. withdrawn: its owner
revoked it."""
SOURCES: Final[tuple[Source, ...]] = ("local", "pinned", "imported", "wkd", "autocrypt", "openpgpkey", "smimea")
"""The most trusted one first."""
BY_PEOPLE: Final = frozenset[Source]({"local", "pinned", "imported"})
"""Put there by somebody: no look-up replaces them, and they are not forgotten."""


class KeptKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key in the store. first_seen: aware, UTC. note: why it waits, was replaced or withdrawn, in words."""

    key: RecipientKey
    first_seen: datetime
    state: KeyState = "used"
    note: str = ""


class Absence(msgspec.Struct, frozen=True):
    """A look-up everywhere found no key for `address`; it is not repeated before `until`. reasons, codes: what was
    found instead (`discovery.NoKey`)."""

    address: str
    until: datetime
    reasons: tuple[str, ...] = ()
    codes: frozenset[str] = frozenset()


class KeyStore(Protocol):
    """Keys by address (lower case, as `cms.names.address_key` writes it) and fingerprint.

    Raises KeyStoreError when it cannot answer, never an empty answer instead.
    """

    async def find(self, address: str) -> tuple[KeptKey, ...]:
        """The keys kept for `address`, in every state and expired ones too: used ones first, of those the most trusted
        source first."""
        ...

    async def put(self, kept: KeptKey) -> None:
        """Keeps it, durably. One of the same address, kind and fingerprint is replaced, but its more trusted source
        and its `first_seen` stay; an `Absence` of the address ends."""
        ...

    async def put_unproven(self, kept: KeptKey, now: datetime, *, of_address: int, in_all: int) -> bool:
        """Keeps an unproven key in one step, and says whether it is kept: not where the same key is there in another
        state. Of the unproven ones the newest stay, so many of an address and so many in all, until `cached_until`. An
        `Absence` stays, since nothing was looked up."""
        ...

    async def trust(self, address: str, fingerprint: str, now: datetime) -> KeptKey | None:
        """That key is pinned and used from now on, and every other one of its address and kind is replaced, in one
        step; None where there is no such key."""
        ...

    async def remove(self, address: str, fingerprint: str = "") -> int:
        """How many keys of `address` are gone now: that one, or without a fingerprint all of them and its `Absence`."""
        ...

    async def list(self, kind: Kind | None = None) -> tuple[KeptKey, ...]:
        """All keys, by address."""
        ...

    async def absence(self, address: str, now: datetime) -> Absence | None:
        """Whether a look-up was in vain not long ago."""
        ...

    async def put_absence(self, absence: Absence) -> None:
        """Remembers that a look-up was in vain; an earlier one of the address is replaced."""
        ...


class PublishedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key of one of our own addresses, for everybody to find. wkd_hash: of its local part (`discovery.wkd_hash`).
    material: binary, reduced to the user IDs of the address."""

    address: str
    kind: Kind
    fingerprint: str
    material: bytes
    wkd_hash: str
    since: datetime
    valid_until: datetime | None = None


class PublishedKeys(Protocol):
    """What the key directory of our domains and their DNS records show. Raises KeyStoreError."""

    async def publish(self, key: PublishedKey) -> None:
        """Shown from now on, instead of another one of the same address and kind."""
        ...

    async def unpublish(self, address: str, kind: Kind | None = None) -> int:
        """How many are not shown any more."""
        ...

    async def published(self, domain: str = "") -> tuple[PublishedKey, ...]:
        """Those of a domain (A-labels), or all, by address."""
        ...

    async def of_address(self, address: str) -> tuple[PublishedKey, ...]:
        """Those of one address."""
        ...

    async def in_directory(self, domain: str, wkd_hash: str) -> tuple[PublishedKey, ...]:
        """The OpenPGP keys at that place of the key directory."""
        ...


class KeyStoreError(Exception):
    """The store could not be read or written; the message says what and where."""
