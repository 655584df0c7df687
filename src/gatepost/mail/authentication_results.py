"""The field Authentication-Results (RFC 8601): written from the results of any methods, and recognised when a stranger
claims to be us. Not here: how the results came about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from gatepost.mail.dkim import DkimResult
from gatepost.mail.spf import SpfResult
from gatepost.mail.text import printable

NAME: Final = b"authentication-results"
MAX_VALUE: Final = 320  # characters of a property, as long as an address may be; a longer one is cut
MAX_REASON: Final = 300  # with what has to be quoted a line stays below 998 (RFC 5322 §2.1.1)
MAX_HEAD: Final = 1000  # ours, characters: where the name of who wrote it must be for it to be taken apart
LINE: Final = 78  # RFC 5322 §2.1.1
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+", re.ASCII)  # RFC 2045 §5.1
_ADDRESS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~/-]*@[A-Za-z0-9._-]+", re.ASCII)


class MethodResult(msgspec.Struct, frozen=True):
    """What one method found. method, result: registered words ("dkim", "pass"). reason: free text. properties: what
    was looked at, as ("header.d", "example.net"); those without a value are left out."""

    method: str
    result: str
    reason: str = ""
    properties: tuple[tuple[str, str], ...] = ()


def authentication_results(authserv_id: str, results: Iterable[MethodResult]) -> bytes:
    """The field, folded, with its CRLF. Nothing of what a stranger said can end a value, a line or a comment."""
    lines = [f"Authentication-Results: {authserv_id}"]
    found = False
    for each in results:
        found = True
        lines[-1] += ";"
        words = [f"{each.method}={each.result}"]
        if each.reason:
            words.append(f"reason={_quoted(printable(each.reason)[:MAX_REASON])}")
        words += [f"{name}={_value(value)}" for name, value in each.properties if value]
        lines += _folded(words)
    if not found:
        lines[-1] += "; none"
    return ("\r\n".join(lines) + "\r\n").encode("ascii", "replace")


def dkim_results(results: Iterable[DkimResult]) -> list[MethodResult]:
    """One for each signature (§2.7.1, RFC 6008), "none" where there is none."""
    found = [
        MethodResult(
            "dkim",
            each.result,
            "the domain is testing" if each.result == "pass" and each.is_testing else each.reason,
            (
                ("header.d", each.domain),
                ("header.s", each.selector),
                ("header.i", each.identity),
                ("header.a", each.algorithm),
                ("header.b", each.mark),
            ),
        )
        for each in results
    ]
    return found or [MethodResult("dkim", "none")]


def spf_result(found: SpfResult) -> MethodResult:
    """Of the domain that was asked (§2.7.2)."""
    name = "smtp.mailfrom" if found.identity == "mailfrom" else "smtp.helo"
    return MethodResult("spf", found.result, found.reason, ((name, found.domain),))


def claims(value: bytes, authserv_id: str) -> bool:
    """Whether an Authentication-Results field with this unfolded value says, to any reader, that `authserv_id` wrote it
    (§5). What cannot be taken apart does where the name is anywhere in it."""
    text = value.decode("utf-8", "replace").lower()
    name = authserv_id.lower()
    head = _before_results(text[:MAX_HEAD])
    found = text.replace("\\", "") if head is None else head
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", found, re.ASCII) is not None


def _before_results(text: str) -> str | None:
    """What stands before the first semicolon, without comments and quotes; None for what is malformed."""
    kept: list[str] = []
    depth, is_quoted, at = 0, False, 0
    while at < len(text):
        octet = text[at]
        if octet == "\\" and (depth or is_quoted):
            at += 1
            if is_quoted and not depth:
                kept.append(text[at : at + 1])
        elif octet == '"' and not depth:
            is_quoted = not is_quoted
        elif is_quoted:
            kept.append(octet)
        elif octet == "(":
            depth += 1
        elif octet == ")" and depth:
            depth -= 1
        elif octet == ";" and not depth:
            return "".join(kept)
        elif not depth:
            kept.append(octet)
        at += 1
    return None if depth or is_quoted or len(text) == MAX_HEAD else "".join(kept)


def _folded(words: list[str]) -> list[str]:
    """The words on lines that begin with a tab, as full as they get."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= LINE:
            lines[-1] += f" {word}"
        else:
            lines.append(f"\t{word}")
    return lines


def _value(value: str) -> str:
    """A token or an address as it is, anything else quoted."""
    text = printable(value, MAX_VALUE)[:MAX_VALUE]  # what is not printable becomes longer
    return text if _TOKEN.fullmatch(text) or _ADDRESS.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
