"""Addresses as header fields hold them (RFC 5322 §3.4, RFC 6532): mailboxes with phrases, comments and groups.

Encoded words (RFC 2047) are left as they are: they may stand in a phrase and say nothing about an address. Not here:
the paths of the envelope (`mail.address`), and what an address may be used for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from gatepost.mail.address import AddressError, Path, parse_mailbox

MAX_VALUE_OCTETS: Final = 16384  # hundreds of authors; reading it takes 10 ms at worst
MAX_MAILBOXES: Final = 1000

# One step through a value. Controls other than TAB fit nowhere, so a reader cannot be led on behind a CR or NUL.
_TOKEN = re.compile(
    r"(?P<blank>[ \t]+)"
    r'|(?P<quoted>"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*")'
    r"|(?P<literal>\[[^\[\]\\\x00-\x20\x7f]*\])"
    r"|(?P<atom>[^ \t\"()<>@,:;\\\[\]\x00-\x1f\x7f]+)"
    r"|(?P<special>[<>@,:;])"
)
_IN_COMMENT = re.compile(r"[^()\\\x00-\x08\x0a-\x1f\x7f]+")

Kind = Literal["atom", "quoted", "literal", "special", "blank"]


class HeaderAddressError(ValueError):
    """The value is no list of addresses; the message says what is wrong, without quoting the value."""


class HeaderMailbox(msgspec.Struct, frozen=True):
    """One mailbox. name: the phrase before the angle brackets, "" without one."""

    name: str
    path: Path


class AddressList(msgspec.Struct, frozen=True):
    """What a field names. mailboxes: in order, those of groups too. in_phrases: addresses that stand unquoted where a
    name should (`ada@example.org <bob@example.org>`): no grammar has them, programs write them and readers show them.
    nameless: entries without any address (`root`, `<>`, an empty group)."""

    mailboxes: tuple[HeaderMailbox, ...]
    in_phrases: tuple[Path, ...] = ()
    nameless: int = 0


class _Token(msgspec.Struct, frozen=True):
    kind: Kind
    text: str

    def is_special(self, sign: str) -> bool:
        return self.kind == "special" and self.text == sign


def parse_address_list(value: bytes) -> AddressList:
    """The addresses in the unfolded `value` of From, Sender, To and their like.

    Groups are opened up (RFC 6854 lets them stand in From), empty entries are passed over (§4.4), comments dropped.
    Raises HeaderAddressError, never anything else; takes time in proportion to the length.
    """
    if len(value) > MAX_VALUE_OCTETS:
        raise HeaderAddressError(f"the field is longer than {MAX_VALUE_OCTETS} octets")
    reader = _Reader()
    # What is no UTF-8 may be a name in an old charset; in an address it becomes one that nobody has.
    for token in _tokens(value.decode("utf-8", "replace")):
        reader.take(token)
    return reader.finish()


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text)
    while at < end:
        if text[at] == "(":
            at = _comment_end(text, at)
            yield _Token("blank", " ")
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise HeaderAddressError(_what_is_wrong(text[at]))
        at = match.end()
        yield _Token(match.lastgroup, match.group())  # type: ignore[arg-type]  # the groups are the kinds


def _comment_end(text: str, at: int) -> int:
    """Behind the comment that opens at `at`; comments nest (§3.2.2), to any depth."""
    depth = 0
    while at < len(text):
        sign = text[at]
        if sign == "(":
            depth, at = depth + 1, at + 1
        elif sign == ")":
            depth, at = depth - 1, at + 1
            if not depth:
                return at
        elif sign == "\\":
            at += 2
        elif (run := _IN_COMMENT.match(text, at)) is not None:
            at = run.end()
        else:
            raise HeaderAddressError("a control character in a comment")
    raise HeaderAddressError("a comment does not end")


def _what_is_wrong(sign: str) -> str:
    match sign:
        case '"':
            return "a quoted string does not end"
        case "[":
            return "an address literal is malformed"
        case ")" | "]" | "\\":
            return f"a {sign} that belongs to nothing"
        case _:
            return "a control character"


class _Reader:
    """Takes tokens, one entry of the list after the other. Invariant: `_words` are those since the last entry."""

    def __init__(self) -> None:
        self._mailboxes: list[HeaderMailbox] = []
        self._in_phrases: list[Path] = []
        self._nameless = 0
        self._words: list[_Token] = []
        self._angle: list[_Token] | None = None  # what stands in angle brackets, None outside of them
        self._has_angle = False  # this entry had its angle brackets
        self._in_group = False
        self._before_group = 0

    def take(self, token: _Token) -> None:
        if self._angle is not None:
            self._take_in_angle(token)
        elif token.kind == "special" and token.text != "@":
            self._take_special(token.text)
        elif token.kind != "blank" and self._has_angle:
            raise HeaderAddressError("something follows the angle brackets")
        else:
            self._words.append(token)

    def finish(self) -> AddressList:
        if self._angle is not None:
            raise HeaderAddressError("the closing angle bracket is missing")
        # A group whose semicolon is missing at the very end is understood alike by every reader.
        self._end_entry()
        return AddressList(tuple(self._mailboxes), tuple(self._in_phrases), self._nameless)

    def _take_special(self, sign: str) -> None:
        match sign:
            case "<":
                if self._has_angle:
                    raise HeaderAddressError("a second address in angle brackets")
                self._angle, self._has_angle = [], True
            case ">":
                raise HeaderAddressError("a closing angle bracket without an opening one")
            case ":":
                if self._in_group or self._has_angle or not _has_text(self._words):
                    raise HeaderAddressError("a colon that begins no group")
                self._phrase_only(self._words)
                self._words, self._in_group = [], True
                self._before_group = len(self._mailboxes) + self._nameless
            case ";":
                if not self._in_group:
                    raise HeaderAddressError("a semicolon that ends no group")
                self._end_entry()
                self._in_group = False
                self._nameless += self._before_group == len(self._mailboxes) + self._nameless
            case _:
                self._end_entry()

    def _take_in_angle(self, token: _Token) -> None:
        assert self._angle is not None  # the caller looked
        if token.is_special("<"):
            raise HeaderAddressError("angle brackets in angle brackets")
        if not token.is_special(">"):
            self._angle.append(token)
            return
        inside, self._angle = self._angle, None
        inside = _without_route(inside)
        if any(each.is_special("@") for each in inside):
            self._add(HeaderMailbox(_phrase(self._words), _path(inside)))
        else:
            self._nameless += 1
        self._phrase_only(self._words)

    def _phrase_only(self, words: list[_Token]) -> None:
        """`words` are a name; one that is an address too is kept as such."""
        if any(each.is_special("@") for each in words):
            self._in_phrases.append(_path(words))

    def _end_entry(self) -> None:
        words, self._words = self._words, []
        had_angle, self._has_angle = self._has_angle, False
        if had_angle or not _has_text(words):
            return
        if any(each.is_special("@") for each in words):
            self._add(HeaderMailbox("", _path(words)))
        else:
            self._nameless += 1

    def _add(self, mailbox: HeaderMailbox) -> None:
        if len(self._mailboxes) >= MAX_MAILBOXES:
            raise HeaderAddressError(f"the field names more than {MAX_MAILBOXES} mailboxes")
        self._mailboxes.append(mailbox)


def _has_text(words: list[_Token]) -> bool:
    return any(each.kind != "blank" for each in words)


def _phrase(words: list[_Token]) -> str:
    return " ".join("".join(_unquoted(each) if each.kind != "blank" else " " for each in words).split())


def _unquoted(token: _Token) -> str:
    return re.sub(r"\\(.)", r"\1", token.text[1:-1]) if token.kind == "quoted" else token.text


def _without_route(inside: list[_Token]) -> list[_Token]:
    """Without an obsolete source route `@a,@b:` in front (§4.4)."""
    colons = [place for place, token in enumerate(inside) if token.is_special(":")]
    if not colons:
        return inside
    first = next((token for token in inside if token.kind != "blank"), None)
    if len(colons) > 1 or first is None or not first.is_special("@"):
        raise HeaderAddressError("a colon inside an address")
    return inside[colons[0] + 1 :]


def _path(words: list[_Token]) -> Path:
    """The mailbox that `words` spell: one address, with blanks at its dots and its @ at most (§4.4)."""
    ats = [place for place, token in enumerate(words) if token.is_special("@")]
    if len(ats) != 1 or any(token.kind == "special" and token.text != "@" for token in words):
        raise HeaderAddressError("an address is malformed")
    local_part = _joined(words[: ats[0]], ("atom", "quoted"))
    domain = _joined(words[ats[0] + 1 :], ("atom", "literal"))
    try:
        return parse_mailbox(f"{Path(local_part, domain)}")
    except AddressError as error:
        raise HeaderAddressError(f"an address is malformed: {error}") from error


def _joined(words: list[_Token], kinds: tuple[Kind, ...]) -> str:
    """Words that dots join, as one text without quotes. Two words side by side are no part of an address."""
    text, may_join = "", True
    for token in words:
        if token.kind == "blank":
            continue
        if token.kind not in kinds or not (may_join or token.text.startswith(".")):
            raise HeaderAddressError("an address is malformed")
        text += _unquoted(token)
        may_join = token.kind == "atom" and token.text.endswith(".")
    if not text and not any(token.kind == "quoted" for token in words):
        raise HeaderAddressError("an address is malformed: a part of it is missing")
    return text
