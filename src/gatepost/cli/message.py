"""A message as local programs write it, into one that can be sent: line ends, missing fields, recipients in its header.

What is there already stays as it is, but for Bcc, which is removed, and a From without a domain, which gets ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.headerregistry import AddressHeader
from email.policy import default as policy
from email.utils import format_datetime, formataddr, parseaddr
from typing import TYPE_CHECKING, Final

from gatepost.cli.sysexits import DATA, SendmailError

if TYPE_CHECKING:
    from datetime import datetime

_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:")
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")  # a progress bar in cron's output is lines, not a mail that is refused
_MBOX: Final = re.compile(rb">?From [^\n]*\n")
RECIPIENT_FIELDS: Final = ("to", "cc", "bcc")

Fields = list[tuple[str, bytes]]
"""Name in lower case, and the whole field with its line ends (LF)."""


class Message:
    """The fields and the body of a message; lines end in LF until `octets`."""

    def __init__(self, text: bytes, *, dots: bool) -> None:
        """text: as it came. dots: a line with a single dot ends it."""
        text = _LINE_END.sub(b"\n", text).replace(b"\0", b"")
        if dots:
            text = re.split(rb"(?m)^\.$\n?", text, maxsplit=1)[0]
        if mbox := _MBOX.match(text):
            text = text[mbox.end() :]
        self.fields, self._body = _split(text)

    def has(self, name: str) -> bool:
        return any(found == name for found, _ in self.fields)

    def recipients(self) -> list[str]:
        """The addresses in To, Cc and Bcc; in Resent-To, -Cc and -Bcc where there are such (RFC 5322 §3.6.6).

        Raises SendmailError for a field that cannot be understood.
        """
        names = tuple(f"resent-{name}" for name in RECIPIENT_FIELDS)
        if not any(self.has(name) for name in names):
            names = RECIPIENT_FIELDS
        return [address for name, field in self.fields if name in names for address in _addresses(name, field)]

    def complete(self, *, sender: str, name: str, hostname: str, message_id: str, now: datetime) -> None:
        """Adds From, Date and Message-ID where they are missing, and removes Bcc.

        sender: the address for From; name: the person's name, "" for none. now: aware, with the local offset.
        """
        self.fields = [field for field in self.fields if field[0] not in ("bcc", "resent-bcc")]
        self._qualify_from(hostname)
        name = "".join(character if character.isprintable() else " " for character in name)
        added = {
            "From": formataddr((name, sender)) if sender else "",
            "Date": format_datetime(now),
            "Message-ID": f"<{message_id}@{hostname}>",
        }
        for field, value in added.items():
            if value and not self.has(field.lower()):
                self.fields.append((field.lower(), f"{field}: {value}\n".encode()))

    def octets(self) -> bytes:
        """The whole, with CRLF line ends."""
        text = b"".join(field for _, field in self.fields) + b"\n" + self._body
        if not text.endswith(b"\n"):
            text += b"\n"
        return text.replace(b"\n", b"\r\n")

    def _qualify_from(self, hostname: str) -> None:
        """cron writes "From: root (Cron Daemon)", to which nobody elsewhere could answer."""
        for place, (name, field) in enumerate(self.fields):
            if name == "from":
                shown, address = parseaddr(_value(field))
                if address and "@" not in address:
                    self.fields[place] = (name, f"From: {formataddr((shown, f'{address}@{hostname}'))}\n".encode())


def _split(text: bytes) -> tuple[Fields, bytes]:
    """Header fields and body; a text that does not begin with a field is all body."""
    fields: Fields = []
    at = 0
    while at < len(text):
        end = text.find(b"\n", at) + 1 or len(text)
        line = text[at:end]
        if line == b"\n":
            return fields, text[end:]
        if line[:1] in b" \t" and fields:
            fields[-1] = (fields[-1][0], _ended(fields[-1][1]) + line)
        elif match := _FIELD.match(line):
            fields.append((match[1].decode("ascii").lower(), line))
        else:
            return _all_ended(fields), text[at:]  # the blank line before the body was forgotten
        at = end
    return _all_ended(fields), b""


def _ended(field: bytes) -> bytes:
    return field if field.endswith(b"\n") else field + b"\n"


def _all_ended(fields: Fields) -> Fields:
    return [(name, _ended(field)) for name, field in fields]


def _value(field: bytes) -> str:
    """Unfolded text; octets that are no UTF-8 become question marks, as no address has them."""
    return " ".join(field.partition(b":")[2].decode("utf-8", "replace").split())


def _addresses(name: str, field: bytes) -> Iterator[str]:
    value = _value(field)
    if not value:
        return
    try:
        header = policy.header_factory("to", value)
        assert isinstance(header, AddressHeader)
        found = [address.addr_spec for address in header.addresses]
    except Exception as error:  # the standard library's parser has raised IndexError and others on odd input
        raise SendmailError(f"the field {name.title()} cannot be understood: {value[:60]!r}", DATA) from error
    yield from (address for address in found if address and address != "<>")
