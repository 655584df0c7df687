"""Delivery status notifications as octets: RFC 3464 reports in multipart/report (RFC 6522), in words and in fields.

Pure: what happened comes as values, the finished message leaves. Not here: whether one is due and to whom it goes
(`delivery.notices`), and the words on a status code (`mail.dsn_text`).
"""

from __future__ import annotations

import quopri
import re
from datetime import datetime
from typing import Final, Literal

import msgspec

from gatepost.mail.address import Path
from gatepost.mail.dsn_text import SUBJECTS, explanation, section_title, wrapped
from gatepost.mail.text import printable
from gatepost.mail.trace import date

Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]
ORDER: Final[tuple[Action, ...]] = ("failed", "delayed", "delivered", "relayed", "expanded")  # worst first
MAX_DIAGNOSTIC: Final = 800  # characters of what a next hop said: enough for every honest one
_MAX_FIELD: Final = 900  # an unfolded line stays below RFC 5322 §2.1.1's 998
_PLAIN: Final = re.compile(r"[\x20-\x7e]*\Z")
_MESSAGE_ID: Final = re.compile(rb"^message-id:[ \t]*(?:\r\n[ \t]+)?(<[!-;=?-~]{1,250}>)[ \t]*\r$", re.I | re.M)
_UTF8_XTEXT: Final = re.compile(r"[^\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e]")  # RFC 6533 §3: QCHAR, less "+=\\"
_ATOM: Final = re.compile(r"[A-Za-z0-9.-]{1,40}\Z")


class RecipientReport(msgspec.Struct, frozen=True):
    """What became of one recipient.

    status: enhanced code ("5.1.1"). orcpt: as in the envelope. remote: the name of the host that spoke, "" when it was
    us. diagnostic: its reply, with the code. retry_until: for "delayed", when we shall give up.
    """

    path: Path
    action: Action
    status: str
    orcpt: str = ""
    remote: str = ""
    diagnostic: str = ""
    retry_until: datetime | None = None


class Report(msgspec.Struct, frozen=True):
    """One notification. to: the reverse-path of the message, not null. id, dsn_id: entry IDs of the message and of
    this report. header: the message's header section, CRLF. whole: the message with it, None to return the header
    only. smtputf8: the message's envelope needed it. Times are aware."""

    hostname: str
    to: Path
    id: str
    dsn_id: str
    arrived_at: datetime
    now: datetime
    recipients: tuple[RecipientReport, ...]
    header: bytes
    whole: bytes | None = None
    envid: str = ""
    smtputf8: bool = False


def compose(report: Report) -> bytes:
    """The message: CRLF, lines of 78 octets or so, 7 bits but for a To field with a non-ASCII address.

    The order is RFC 6522's: words for a person, fields for a program, what is returned of the message. A message with
    8-bit octets is returned by its header only, encoded: not every path back carries 8 bits (RFC 6152 §3).
    """
    parts = [_words(report), _status(report), _returned(report)]
    boundary = _boundary(report.dsn_id, parts)
    delimiter = b"--" + boundary.encode()
    body = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts)
    intro = b"This is a delivery report in several parts (RFC 3464).\r\n\r\n"
    return _header(report, boundary) + b"\r\n" + intro + body + delimiter + b"--\r\n"


def needs_smtputf8(to: Path) -> bool:
    """Whether a report to `to` needs SMTPUTF8: its To field does, the parts never do."""
    return not to.is_ascii


def _header(report: Report, boundary: str) -> bytes:
    worst = min((recipient.action for recipient in report.recipients), key=ORDER.index)
    fields = [
        f"From: Mail delivery <MAILER-DAEMON@{report.hostname}>",
        f"To: <{report.to}>",
        f"Subject: {SUBJECTS[worst]}",
        f"Date: {date(report.now)}",
        f"Message-ID: <{report.dsn_id}@{report.hostname}>",
        "Auto-Submitted: auto-replied",  # RFC 3834 §5: nobody's holiday notice answers it
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    ]
    if found := _MESSAGE_ID.search(report.header):
        original = found.group(1).decode("ascii")
        fields[5:5] = [f"In-Reply-To: {original}", f"References: {original}"]
    return "".join(f"{field}\r\n" for field in fields).encode()


def _words(report: Report) -> bytes:
    """The first part: what happened, to whom, and what the reader can do."""
    lines = [f"This is the mail server {report.hostname}.", ""]
    for action in ORDER:
        concerned = [recipient for recipient in report.recipients if recipient.action == action]
        if not concerned:
            continue
        lines += [*wrapped(section_title(action)), ""]
        for recipient in concerned:
            lines += [f"  <{_shown(recipient.path, report.smtputf8)}>"]
            lines += wrapped(explanation(action, recipient.status, recipient.retry_until), "    ")
            if recipient.diagnostic:
                speaker = f"{printable(recipient.remote)} answered" if recipient.remote else "The details"
                lines += wrapped(f"{speaker}: {printable(recipient.diagnostic, MAX_DIAGNOSTIC)}", "    ")
            lines += [""]
    lines += wrapped(
        f"Your message came in on {date(report.arrived_at)} and has the number {report.id} here. "
        f"Whoever writes to postmaster@{report.hostname} about it should quote that number."
    )
    text = "".join(f"{line}\r\n" for line in lines)
    if text.isascii():
        return b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + text.encode()
    return b"Content-Type: text/plain; charset=utf-8\r\n" + _quoted_printable(text.encode())


def _status(report: Report) -> bytes:
    """The second part: message/delivery-status, or RFC 6533's for a message that was SMTPUTF8."""
    groups = [[f"Reporting-MTA: dns; {report.hostname}", f"Arrival-Date: {date(report.arrived_at)}"]]
    if report.envid:  # RFC 3464 §2.2.1: only when the sender gave one
        groups[0][0:0] = [f"Original-Envelope-Id: {printable(report.envid, _MAX_FIELD)}"]
    groups += [_recipient_fields(recipient, report) for recipient in report.recipients]
    text = "\r\n".join("".join(f"{_folded(field)}\r\n" for field in group) for group in groups)
    if not report.smtputf8:
        return b"Content-Type: message/delivery-status\r\n\r\n" + text.encode("ascii")
    return b"Content-Type: message/global-delivery-status\r\n" + _quoted_printable(text.encode())


def _recipient_fields(recipient: RecipientReport, report: Report) -> list[str]:
    fields = []
    kind, separator, original = recipient.orcpt.partition(";")
    if separator and _ATOM.match(kind):
        fields.append(f"Original-Recipient: {kind};{_typed(original, kind, report.smtputf8)}")
    kind = "rfc822" if recipient.path.is_ascii else "utf-8"
    fields += [
        f"Final-Recipient: {kind};{_typed(str(recipient.path), kind, report.smtputf8)}",
        f"Action: {recipient.action}",
        f"Status: {recipient.status}",
    ]
    if recipient.remote:
        fields.append(f"Remote-MTA: dns; {printable(recipient.remote)}")
    if recipient.diagnostic:
        kind = "smtp" if recipient.remote else "x-gatepost"
        fields.append(f"Diagnostic-Code: {kind}; {printable(recipient.diagnostic, MAX_DIAGNOSTIC)}")
    if recipient.action in ("failed", "delayed"):
        fields.append(f"Last-Attempt-Date: {date(report.now)}")
    if recipient.retry_until is not None:
        fields.append(f"Will-Retry-Until: {date(recipient.retry_until)}")
    fields.append(f"Final-Log-ID: {report.id}")
    return fields


def _returned(report: Report) -> bytes:
    """The third part: the message, or its header section."""
    whole = report.whole
    if whole is not None and whole.isascii():
        return b"Content-Type: message/rfc822\r\n\r\n" + whole
    header = report.header
    if report.smtputf8:
        return b"Content-Type: message/global-headers\r\n" + _quoted_printable(header)
    if header.isascii():
        return b"Content-Type: text/rfc822-headers\r\n\r\n" + header
    return b"Content-Type: text/rfc822-headers\r\n" + _quoted_printable(header)


def _shown(path: Path, unicode_allowed: bool) -> str:
    text = str(path)
    return text if _PLAIN.match(text) or (unicode_allowed and text.isprintable()) else printable(text)


def _typed(address: str, kind: str, unicode_allowed: bool) -> str:
    """An address for Original- or Final-Recipient: nothing in it ends a line (RFC 6533 §3 for non-ASCII ones)."""
    if kind.lower() == "utf-8" and not (unicode_allowed and address.isprintable()):
        return _UTF8_XTEXT.sub(lambda match: f"\\x{{{ord(match.group()):X}}}", address)[:_MAX_FIELD]
    if unicode_allowed and address.isprintable():
        return address
    return address if _PLAIN.match(address) else printable(address, _MAX_FIELD)


def _folded(field: str) -> str:
    """The field on lines of 78 characters where it has blanks to fold at (RFC 5322 §2.2.3)."""
    lines = []
    while len(field) > 78:
        at = field.rfind(" ", 1, 78)
        at = at if field[:at].strip() and at > 0 else field.find(" ", 78)
        if at < 0 or not field[at:].strip():
            break
        lines.append(field[:at])
        field = field[at:]
    return "\r\n".join([*lines, field])


def _quoted_printable(octets: bytes) -> bytes:
    encoded = quopri.encodestring(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + encoded


def _boundary(seed: str, parts: list[bytes]) -> str:
    """A boundary that no part contains. Without it a message could forge parts of the report about it."""
    number, boundary = 0, f"=_{seed}"
    while any(boundary.encode() in part for part in parts):
        number += 1
        boundary = f"=_{seed}_{number}"
    return boundary
