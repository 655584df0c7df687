"""Patterns of addresses, as rules name them: one address, a domain, a domain with all below it, or everybody."""

from __future__ import annotations

from collections.abc import Iterable

from gatepost.mail.address import AddressError, Path, parse_mailbox, to_ascii_domain

EVERYBODY = "*"


def parse_pattern(text: str) -> str:
    """`text` in its normal form, lower case with A-labels: "ada@example.org", "*@example.org" (the domain),
    "*@*.example.org" (every domain below it) or "*". Raises AddressError that says what is allowed."""
    text = text.strip()
    if text == EVERYBODY:
        return text
    local_part, at, domain = text.rpartition("@")
    below = domain.startswith("*.")
    try:
        if not at or (below and local_part != "*"):
            raise AddressError("it is neither an address nor a domain")
        if local_part != "*":
            path = parse_mailbox(text)
            return f"{path.local_part.lower()}@{path.ascii_domain}"
        name = parse_mailbox(f"any@{domain[2:] if below else domain}").ascii_domain
    except AddressError as error:
        raise AddressError(f'{error}; write "ada@example.org", "*@example.org", "*@*.example.org" or "*"') from None
    return f"*@*.{name}" if below else f"*@{name}"


def matches(path: Path, patterns: Iterable[str]) -> bool:
    """Whether one of `patterns`, each in its normal form, means `path`. Letter case does not count; the null path is
    meant by "*" alone, and so is `<postmaster>`."""
    patterns = tuple(patterns)
    if EVERYBODY in patterns:
        return True
    if not path.domain:
        return False
    try:
        domain = to_ascii_domain(path.domain)
    except AddressError:
        return False
    return f"{path.local_part.lower()}@{domain}" in patterns or any(_is_domain(domain, each) for each in patterns)


def _is_domain(domain: str, pattern: str) -> bool:
    if pattern.startswith("*@*."):
        return domain.endswith(pattern[3:])
    return pattern == f"*@{domain}"
