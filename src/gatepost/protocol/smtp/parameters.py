"""The parameters of MAIL and RCPT: one table each, from keyword to the reader of its value.

A parameter exists when its extension is offered (`Dialect`); otherwise it is unknown, as any other word would be.
Not here: the path before the parameters (`mail.address`), and what their values mean for a message (`policy`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from gatepost.mail.address import AddressError, parse_mailbox
from gatepost.mail.envelope import Notify
from gatepost.mail.reply import Reply
from gatepost.mail.text import printable
from gatepost.protocol.smtp.limits import MAX_ENVID_CHARACTERS, MAX_ORCPT_CHARACTERS, MAX_SIZE_DIGITS
from gatepost.protocol.smtp.xtext import decode_utf8_address, decode_xtext


class Dialect(msgspec.Struct, frozen=True, cache_hash=True):
    """What the parser takes: the protocol, how strict it is, and the extensions that are offered.

    lmtp: LHLO instead of HELO and EHLO. strict: False also takes paths without angle brackets, blanks after `FROM:`
    and `TO:`, and local parts over 64 octets, for peers known to be old, not hostile. extended: the peer said EHLO
    or LHLO; after HELO there are no parameters. The rest: the extensions, by their own names.
    """

    lmtp: bool = False
    strict: bool = True
    extended: bool = True
    size: bool = True
    eight_bit_mime: bool = True
    smtputf8: bool = True
    dsn: bool = True
    chunking: bool = True
    auth: bool = False
    xclient: bool = False


class ParameterError(ValueError):
    """A parameter is refused: `reply` goes to the peer, the text of the error to the operator."""

    def __init__(self, reply: Reply, reason: str) -> None:
        super().__init__(reason)
        self.reply = reply


_Reader = Callable[[str], Any]
ParameterTable = Mapping[str, tuple[str, str, _Reader]]  # keyword: the extension it belongs to, the field, the reader
_KEYWORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_VALUE: Final = re.compile(r"[!-<>-~\u0080-\U0010ffff]+")  # RFC 5321 §4.1.2 esmtp-value, RFC 6531 §3.3


def parse_parameters(text: str, table: ParameterTable, dialect: Dialect) -> dict[str, Any]:
    """The fields that the parameters in `text` set; `text` begins with a blank. Raises ParameterError."""
    fields: dict[str, Any] = {}
    for word in text.split(" ")[1:]:
        if not word:
            continue  # several blanks between parameters harm nobody
        keyword, equals, value = word.partition("=")
        name = keyword.upper()
        entry = table.get(name)
        if entry is None or not dialect.extended or not getattr(dialect, entry[0]):
            raise _refused_keyword(keyword, dialect)
        field = entry[1]
        if field in fields:
            raise _bad(f"{name} is given twice")
        if name == "SMTPUTF8":
            if equals:
                raise _bad("SMTPUTF8 has no value")
        elif _VALUE.fullmatch(value) is None:
            raise _bad(f"{name} needs a value without blanks and equal signs")
        fields[field] = entry[2](value)
    return fields


def _refused_keyword(keyword: str, dialect: Dialect) -> ParameterError:
    if _KEYWORD.fullmatch(keyword) is None:
        return _bad(f"{printable(keyword, 60)!r} is no parameter")
    why = "is not offered" if dialect.extended else "came after HELO, which has no parameters"
    reply = Reply(555, "5.5.4", f"Parameter {printable(keyword, 60)} not recognized or not implemented")
    return ParameterError(reply, f"parameter {printable(keyword, 60)} {why}")


def _bad(what: str) -> ParameterError:
    return ParameterError(Reply(501, "5.5.4", f"Syntax error in parameters: {what}"), what)


def _size(value: str) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > MAX_SIZE_DIGITS:
        raise _bad(f"SIZE is a number of at most {MAX_SIZE_DIGITS} digits")
    return int(value)


def _body(value: str) -> str:
    value = value.upper()
    if value == "BINARYMIME":
        raise ParameterError(Reply(555, "5.5.4", "BODY=BINARYMIME is not offered here"), "BINARYMIME is not offered")
    if value not in ("7BIT", "8BITMIME"):
        raise _bad("BODY is 7BIT or 8BITMIME")
    return value


def _smtputf8(_: str) -> bool:
    return True


def _ret(value: str) -> str:
    value = value.upper()
    if value not in ("FULL", "HDRS"):
        raise _bad("RET is FULL or HDRS")
    return value


def _envid(value: str) -> str:
    if len(value) > MAX_ENVID_CHARACTERS:
        raise _bad(f"ENVID is longer than {MAX_ENVID_CHARACTERS} characters")
    plain = decode_xtext(value)
    if plain is None or not (plain.isascii() and plain.isprintable()):
        raise _bad("ENVID is xtext that stands for printable ASCII")  # RFC 3461 §4.4: it goes into a header field
    return plain


def _auth(value: str) -> str:
    plain = decode_xtext(value) or ""
    if plain != "<>":
        try:
            parse_mailbox(plain)
        except AddressError as error:
            raise _bad("AUTH is <> or a mailbox in xtext") from error
    return plain


def _notify(value: str) -> tuple[str, ...]:
    events = tuple(value.upper().split(","))
    if len(set(events)) != len(events) or not set(events) <= _EVENTS:
        raise _bad("NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY")
    if "NEVER" in events and len(events) > 1:
        raise _bad("NOTIFY=NEVER stands alone")
    return events


def _orcpt(value: str) -> str:
    if len(value) > MAX_ORCPT_CHARACTERS:
        raise _bad(f"ORCPT is longer than {MAX_ORCPT_CHARACTERS} characters")
    kind, semicolon, address = value.partition(";")
    if not semicolon or not address or _ADDRESS_TYPE.fullmatch(kind) is None:
        raise _bad("ORCPT is an address type, a semicolon and an address in xtext")
    if kind.lower() == "utf-8":
        plain = decode_utf8_address(address)
    else:
        plain = decode_xtext(address)
        if plain is not None and not (plain.isascii() and plain.isprintable()):
            plain = None  # it goes into Original-Recipient as it is: nothing in it may end a line
    if plain is None:
        raise _bad("the address of ORCPT is no xtext, or stands for something unprintable")
    return f"{kind};{plain}"


_EVENTS: Final[frozenset[Notify]] = frozenset(("NEVER", "SUCCESS", "FAILURE", "DELAY"))
_ADDRESS_TYPE: Final = re.compile(r"[!#$%&'*+/0-9?A-Z^_`a-z{|}~-]+")  # atom, RFC 3461 §4.2

MAIL_PARAMETERS: Final[ParameterTable] = {
    "SIZE": ("size", "size", _size),
    "BODY": ("eight_bit_mime", "body", _body),
    "SMTPUTF8": ("smtputf8", "smtputf8", _smtputf8),
    "RET": ("dsn", "ret", _ret),
    "ENVID": ("dsn", "envid", _envid),
    "AUTH": ("auth", "auth", _auth),
}
RCPT_PARAMETERS: Final[ParameterTable] = {
    "NOTIFY": ("dsn", "notify", _notify),
    "ORCPT": ("dsn", "orcpt", _orcpt),
}
