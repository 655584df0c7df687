"""POP3 replies as values: `+OK` or `-ERR`, a response code, text (RFC 1939 §3, RFC 2449 §3, RFC 3206).

Not here: the lines that follow a multi-line reply (`listing`, `multiline`).
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from gatepost.mail.reply import Reply as SmtpReply
from gatepost.mail.text import printable

MAX_REPLY_OCTETS: Final = 512  # RFC 2449 §4, CRLF included

Code = Literal["", "IN-USE", "LOGIN-DELAY", "SYS/TEMP", "SYS/PERM", "AUTH", "UTF8"]
"""Extended response codes: RFC 2449 §8.1, RFC 3206 §4, RFC 6856 §5."""

_CREDENTIALS: Final = frozenset((530, 534, 535, 538))  # RFC 4954 §6; 530: log in or start TLS first


class Reply(msgspec.Struct, frozen=True):
    """The first line of an answer.

    code: a program reads it; "" for none. text: for a person. id: the event that tells the whole story, printed last
    as `(ID)`; "" for none.
    """

    is_positive: bool
    text: str
    code: Code = ""
    id: str = ""

    def with_id(self, event_id: str) -> Reply:
        """The same reply that quotes `event_id`."""
        return Reply(self.is_positive, self.text, self.code, event_id)

    def __str__(self) -> str:
        """Without the line end, as the record shows it; printable ASCII whatever the text holds."""
        words = ["+OK" if self.is_positive else "-ERR"]
        if self.code:
            words.append(f"[{self.code}]")
        if self.text:
            # A unique ID may hold a backslash and must leave as it is; what is printable needs no escaping here.
            is_clean = self.text.isascii() and self.text.isprintable()
            words.append(self.text if is_clean else printable(self.text, MAX_REPLY_OCTETS))
        end = f" ({self.id})" if self.id else ""
        return " ".join(words)[: MAX_REPLY_OCTETS - 2 - len(end)] + end

    def encode(self) -> bytes:
        """The octets for the wire: one line, never over 512 octets, with no octet of a peer unescaped."""
        return f"{self}\r\n".encode("ascii")


def ok(text: str = "") -> Reply:
    """A positive reply."""
    return Reply(True, text)


def err(text: str, code: Code = "") -> Reply:
    """A negative reply."""
    return Reply(False, text, code)


def from_smtp(reply: SmtpReply) -> Reply:
    """The same refusal in POP3's words: policies speak SMTP (RFC 3206 says which code stands for what)."""
    if reply.is_positive:
        return Reply(True, reply.text, "", reply.id)
    code: Code = "SYS/PERM"
    if reply.code in _CREDENTIALS:
        code = "AUTH"
    elif reply.is_transient:
        code = "SYS/TEMP"
    elif reply.code < 510:  # the command was wrong, not the account and not the system (RFC 5321 §4.2.1)
        code = ""
    return Reply(False, reply.text, code, reply.id)
