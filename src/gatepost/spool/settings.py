"""What a spool may take, as its settings. Nothing here is read from a file: `config` fills the values."""

from __future__ import annotations

import msgspec

MIB = 1024 * 1024


class SpoolSettings(msgspec.Struct, frozen=True):
    """Room for one spool, all in octets.

    size_limit_octets: messages that one spool holds in all; 0 for no cap. free_limit_octets: what must stay free on
    the disk; below it nothing is accepted, while what is there can still be settled and removed.
    inline_octets: content up to this is kept in the database, above it in a file of its own (measured: at 256 KiB
    the file begins to win). memory_octets: of contents that arrive, all together; what goes beyond that goes to a
    file, however small it is. key: what content is encrypted with, a text that nobody guesses; "" for not at all.
    previous_keys: what older content may be encrypted with.
    """

    size_limit_octets: int = 0
    free_limit_octets: int = 64 * MIB
    inline_octets: int = 256 * 1024
    memory_octets: int = 64 * MIB
    key: str = ""
    previous_keys: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """All that open content, the one that encrypts it first."""
        return tuple(key for key in (self.key, *self.previous_keys) if key)

    def __repr__(self) -> str:  # the key stands in no log and no traceback
        return f"SpoolSettings(size_limit_octets={self.size_limit_octets})"
