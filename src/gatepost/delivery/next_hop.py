"""Where a message goes next, and how long it may take, as values. Not here: finding the next hop (`routing`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final, Literal

import msgspec

from gatepost.mail.envelope import Envelope
from gatepost.protocol.smtp import limits
from gatepost.protocol.smtp.client import Step
from gatepost.protocol.smtp.client_auth import Credentials

TlsUse = Literal["off", "may", "encrypt", "verify"]


class NextHop(msgspec.Struct, frozen=True):
    """One place to connect to.

    address: an IP address, or "unix:/path" (port is ignored then). name: what the host is called; it goes into SNI,
    is what the certificate must match, and is what records and DSNs show. tls: "off" never, "may" where it is
    offered, "encrypt" always, "verify" always and with a valid certificate. implicit_tls: from the first octet
    (smtps); tls "may" and "off" mean "encrypt" then. source: the local address to bind. credentials: log in with
    them, over verified TLS or loopback only.
    """

    address: str
    name: str
    port: int = 25
    protocol: Literal["smtp", "lmtp"] = "smtp"
    tls: TlsUse = "may"
    implicit_tls: bool = False
    source: str = ""
    credentials: Credentials | None = None

    def __str__(self) -> str:
        """For records: "mx.example.org[192.0.2.7]:25"."""
        if self.address.startswith("unix:"):
            return self.address
        return f"{self.name}[{self.address}]:{self.port}"


def _nothing() -> None:
    """No further message."""


class Job(msgspec.Struct, frozen=True):
    """One message for some recipients at one next hop.

    content: gives the whole content anew at each call, in pieces; it may raise OSError or SpoolError. octets: its
    size. has_8bit: an octet above 127 occurs in it. utf8_header: its header fields have UTF-8 (RFC 6532). in_doubt:
    called with True before the end of data leaves, since from then on the peer may have the message, and with False
    when that is over. following: asked once, when the end of data leaves, for another message to the same hop: its
    commands leave with it, and it is what the session is given next.
    """

    envelope: Envelope
    content: Callable[[], AsyncIterator[bytes]]
    octets: int
    has_8bit: bool = False
    utf8_header: bool = False
    in_doubt: Callable[[bool], None] = lambda is_so: None
    following: Callable[[], Job | None] = _nothing


class Timeouts(msgspec.Struct, frozen=True):
    """How long each part may take, in seconds; the defaults are those of RFC 5321 §4.5.3.2.

    opening: all from the connection to the end of EHLO, STARTTLS and AUTH together. message: one transaction as a
    whole, to which the time is added that its content takes at `slowest` octets a second. So no next hop holds us for
    longer, however it spreads its octets.
    """

    connect: float = 30.0
    greeting: float = limits.GREETING_TIMEOUT.total_seconds()
    hello: float = 300.0  # no figure in the RFC: as for other commands
    tls: float = 60.0
    auth: float = 180.0
    mail: float = limits.MAIL_TIMEOUT.total_seconds()
    rcpt: float = limits.RCPT_TIMEOUT.total_seconds()
    data: float = limits.DATA_TIMEOUT.total_seconds()
    block: float = limits.DATA_BLOCK_TIMEOUT.total_seconds()
    end_of_data: float = limits.END_OF_DATA_TIMEOUT.total_seconds()
    quit: float = 5.0  # the mail is settled: nobody waits for this
    opening: float = 900.0
    message: float = 1800.0
    slowest: float = 2000.0

    def answer_to(self, step: Step) -> float:
        """How long the answer to `step` may take."""
        value: float = getattr(self, _FIELD[step])
        return value


_FIELD: Final = {
    Step.GREETING: "greeting",
    Step.EHLO: "hello",
    Step.HELO: "hello",
    Step.STARTTLS: "hello",
    Step.AUTH: "auth",
    Step.RSET: "mail",
    Step.MAIL: "mail",
    Step.RCPT: "rcpt",
    Step.DATA: "data",
    Step.CONTENT: "end_of_data",
    Step.CHUNK: "end_of_data",
    Step.LAST_CHUNK: "end_of_data",
    Step.QUIT: "quit",
}
