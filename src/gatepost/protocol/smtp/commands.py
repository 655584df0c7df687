"""Commands of SMTP and LMTP as values.

Not here: how a line becomes one (`command_syntax`), and which is legal when (`server_states`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gatepost.mail.address import Path
from gatepost.mail.envelope import Recipient
from gatepost.mail.reply import Reply
from gatepost.protocol.smtp.xclient import XclientAttributes


class Helo(msgspec.Struct, frozen=True):
    """domain: as the peer wrote it, printable ASCII; whether it is a name is decided by `helo.name`."""

    domain: str


class Ehlo(msgspec.Struct, frozen=True):
    """domain: as for Helo."""

    domain: str


class Lhlo(msgspec.Struct, frozen=True):
    """domain: as for Helo."""

    domain: str


class Mail(msgspec.Struct, frozen=True):
    """size: octets, None when absent. auth: "<>" or a mailbox (RFC 4954 §5), None when absent; it proves nothing."""

    reverse_path: Path
    size: int | None = None
    body: Literal["7BIT", "8BITMIME"] = "7BIT"
    smtputf8: bool = False
    ret: Literal["", "FULL", "HDRS"] = ""
    envid: str = ""
    auth: str | None = None


class Rcpt(msgspec.Struct, frozen=True):
    recipient: Recipient


class Data(msgspec.Struct, frozen=True):
    pass


class Bdat(msgspec.Struct, frozen=True):
    """octets: of the chunk that follows at once. last: the message ends with it."""

    octets: int
    last: bool


class Rset(msgspec.Struct, frozen=True):
    pass


class Noop(msgspec.Struct, frozen=True):
    pass


class Quit(msgspec.Struct, frozen=True):
    pass


class Vrfy(msgspec.Struct, frozen=True):
    text: str
    smtputf8: bool = False


class Expn(msgspec.Struct, frozen=True):
    text: str
    smtputf8: bool = False


class Help(msgspec.Struct, frozen=True):
    topic: str = ""


class StartTls(msgspec.Struct, frozen=True):
    pass


class Auth(msgspec.Struct, frozen=True):
    """mechanism: upper case. initial: the decoded initial response, b"" for "=", None when there was none."""

    mechanism: str
    initial: bytes | None = None

    def __repr__(self) -> str:
        return f"Auth({self.mechanism!r}, ...)"  # a password must not reach a log through a traceback


class AuthResponse(msgspec.Struct, frozen=True):
    """The decoded answer to a 334; None: the peer cancelled (RFC 4954 §4, "*")."""

    response: bytes | None

    def __repr__(self) -> str:
        return "AuthResponse(None)" if self.response is None else "AuthResponse(...)"


class Xclient(msgspec.Struct, frozen=True):
    attributes: XclientAttributes


Defect = Literal["bare-cr", "bare-lf", "nul"]


class EndOfData(msgspec.Struct, frozen=True):
    """The dot of DATA was seen: the facts of the whole content.

    defects: what SMTP content must not hold (RFC 5321 §2.3.8, §4.5.2); such a message is refused, or an other
    server may see another end of it. octets: without the dot and its doublings. longest_line: octets without CRLF
    of the longest line if that is over 998, otherwise 0: shorter lines are not measured. has_8bit: any octet over
    0x7f.
    """

    octets: int = 0
    longest_line: int = 0
    has_8bit: bool = False
    defects: tuple[Defect, ...] = ()


class EndOfChunk(msgspec.Struct, frozen=True):
    """A BDAT chunk is complete. The facts are those of all chunks of the message so far, as in EndOfData."""

    last: bool
    octets: int = 0
    longest_line: int = 0
    has_8bit: bool = False
    defects: tuple[Defect, ...] = ()


class Malformed(msgspec.Struct, frozen=True):
    """A line that is no command, with the reply it gets.

    verb: the verb if it is one we know, else "". reason: for the operator, printable. is_fatal: what follows cannot
    be told from commands, or is not meant for a mail server: after the reply the connection closes.
    """

    verb: str
    reply: Reply
    reason: str
    is_fatal: bool = False


Command = (
    Helo
    | Ehlo
    | Lhlo
    | Mail
    | Rcpt
    | Data
    | Bdat
    | Rset
    | Noop
    | Quit
    | Vrfy
    | Expn
    | Help
    | StartTls
    | Auth
    | AuthResponse
    | Xclient
    | EndOfData
    | EndOfChunk
)
