"""Tag lists, "v=1; a=rsa-sha256; ...": the form of a DKIM-Signature and of a key record (RFC 6376 §3.2)."""

from __future__ import annotations

import re
from typing import Final

from gatepost.mail.text import printable

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_BLANKS: Final = " \t\r\n"
_SQUEEZED: Final = str.maketrans("", "", _BLANKS)


class TagError(ValueError):
    """It is no tag list; the message says why, for the operator."""


def parse_tags(text: str) -> dict[str, str]:
    """The values by tag, without the blanks around them. One mistake, or a tag that stands twice, makes the whole list
    invalid (§3.2). Raises TagError."""
    specs = text.split(";")
    if not specs[-1].strip(_BLANKS):
        specs.pop()
    tags: dict[str, str] = {}
    for spec in specs:
        name, sign, value = spec.partition("=")
        name = name.strip(_BLANKS)
        if not sign or _NAME.fullmatch(name) is None:
            raise TagError(f"'{printable(spec.strip(_BLANKS), 60)}' is no tag with a value")
        if name in tags:
            raise TagError(f"the tag {name}= stands twice")
        tags[name] = value.strip(_BLANKS)
    return tags


def squeezed(value: str) -> str:
    """`value` without its blanks, which may stand anywhere in base64 and in lists."""
    return value.translate(_SQUEEZED)


def listed(value: str) -> tuple[str, ...]:
    """The words of a list with colons, lower case."""
    return tuple(squeezed(value).lower().split(":"))


def without_signature(field: bytes) -> bytes:
    """A DKIM-Signature field as it was signed: the value of "b=" is empty, with the blanks around it, and the line end
    is gone (§3.7). It has been read before, so that there is one such tag."""
    name, _, value = field.removesuffix(b"\r\n").partition(b":")
    specs = value.split(b";")
    for at, spec in enumerate(specs):
        tag, sign, _ = spec.partition(b"=")
        if sign and tag.strip(b" \t\r\n") == b"b":
            specs[at] = tag + b"="
    return name + b":" + b";".join(specs)
