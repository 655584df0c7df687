"""POP3 commands as values, and the parser of a command line (RFC 1939, 2449, 2595, 5034, 6856).

Not here: where a line ends (`lines`), and whether a command is legal now (`server`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from gatepost.mail.text import printable
from gatepost.protocol.pop3.replies import Reply, err
from gatepost.protocol.sasl.exchange import decode_initial

_MECHANISM: Final = re.compile(rb"[A-Z0-9_-]{1,20}")  # RFC 4422 §3.1
_RANGE: Final = re.compile(rb"\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,8}")  # RFC 4647 §2.1
_NUMBER: Final = re.compile(rb"[0-9]{1,10}")


class Command(msgspec.Struct, frozen=True):
    """One well-formed command."""


class Capa(Command, frozen=True):
    """RFC 2449 §5."""


class User(Command, frozen=True):
    """name: as typed; empty is possible on no path."""

    name: str


class Pass(Command, frozen=True):
    """The password is everything behind the first blank: passwords may hold blanks (RFC 1939 §7)."""

    password: str

    def __repr__(self) -> str:
        """Without the password: values end up in logs."""
        return "Pass(...)"


class Auth(Command, frozen=True):
    """mechanism: upper case. initial: the decoded initial response (b"" for "="), None when there is none."""

    mechanism: str
    initial: bytes | None

    def __repr__(self) -> str:
        """Without the response."""
        return f"Auth({self.mechanism!r}, ...)"


class Mechanisms(Command, frozen=True):
    """AUTH without an argument: no RFC has it, but old clients ask so for the list of mechanisms."""


class AuthResponse(Command, frozen=True):
    """A line of a SASL exchange as it came, without CRLF; `protocol.sasl` reads it."""

    line: bytes

    def __repr__(self) -> str:
        """Without the line."""
        return "AuthResponse(...)"


class Stls(Command, frozen=True):
    """RFC 2595 §4."""


class Utf8(Command, frozen=True):
    """RFC 6856 §2."""


class Lang(Command, frozen=True):
    """RFC 6856 §3. range: the language that replies should have, None to ask which there are."""

    range: str | None


class Stat(Command, frozen=True):
    """Count and octets of the maildrop."""


class List(Command, frozen=True):
    """number: of the message, None for all."""

    number: int | None


class Uidl(Command, frozen=True):
    """number: of the message, None for all."""

    number: int | None


class Retr(Command, frozen=True):
    """The whole message."""

    number: int


class Top(Command, frozen=True):
    """The header and the first `lines` lines of the body."""

    number: int
    lines: int


class Dele(Command, frozen=True):
    """Mark for removal at QUIT."""

    number: int


class Rset(Command, frozen=True):
    """Unmark all."""


class Noop(Command, frozen=True):
    """Nothing."""


class Quit(Command, frozen=True):
    """The end, and in a transaction the removal of what is marked."""


class Malformed(msgspec.Struct, frozen=True):
    """What is no command. reply: ready to be sent. shown: the line for the record. is_fatal: close after it."""

    reply: Reply
    shown: str
    is_fatal: bool = False


ALL: Final = (
    *(Capa, User, Pass, Auth, Mechanisms, AuthResponse, Stls, Utf8, Lang),
    *(Stat, List, Uidl, Retr, Top, Dele, Rset, Noop, Quit),
)
"""Every command."""


def parse_command(line: bytes) -> Command | Malformed:
    """The command that `line` (without its CRLF) holds. Keywords in any letter case; no octets raise."""
    keyword, blank, argument = line.partition(b" ")
    verb = keyword.upper()
    parse = _PARSERS.get(verb)
    if parse is None:
        return Malformed(err("Unknown command"), verb.decode() if verb in _OF_OTHERS else "(unknown command)")
    if verb not in _TEXT:
        argument = argument.rstrip(b" ")  # a blank before the line end is a slip of many clients, and harms nobody
    result = parse(argument, bool(blank))
    if isinstance(result, str):
        return Malformed(err(result), f"{verb.decode()} ..." if verb in _SECRET else printable(line, 80))
    return result


def shown(command: Command) -> str:
    """The command for the record: nothing that helps to log in, and no name that may be a password typed too early."""
    match command:
        case Pass():
            return "PASS ..."
        case AuthResponse():
            return "..."
        case Auth(mechanism, initial):
            return f"AUTH {mechanism}" if initial is None else f"AUTH {mechanism} ..."
        case Mechanisms():
            return "AUTH"
        case User():
            return "USER ..."
        case Top(number, lines):
            return f"TOP {number} {lines}"
        case List(number) | Uidl(number) | Retr(number) | Dele(number):
            verb = type(command).__name__.upper()
            return verb if number is None else f"{verb} {number}"
        case Lang(range):
            return "LANG" if range is None else f"LANG {range}"
        case _:
            return type(command).__name__.upper()


# Each takes the argument and whether there was a blank before it, and gives a command or what is wrong.
_Parse = Callable[[bytes, bool], Command | str]


def _bare(make: Callable[[], Command]) -> _Parse:
    return lambda argument, _: "No argument is expected" if argument else make()


def _text(make: Callable[[str], Command]) -> _Parse:
    def parse(argument: bytes, _: bool) -> Command | str:
        if not argument:
            return "An argument is missing"
        try:
            return make(argument.decode("utf-8"))  # RFC 6856 §2.2
        except UnicodeDecodeError:
            return "The argument is no UTF-8"

    return parse


def _numbered(make: Callable[[int], Command]) -> _Parse:
    def parse(argument: bytes, _: bool) -> Command | str:
        return make(int(argument)) if _NUMBER.fullmatch(argument) else "A message number is expected"

    return parse


def _optionally_numbered(make: Callable[[int | None], Command]) -> _Parse:
    numbered = _numbered(make)
    return lambda argument, blank: numbered(argument, blank) if argument else make(None)


def _top(argument: bytes, _: bool) -> Command | str:
    number, _blank, lines = argument.partition(b" ")
    if not (_NUMBER.fullmatch(number) and _NUMBER.fullmatch(lines)):
        return "A message number and a number of lines are expected"
    return Top(int(number), int(lines))


def _lang(argument: bytes, _: bool) -> Command | str:
    if not argument:
        return Lang(None)
    return Lang(argument.decode("ascii")) if _RANGE.fullmatch(argument) else "A language tag or * is expected"


def _auth(argument: bytes, _: bool) -> Command | str:
    if not argument:
        return Mechanisms()
    mechanism, blank, text = argument.partition(b" ")
    mechanism = mechanism.upper()
    if not _MECHANISM.fullmatch(mechanism):
        return "The name of a SASL mechanism is expected"
    initial = decode_initial(text) if blank else None
    if blank and initial is None:
        return "The initial response is no base64"
    return Auth(mechanism.decode(), initial)


_PARSERS: Final[Mapping[bytes, _Parse]] = {
    b"CAPA": _bare(Capa),
    b"USER": _text(User),
    b"PASS": _text(Pass),
    b"AUTH": _auth,
    b"STLS": _bare(Stls),
    b"UTF8": _bare(Utf8),
    b"LANG": _lang,
    b"STAT": _bare(Stat),
    b"LIST": _optionally_numbered(List),
    b"UIDL": _optionally_numbered(Uidl),
    b"RETR": _numbered(Retr),
    b"TOP": _top,
    b"DELE": _numbered(Dele),
    b"RSET": _bare(Rset),
    b"NOOP": _bare(Noop),
    b"QUIT": _bare(Quit),
}
_TEXT: Final = frozenset((b"USER", b"PASS"))
# What is no command may be a password or a SASL response out of turn; only these are shown in the record.
_OF_OTHERS: Final = frozenset(
    b"APOP LAST RPOP XTND HELP HELO EHLO STARTTLS LOGIN CAPABILITY LOGOUT GET POST HEAD OPTIONS".split()
)
_SECRET: Final = frozenset((b"USER", b"PASS", b"AUTH"))
