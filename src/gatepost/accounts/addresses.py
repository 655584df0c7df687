"""Addresses as keys: how an address is written where accounts, aliases and lists are looked up.

A key is `local-part@domain` in lower case with A-labels, the local part without quotes; "@domain" is a catch-all.
Letter case never tells two mailboxes apart here (RFC 5321 §2.4 leaves that to us), nor do A-labels and U-labels.
"""

from __future__ import annotations

from typing import Final

from gatepost.mail.address import AddressError, Path, parse_mailbox, to_ascii_domain

DETAIL: Final = "+"  # RFC 5233: `user+detail` belongs to `user`


def key_of(path: Path) -> str:
    """The key of a mailbox. Raises AddressError when the domain is not valid."""
    return f"{path.local_part.lower()}@{to_ascii_domain(path.domain)}"


def domain_of(key: str) -> str:
    """The domain of a key. The last `@` counts: a quoted local part may hold others."""
    return key.rpartition("@")[2]


def without_detail(key: str) -> str | None:
    """The key of `user` for `user+detail`, None when there is no detail (or nothing before it)."""
    local_part, _, domain = key.rpartition("@")
    user, plus, _ = local_part.partition(DETAIL)
    return f"{user}@{domain}" if plus and user else None


def path_of(text: str) -> Path:
    """The path that a key, or an address as a person writes it, stands for. Raises AddressError."""
    if any("\ud800" <= character <= "\udfff" for character in text):  # octets of a command line that were no UTF-8
        raise AddressError("the address is no text")
    try:
        return parse_mailbox(text)
    except AddressError:
        local_part, at, domain = text.rpartition("@")
        if not at or not local_part or '"' in local_part or "\\" in local_part:
            raise
        # A key has no quotes: "ada lovelace@example.org" comes back as the quoted string it was.
        return parse_mailbox(str(Path(local_part, domain)))


def parse_key(text: str, *, catch_all: bool = False) -> str:
    """The key of an address as a person writes it: `Ada@Example.ORG` is `ada@example.org`.

    catch_all: "@domain" is taken too. Raises AddressError, whose message says what is wrong.
    """
    text = text.strip()
    if catch_all and text.startswith("@"):
        return "@" + domain_of(key_of(path_of("any" + text)))
    return key_of(path_of(text))


def same_or_detail(key: str, owner: str) -> bool:
    """Whether `key` is `owner`, or `owner` with a detail."""
    return key == owner or without_detail(key) == owner
