"""Messages that are encrypted or signed, written into contents of the spool."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing

import msgspec

from gatepost.gate.sealing import Sealer
from gatepost.mail.envelope import Envelope
from gatepost.seal.model import RecipientKey, Refused, SealedFor, SealOptions, SignedBy, SigningKey
from gatepost.spool.port import Content, SpoolStore


class Source(msgspec.Struct, frozen=True):
    """The message as it came. added: header fields of ours that belong to it."""

    spool: SpoolStore
    added: bytes
    content: Content

    @property
    def octets(self) -> int:
        """Of all of it."""
        return len(self.added) + self.content.octets

    async def message(self) -> AsyncIterator[bytes]:
        """In pieces. Raises SpoolError."""
        yield self.added
        async for piece in self.content.chunks():
            yield piece


class Part(msgspec.Struct):
    """One message, and for whom. recipients: of the envelope that came; envelope: another one, for members of `behind`.
    prefix: what stands before our trace."""

    of: SealedFor | SignedBy
    content: Content
    is_8bit: bool = False
    recipients: Sequence[str] = ()
    envelope: Envelope | None = None
    prefix: bytes = b""
    behind: str = ""


def discard(parts: Sequence[Part]) -> None:
    """None of them is kept."""
    for part in parts:
        part.content.discard()


async def encrypted(
    sealer: Sealer,
    source: Source,
    keys: Mapping[str, RecipientKey],
    signers: tuple[SigningKey, ...],
    options: SealOptions,
) -> list[Part] | Refused:
    """The message for `keys`, or why there is none. Raises SpoolError."""
    return await written(source, sealer.work.seal_pieces(source.message(), source.octets, keys, signers, options))


async def written(
    source: Source, pieces: AsyncGenerator[SealedFor | SignedBy | bytes | Refused, None]
) -> list[Part] | Refused:
    """What comes in `pieces`, in contents of its own; nothing of it after a refusal. Raises SpoolError."""
    parts: list[Part] = []
    try:
        async with aclosing(pieces):
            async for each in pieces:
                match each:
                    case Refused():
                        discard(parts)
                        return each
                    case bytes():
                        parts[-1].content.write(each)
                        parts[-1].is_8bit = parts[-1].is_8bit or not each.isascii()
                    case _:
                        parts.append(Part(each, source.spool.new_content()))
        for part in parts:
            part.content.finish()
    except BaseException:
        discard(parts)
        raise
    return parts
