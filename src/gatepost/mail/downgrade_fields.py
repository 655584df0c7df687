"""One header field with UTF-8 in it (RFC 6532) made ASCII, for readers that know nothing else.

Addresses as RFC 6858 has them, text and MIME parameters as RFC 6857 (see docs/adr/0009). Not here: where the fields of
a message are (`mail.downgrade`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

from gatepost.mail.address import AddressError, Path
from gatepost.mail.header_address import HeaderAddressError, parse_address_list

UNREACHABLE: Final = "internationalized-address@downgraded.invalid"
"""Stands for an address that no old program can write to; nobody has it (RFC 2606 §2), so an answer fails at once."""

MAX_LINE_CHARACTERS: Final = 76  # RFC 2047 §2: of a line with encoded words
_WORD_CHARACTERS: Final = 75 - len("=?UTF-8?Q??=")  # of encoded text in one encoded word (RFC 2047 §2)
_PARAMETER_CHARACTERS: Final = 60  # of one piece of a parameter: a line holds name, piece and quotes

_ADDRESSES: Final = frozenset(
    b"from sender reply-to to cc bcc resent-from resent-sender resent-reply-to resent-to resent-cc resent-bcc"
    b" disposition-notification-to return-path".split()
)
_PARAMETERS: Final = frozenset((b"content-type", b"content-disposition"))
# RFC 6857 §3.2 keeps what these said under another name: no encoded word may stand where they have an ID or an address.
_RENAMED: Final = frozenset(
    b"message-id resent-message-id in-reply-to references original-recipient final-recipient".split()
)
# Grammar that has no room for an encoded word; RFC 6858 §3.4 takes them out.
_DROPPED: Final = frozenset(
    b"date resent-date mime-version content-transfer-encoding content-id content-location received dkim-signature"
    b" arc-seal arc-message-signature arc-authentication-results authentication-results received-spf list-id list-help"
    b" list-unsubscribe list-unsubscribe-post list-subscribe list-post list-owner list-archive".split()
)

_BLANKS: Final = re.compile(r"([ \t]+)")
_NAME: Final = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:")
_IN_PHRASE: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")
_Q_SAFE: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")  # RFC 2047 §5 (3)
_PARAMETER: Final = re.compile(r'([^\s;="]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;"]*)')
_FOR_CLAUSE: Final = re.compile(r"[ \t]+for[ \t]+<[^>]*>", re.IGNORECASE)


def downgraded_field(field: bytes) -> bytes:
    """`field` in ASCII, in lines of its own; b"" for one that cannot be said in ASCII.

    field: the octets of one field, line ends (CRLF) included. One that is ASCII, or not UTF-8 (an old charset, which
    old programs may even show), comes back as it is.
    """
    if field.isascii():
        return field
    try:
        text = field.decode("utf-8-sig")  # a byte order mark is no part of a name
    except UnicodeDecodeError:
        return field
    field = text.encode()
    match = _NAME.match(field)
    if match is None:
        return b""
    name = match.group(1).decode("ascii")
    value = _unfolded(field[match.end() :].decode())
    kind = match.group(1).lower()
    if value.isascii():
        return field  # all that was beyond ASCII is gone
    if kind in _ADDRESSES:
        body = _addresses(value, is_path=kind == b"return-path")
    elif kind in _PARAMETERS:
        body = _with_parameters(value)
    elif kind in _RENAMED:
        name, body = f"Downgraded-{name}", encoded_text(value, len(name) + 13)
    elif kind == b"received" and (without := _FOR_CLAUSE.sub("", value)).isascii():
        body = encoded_text(without, len(name) + 2)  # RFC 6857 §3.1.4: the rest of the trace is worth keeping
    elif kind in _DROPPED:
        return b""
    else:
        body = encoded_text(value, len(name) + 2)
    return f"{name}: {body}\r\n".encode("ascii") if body else b""


def encoded_text(text: str, used: int = 0) -> str:
    """Unstructured `text` with encoded words where it is not ASCII (RFC 2047), folded. used: of the first line."""
    return _folded(list(_encoded_runs(text, lambda word: word.isascii())), used)


def encoded_phrase(text: str, used: int = 0) -> str:
    """The same for a display name: what no atom may hold is encoded too (RFC 2047 §5 (3))."""
    return _folded(list(_encoded_runs(text, lambda word: _IN_PHRASE.fullmatch(word) is not None)), used)


def _unfolded(value: str) -> str:
    return value.replace("\r\n", "").replace("\r", " ").replace("\n", " ").replace("\0", "").strip(" \t")


def _encoded_runs(text: str, stays: Callable[[str], bool]) -> Iterator[str]:
    """Words, encoded or as they are. Neighbours that must be encoded become one text: readers drop the blank between
    two encoded words (RFC 2047 §6.2), so it has to be inside."""
    run: list[str] = []
    parts = _BLANKS.split(text)
    for place in range(0, len(parts), 2):
        word = parts[place]
        if not word:
            continue
        if stays(word):
            yield from _encoded_words("".join(run))
            run.clear()
            yield word
            continue
        if run:
            run.append(parts[place - 1])
        run.append(word)
    yield from _encoded_words("".join(run))


def _encoded_words(text: str) -> Iterator[str]:
    """`text` as encoded words of UTF-8, each whole characters, in the shorter of the two encodings."""
    if not text:
        return
    in_q = [_q(character) for character in text]
    is_q = sum(map(len, in_q)) <= (len(text.encode()) + 2) // 3 * 4
    piece, length = "", 0
    for character, quoted in zip(text, in_q, strict=True):
        more = len(quoted) if is_q else len(character.encode())
        if piece and length + more > (_WORD_CHARACTERS if is_q else _WORD_CHARACTERS // 4 * 3):
            yield _encoded_word(piece, is_q)
            piece, length = "", 0
        piece += character
        length += more
    yield _encoded_word(piece, is_q)


def _q(character: str) -> str:
    if character in _Q_SAFE:
        return character
    return "_" if character == " " else "".join(f"={octet:02X}" for octet in character.encode())


def _encoded_word(text: str, is_q: bool) -> str:
    if is_q:
        return f"=?UTF-8?Q?{''.join(map(_q, text))}?="
    return f"=?UTF-8?B?{base64.b64encode(text.encode()).decode('ascii')}?="


def _folded(words: list[str], used: int) -> str:
    lines = ""
    for place, word in enumerate(words):
        if place and used + 1 + len(word) > MAX_LINE_CHARACTERS:
            lines, used = f"{lines}\r\n", 0
        lines += f" {word}" if place else word
        used += len(word) + (place > 0)
    return lines


# Addresses (RFC 6858 §3.1)


def _addresses(value: str, *, is_path: bool) -> str:
    entries = [
        (entry.strip() if entry.isascii() else _entry(entry, sign, is_path=is_path)) + sign.strip()
        for entry, sign in _entries(value)
    ]
    return "\r\n ".join(entry for entry in entries if entry)


def _entries(value: str) -> Iterator[tuple[str, str]]:
    """What the commas, and the colon and semicolon of groups, set apart, each with that sign behind it."""
    depth, start, at = 0, 0, 0
    is_quoted = is_in_angle = False  # or in the brackets of an address literal
    while at < len(value):
        sign = value[at]
        if sign == "\\":
            at += 1
        elif sign == '"' and not depth:
            is_quoted = not is_quoted
        elif is_quoted:
            pass
        elif sign in "()":
            depth = max(0, depth + (1 if sign == "(" else -1))
        elif depth:
            pass
        elif sign in "<>[]":
            is_in_angle = sign in "<["
        elif sign in ",:;" and not is_in_angle:
            yield value[start:at], sign
            start = at + 1
        at += 1
    yield value[start:], ""


def _entry(entry: str, sign: str, *, is_path: bool) -> str:
    """One entry that is not ASCII: the name of a group, or a mailbox."""
    if sign == ":":
        return encoded_phrase(_plain(entry))
    try:
        found = parse_address_list(entry.encode()).mailboxes
    except HeaderAddressError:
        found = ()
    if len(found) != 1:
        return _unreachable(_plain(entry), is_path=is_path)
    name, path = found[0].name or _comment(entry), found[0].path
    try:
        path = Path(path.local_part, path.ascii_domain)
    except AddressError:
        return _unreachable(_plain(entry), is_path=is_path)
    if not path.is_ascii:
        return _unreachable(f"{name} <{found[0].path}>" if name else f"{found[0].path}", is_path=is_path)
    return f"{encoded_phrase(name)} <{path}>" if name and not is_path else f"<{path}>"


def _unreachable(text: str, *, is_path: bool) -> str:
    return f"<{UNREACHABLE}>" if is_path else f"{encoded_phrase(text)} <{UNREACHABLE}>"


def _plain(text: str) -> str:
    """Words to be shown, without the quotes of a quoted string."""
    return " ".join(re.sub(r'\\(.)|"', r"\1", text).split())


def _comment(entry: str) -> str:
    """The name in `ada@example.org (Ada)`, as old programs write it."""
    match = re.search(r"\(([^()\\]*)\)[ \t]*\Z", entry)
    return match.group(1).strip() if match else ""


# Parameters (RFC 2231, RFC 6857 §3.1.7)


def _with_parameters(value: str) -> str:
    main, _semicolon, rest = value.partition(";")
    if not main.isascii():
        return ""
    parts = [main.strip()]
    for match in _PARAMETER.finditer(rest):
        name, text = match.group(1), match.group(2).strip()
        if match.group().isascii():
            parts.append(f"{name}={text}")
        elif name.isascii() and "*" not in name:
            parts += _extended(name, re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text)
    return ";\r\n ".join(parts)


def _extended(name: str, text: str) -> list[str]:
    """One parameter in the encoding of RFC 2231 §4, in several pieces where it is long (§3)."""
    pieces = [""]
    for character in text:
        more = quote(character, safe="")
        if len(pieces[-1]) + len(more) > _PARAMETER_CHARACTERS:
            pieces.append("")
        pieces[-1] += more
    if len(pieces) == 1:
        return [f"{name}*=UTF-8''{pieces[0]}"]
    pieces[0] = f"UTF-8''{pieces[0]}"
    return [f"{name}*{place}*={piece}" for place, piece in enumerate(pieces)]
