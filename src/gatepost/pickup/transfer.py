"""A message on its way to the peer: read in pieces, stuffed, and never faster than the peer takes it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from gatepost.mail.downgrade import Downgrader
from gatepost.maildrop.port import Maildrop, MaildropError
from gatepost.ports.wire import Wire
from gatepost.protocol.pop3.multiline import Stuffer, TopCut

_JOINED_OCTETS: Final = 1 << 16  # a small message leaves in one write, its reply and final dot with it


class BrokenOffError(Exception):
    """The message could not be read to its end. The peer must not see an end: the connection is cut."""


async def send_message(
    wire: Wire, maildrop: Maildrop, index: int, lines: int | None, first: Callable[[bool], bytes], *, as_it_is: bool
) -> int:
    """Octets of message `index` (from 0) that were sent behind `first`, stuffing not counted.

    lines: for TOP, how many of the body; None for all. first: the positive reply, sent once the message has begun to
    come; it is told whether the header was made ASCII. as_it_is: the peer knows UTF-8 in header fields.
    Raises MaildropError and DowngradeError while nothing was sent, then BrokenOffError; ConnectionError when the peer
    is gone.
    """
    stuffer, cut = Stuffer(), None if lines is None else TopCut(lines)
    downgrader = None if as_it_is else Downgrader()
    waiting: list[bytes] = []
    octets, has_begun = 0, False
    try:
        async with aclosing(_pieces(maildrop, index, downgrader)) as pieces:
            async for piece in pieces:
                if cut is not None:
                    piece = cut.feed(piece)
                octets += len(piece)
                waiting.append(stuffer.feed(piece))
                if octets >= _JOINED_OCTETS:
                    if not has_begun:
                        waiting.insert(0, first(downgrader is not None and downgrader.is_changed))
                    wire.write(b"".join(waiting))
                    waiting.clear()
                    has_begun = True
                    await wire.drained()
                if cut is not None and cut.is_done:
                    break
    except MaildropError as error:
        if has_begun:
            raise BrokenOffError(str(error)) from error
        raise
    if not has_begun:
        waiting.insert(0, first(downgrader is not None and downgrader.is_changed))
    wire.write(b"".join([*waiting, stuffer.finish()]))
    await wire.drained()
    return octets


async def _pieces(maildrop: Maildrop, index: int, downgrader: Downgrader | None) -> AsyncGenerator[bytes, None]:
    async with aclosing(maildrop.read(index)) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            yield piece if downgrader is None else downgrader.feed(piece)
    if downgrader is not None:
        yield downgrader.finish()
