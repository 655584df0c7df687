"""TLS on an accepted connection, our side of it: a transport to the session above, a protocol to the transport below.

Not the event loop's own: that one keeps 256 KiB of buffer a connection and tells nobody of a handshake that failed. Not
here: which certificate is shown (`net.tls`), what is said inside (`net.connection`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

PIECE_OCTETS: Final = 16 * 1024
"""A record's content (RFC 8446 §5.1). OpenSSL's buffers grow to what they are given at once, and never shrink."""
PENDING_OCTETS: Final = 4 * 1024
"""What waits for our next words to go with, at most: tickets, and what OpenSSL answers by itself (a peer that asks for
new keys again and again would fill the memory else)."""
LINGER_SECONDS: Final = 15.0  # a peer that does not take the alert is cut off


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """TLS over `below`, from the moment it is made; what comes from there is taken by this one then.

    above: is told what comes inside, and of the end, as by any transport; nothing before the handshake is done but its
    failure: `connection_lost` with the error. stands: called once, when it is done. Of a plain transport it has what
    `net.connection` uses.

    Invariant: nothing of `above` leaves but inside TLS; what it writes before TLS stands is dropped.
    """

    __slots__ = ("_above", "_below", "_has_ended", "_incoming", "_is_closing", "_is_paused", "_loop", "_outgoing",
                 "_stands", "_timer", "_tls")  # fmt: skip

    def __init__(
        self,
        below: asyncio.Transport,
        context: ssl.SSLContext,
        above: asyncio.Protocol,
        stands: Callable[[ssl.SSLObject], None],
        seconds: float,
    ) -> None:
        self._below = below
        self._above: asyncio.Protocol | None = above
        self._stands: Callable[[ssl.SSLObject], None] | None = stands
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._is_paused = False
        self._is_closing = False
        self._has_ended = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(seconds, self._too_slow, seconds)
        below.set_protocol(self)

    # --- asyncio.Protocol: called by the transport below ---------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Records, or parts of them."""
        got: list[bytes] = []
        try:
            if len(data) <= PIECE_OCTETS:
                self._incoming.write(data)
                self._take(got)
            else:
                whole = memoryview(data)
                for start in range(0, len(data), PIECE_OCTETS):
                    self._incoming.write(whole[start : start + PIECE_OCTETS])
                    self._take(got)
        except ssl.SSLError as error:
            self._hand_up(got)
            self._fail(error)
        else:
            self._hand_up(got)

    def eof_received(self) -> bool:
        """The peer has closed its side, with or without a close_notify. What it asked is still answered, but for a
        handshake it is the end."""
        if self._stands is not None or self._is_closing:
            return False
        if not self._has_ended:
            self._has_ended = True
            self._say_ended()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._tell_lost(exc)

    def pause_writing(self) -> None:
        if self._above is not None:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        if self._above is not None:
            self._above.resume_writing()

    # --- asyncio.Transport: called from above --------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue `data`, encrypted. Dropped while there is no TLS, and once it is closed."""
        if self._stands is not None or self._is_closing or not data:
            return
        if len(data) <= PIECE_OCTETS:
            self._tls.write(data)
            self._below.write(self._outgoing.read())
            return
        whole, records = memoryview(data), []
        for start in range(0, len(data), PIECE_OCTETS):
            self._tls.write(whole[start : start + PIECE_OCTETS])
            records.append(self._outgoing.read())
        self._below.write(b"".join(records))

    def close(self) -> None:
        """Flush, say close_notify, and close once the peer has ended too: a peer that answers our close_notify with
        its own would be reset else, and may lose what it has not read. Whoever closes sets the limit to that."""
        if self._is_closing:
            return
        self._is_closing = True
        if self._stands is not None:
            self._below.close()
            return
        with suppress(ssl.SSLError):  # it wants to read the peer's
            self._tls.unwrap()
        self._flush()
        if self._has_ended:
            self._below.close()
        elif self._is_paused:
            self._is_paused = False
            self._below.resume_reading()

    def abort(self) -> None:
        self._is_closing = True
        self._below.abort()

    def pause_reading(self) -> None:
        if self._is_closing:
            return
        self._is_paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._is_paused = False
        self._below.resume_reading()
        if self._incoming.pending or self._tls.pending():
            self._loop.call_soon(self._go_on)

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._below.get_extra_info(name, default)

    # --- inside --------------------------------------------------------------------------------------------------

    def _take(self, got: list[bytes]) -> None:
        """What can be decrypted now, added to `got`. Raises SSLError."""
        if self._stands is not None and not self._shake_hands():
            return
        tls, incoming = self._tls, self._incoming
        # To ask first is cheap: that nothing is left to read is an exception else, for each segment.
        while (incoming.pending or tls.pending()) and not self._is_paused and not self._has_ended:
            try:
                octets = tls.read(PIECE_OCTETS)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:  # close_notify, after ours
                octets = b""
            if not octets:  # close_notify
                self._has_ended = True
                break
            got.append(octets)

    def _shake_hands(self) -> bool:
        """Whether the handshake is done. Raises SSLError when it fails."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        stands, self._stands = self._stands, None
        self._stop_timer()
        # In TLS 1.3 only tickets are left to send: they go with the first words, in one segment.
        if self._tls.version() != "TLSv1.3":
            self._flush()
        assert stands is not None
        stands(self._tls)
        return True

    def _hand_up(self, got: list[bytes]) -> None:
        if self._is_closing:  # what comes now is too late
            if self._has_ended:
                self._below.close()
            return
        if got and self._above is not None:
            self._above.data_received(got[0] if len(got) == 1 else b"".join(got))
        if self._has_ended:
            self._say_ended()
        elif self._outgoing.pending > PENDING_OCTETS:
            self._flush()

    def _go_on(self) -> None:
        """What was decrypted by nobody because reading was paused."""
        if self._above is not None:
            got: list[bytes] = []
            try:
                self._take(got)
            except ssl.SSLError as error:
                self._fail(error)
            else:
                self._hand_up(got)

    def _say_ended(self) -> None:
        if self._above is not None:
            self._above.eof_received()

    def _flush(self) -> None:
        octets = self._outgoing.read()
        if octets:
            self._below.write(octets)

    def _fail(self, error: ssl.SSLError) -> None:
        """The peer is told by OpenSSL's alert, the session by the error."""
        self._flush()
        self._below.close()
        self._stop_timer()
        self._timer = self._loop.call_later(LINGER_SECONDS, self._below.abort)
        self._tell_lost(error)

    def _too_slow(self, seconds: float) -> None:
        self._timer = None
        self._below.abort()
        self._tell_lost(TimeoutError(f"it was not done in {seconds:g} seconds"))

    def _tell_lost(self, error: Exception | None) -> None:
        self._is_closing = True
        above, self._above, self._stands = self._above, None, None  # they know us: without the ring all is gone at once
        if above is not None:
            above.connection_lost(error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
