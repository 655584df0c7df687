"""From a line to a command, or to the ready-made 5yz reply that refuses it.

Not here: which command is legal when (`server_states`), where a line ends (`framing`), and what anybody may do
(`policy`).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from typing import Final

from gatepost.mail.address import AddressError, Path, parse_path
from gatepost.mail.envelope import Recipient
from gatepost.mail.reply import Reply
from gatepost.mail.text import printable
from gatepost.protocol.smtp.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Data,
    Ehlo,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Malformed,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
    Xclient,
)
from gatepost.protocol.smtp.limits import MAX_MECHANISM_CHARACTERS
from gatepost.protocol.smtp.parameters import (
    MAIL_PARAMETERS,
    RCPT_PARAMETERS,
    Dialect,
    ParameterError,
    parse_parameters,
)
from gatepost.protocol.smtp.xclient import XclientError, parse_attributes


def parse_command(line: bytes, dialect: Dialect) -> Command | Malformed:
    """The command in `line` (without its CRLF), or the reply that refuses it. Raises nothing, whatever the octets.

    Blanks at the end of a line are ignored (RFC 5321 §4.1.1), at its beginning they are not.
    """
    head, _, argument = line.partition(b" ")
    parse = _VERBS.get(head)
    if parse is None:
        head = head.rstrip(b"\t").upper()
        parse = _VERBS.get(head)
        if parse is None:
            return _unknown(head)
    try:
        return parse(argument.rstrip(b" \t").decode("utf-8"), dialect)
    except UnicodeDecodeError:
        reply = _NOT_UTF8.get(head, Reply(501, "5.5.2", "Syntax error: the line is neither ASCII nor UTF-8"))
        verb = head.decode("ascii")
        return Malformed(verb, reply, f"{verb} with an argument that is neither ASCII nor UTF-8", head == b"BDAT")


def parse_response(line: bytes) -> AuthResponse | Malformed:
    """The answer to a 334 challenge: base64, possibly empty, or "*" (RFC 4954 §4)."""
    if line == b"*":
        return AuthResponse(None)
    octets = _base64(line)
    if octets is None:
        return Malformed("AUTH", _BAD_BASE64, "the AUTH response is no base64")
    return AuthResponse(octets)


_BAD_BASE64: Final = Reply(501, "5.5.2", "Cannot decode the response")  # RFC 4954 §4
_BAD_HELO: Final = Reply(501, "5.5.4", "Syntax: HELO, EHLO or LHLO, and the name of the client")
_UNRECOGNIZED: Final = Reply(500, "5.5.2", "Command not recognized")
_NOT_IMPLEMENTED: Final = Reply(502, "5.5.1", "Command not implemented")
_NEEDS_SMTPUTF8: Final = Reply(553, "5.6.7", "A non-ASCII address needs SMTPUTF8")  # RFC 6531 §3.5
_NOT_UTF8: Final = {
    b"MAIL": Reply(501, "5.1.7", "The reverse-path is neither ASCII nor UTF-8"),
    b"RCPT": Reply(501, "5.1.3", "The forward-path is neither ASCII nor UTF-8"),
}


def _unknown(head: bytes) -> Malformed:
    """No argument is quoted: a client out of step sends its password as a command."""
    verb = head.decode("ascii", "replace")
    if verb in _RETIRED:
        return Malformed(verb, _NOT_IMPLEMENTED, f"{verb} is not implemented")
    if verb in _OTHER_PROTOCOLS:
        # A browser can be made to post mail commands to our port; the first line gives it away.
        return Malformed("", _UNRECOGNIZED, f"{verb} is a command of HTTP, not of SMTP", is_fatal=True)
    return Malformed("", _UNRECOGNIZED, f"unknown command {printable(head, 20)}")


_RETIRED: Final = frozenset(("TURN", "ATRN", "ETRN", "SEND", "SOML", "SAML", "BURL", "XFORWARD"))
_OTHER_PROTOCOLS: Final = frozenset(("GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "PRI"))


def _greeting_name(verb: str, argument: str) -> str | Malformed:
    if not argument:
        return Malformed(verb, _BAD_HELO, f"{verb} without a name")
    return argument if argument.isascii() and argument.isprintable() else printable(argument, 255)


def _helo(argument: str, dialect: Dialect) -> Helo | Malformed:
    if dialect.lmtp:
        return Malformed("HELO", _UNRECOGNIZED, "HELO on an LMTP listener")  # RFC 2033 §4.1
    name = _greeting_name("HELO", argument)
    return Helo(name) if isinstance(name, str) else name


def _ehlo(argument: str, dialect: Dialect) -> Ehlo | Malformed:
    if dialect.lmtp:
        return Malformed("EHLO", _UNRECOGNIZED, "EHLO on an LMTP listener")
    name = _greeting_name("EHLO", argument)
    return Ehlo(name) if isinstance(name, str) else name


def _lhlo(argument: str, dialect: Dialect) -> Lhlo | Malformed:
    if not dialect.lmtp:
        return Malformed("LHLO", _UNRECOGNIZED, "LHLO on an SMTP listener")
    name = _greeting_name("LHLO", argument)
    return Lhlo(name) if isinstance(name, str) else name


def _path(verb: str, word: str, argument: str, dialect: Dialect, null_allowed: bool) -> tuple[Path, str] | Malformed:
    """The path after `FROM:` or `TO:`, and the parameters behind it with their leading blank."""
    at = len(word)
    if argument[:at].upper() != word:
        return Malformed(verb, Reply(501, "5.5.4", f"Syntax: {verb} {word}<address>"), f"{verb} without {word}")
    if argument[at : at + 1] == " ":
        if dialect.strict:
            reply = Reply(501, "5.5.4", f"Syntax: {verb} {word}<address>, without a blank after the colon")
            return Malformed(verb, reply, f"a blank after {word}")
        argument = argument[at:].lstrip(" ")
        at = 0
    try:
        return parse_path(argument[at:], null_allowed=null_allowed, strict=dialect.strict)
    except AddressError as error:
        esc = "5.1.7" if null_allowed else "5.1.3"
        return Malformed(verb, Reply(501, esc, f"Bad address syntax: {error}"), f"{error}: {printable(argument)}")


def _mail(argument: str, dialect: Dialect) -> Mail | Malformed:
    parsed = _path("MAIL", "FROM:", argument, dialect, null_allowed=True)
    if isinstance(parsed, Malformed):
        return parsed
    path, rest = parsed
    try:
        command = Mail(path, **parse_parameters(rest, MAIL_PARAMETERS, dialect)) if rest else Mail(path)
    except ParameterError as error:
        return Malformed("MAIL", error.reply, str(error))
    if not command.smtputf8 and not path.is_ascii:
        return Malformed("MAIL", _NEEDS_SMTPUTF8, f"a reverse-path without SMTPUTF8: {printable(str(path))}")
    return command


def _rcpt(argument: str, dialect: Dialect) -> Rcpt | Malformed:
    parsed = _path("RCPT", "TO:", argument, dialect, null_allowed=False)
    if isinstance(parsed, Malformed):
        return parsed
    path, rest = parsed
    try:
        recipient = Recipient(path, **parse_parameters(rest, RCPT_PARAMETERS, dialect)) if rest else Recipient(path)
    except ParameterError as error:
        return Malformed("RCPT", error.reply, str(error))
    if not (dialect.smtputf8 and dialect.extended) and not path.is_ascii:
        return Malformed("RCPT", _NEEDS_SMTPUTF8, f"a forward-path without SMTPUTF8: {printable(str(path))}")
    return Rcpt(recipient)


_CHUNK: Final = re.compile(r"([0-9]{1,19})(?: +(LAST))?", re.ASCII | re.IGNORECASE)


def _bdat(argument: str, dialect: Dialect) -> Bdat | Malformed:
    if not (dialect.chunking and dialect.extended):
        return Malformed("BDAT", _NOT_IMPLEMENTED, "BDAT, which is not offered", is_fatal=True)
    match = _CHUNK.fullmatch(argument)
    if match is None:
        # Where the chunk ends is unknown, so its content would be read as commands: that is smuggling.
        reply = Reply(501, "5.5.4", "Syntax: BDAT octets [LAST]")
        return Malformed("BDAT", reply, f"BDAT with {printable(argument)!r}", is_fatal=True)
    return Bdat(int(match.group(1)), match.group(2) is not None)


def _query(verb: str, argument: str, dialect: Dialect) -> tuple[str, bool] | Malformed:
    smtputf8 = False
    if dialect.smtputf8 and dialect.extended and argument[-9:].upper() == " SMTPUTF8":  # RFC 6531 §3.7.4.2
        argument, smtputf8 = argument[:-9].rstrip(" "), True
    if not argument:
        return Malformed(verb, Reply(501, "5.5.4", f"Syntax: {verb} string"), f"{verb} without a string")
    if not (smtputf8 or argument.isascii()):
        return Malformed(verb, _NEEDS_SMTPUTF8, f"{verb} of non-ASCII text without SMTPUTF8")
    return argument, smtputf8


def _vrfy(argument: str, dialect: Dialect) -> Vrfy | Malformed:
    query = _query("VRFY", argument, dialect)
    return query if isinstance(query, Malformed) else Vrfy(*query)


def _expn(argument: str, dialect: Dialect) -> Expn | Malformed:
    query = _query("EXPN", argument, dialect)
    return query if isinstance(query, Malformed) else Expn(*query)


def _help(argument: str, _: Dialect) -> Help:
    return Help(printable(argument))


def _noop(_: str, __: Dialect) -> Noop:
    return Noop()  # RFC 5321 §4.1.1.9: a string may follow and is ignored


def _auth(argument: str, dialect: Dialect) -> Auth | Malformed:
    mechanism, blank, initial = argument.partition(" ")
    if not dialect.extended or _MECHANISM.fullmatch(mechanism) is None or (blank and not initial):
        return Malformed("AUTH", Reply(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]"), "AUTH syntax")
    if not blank:
        return Auth(mechanism.upper())
    octets = b"" if initial == "=" else _base64(initial.encode())
    if octets is None:
        return Malformed("AUTH", _BAD_BASE64, "the initial response of AUTH is no base64")
    return Auth(mechanism.upper(), octets)


_MECHANISM: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_MECHANISM_CHARACTERS}}}")


def _base64(text: bytes) -> bytes | None:
    if len(text) % 4:
        return None  # binascii lets "QUJD=" pass
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None


def _xclient(argument: str, dialect: Dialect) -> Xclient | Malformed:
    if not dialect.xclient:
        return Malformed("XCLIENT", _UNRECOGNIZED, "XCLIENT, which is not offered here")
    try:
        return Xclient(parse_attributes(argument))
    except XclientError as error:
        return Malformed("XCLIENT", Reply(501, "5.5.4", str(error)), str(error))


def _alone(command: Data | Rset | Quit | StartTls, verb: str) -> Callable[[str, Dialect], Command | Malformed]:
    """The parser of a command that takes no argument; it is one value for every time it is said."""
    refusal = Malformed(verb, Reply(501, "5.5.4", f"{verb} takes no argument"), f"{verb} with an argument")

    def parse(argument: str, _: Dialect) -> Command | Malformed:
        return refusal if argument else command

    return parse


_VERBS: Final[dict[bytes, Callable[[str, Dialect], Command | Malformed]]] = {
    b"HELO": _helo,
    b"EHLO": _ehlo,
    b"LHLO": _lhlo,
    b"MAIL": _mail,
    b"RCPT": _rcpt,
    b"DATA": _alone(Data(), "DATA"),
    b"BDAT": _bdat,
    b"RSET": _alone(Rset(), "RSET"),
    b"NOOP": _noop,
    b"QUIT": _alone(Quit(), "QUIT"),
    b"VRFY": _vrfy,
    b"EXPN": _expn,
    b"HELP": _help,
    b"STARTTLS": _alone(StartTls(), "STARTTLS"),
    b"AUTH": _auth,
    b"XCLIENT": _xclient,
}
