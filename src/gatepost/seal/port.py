"""Where keys of recipients are kept, as a port; implemented in `store`."""

from __future__ import annotations

from typing import Protocol

from gatepost.seal.model import Kind, RecipientKey


class KeyStore(Protocol):
    """Keys by address. Raises KeyStoreError when it cannot answer, never an empty answer instead."""

    async def find(self, address: str) -> tuple[RecipientKey, ...]:
        """The keys kept for `address` (lower case), the most trusted source first; expired ones too."""
        ...

    async def put(self, key: RecipientKey) -> None:
        """Keeps `key`; one of the same address, kind, source and fingerprint is replaced."""
        ...

    async def remove(self, address: str, fingerprint: str) -> bool:
        """Whether there was such a key; it is gone now."""
        ...

    async def list(self, kind: Kind | None = None) -> tuple[RecipientKey, ...]:
        """All keys, by address."""
        ...


class KeyStoreError(Exception):
    """The store could not be read or written; the message says what and where."""
