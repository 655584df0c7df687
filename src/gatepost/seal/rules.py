"""Sealing at the gate, as rules: who writes to whom, and whether that is to be encrypted. Pure.

Not here: whether there is a key (`seal.discovery`), and what is refused where there is none
(`policy.checks.seal_required`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from gatepost.mail.address import Path
from gatepost.mail.address_pattern import matches
from gatepost.mail.header import HeaderSection
from gatepost.mail.units import AddressPatternText
from gatepost.seal.model import Kind, SigningKey

SealMode = Literal["off", "opportunistic", "required"]
SealKind = Literal["any", "pgp", "smime"]
KINDS: Final[dict[SealKind, tuple[Kind, ...]]] = {"any": ("openpgp", "smime"), "pgp": ("openpgp",), "smime": ("smime",)}


class HeaderMatch(msgspec.Struct, frozen=True, kw_only=True):
    """A field that the message has. name: lower case. contains: somewhere in one of its values, letter case does not
    count; "" for any value."""

    name: str = ""
    contains: str = ""

    def matches(self, header: HeaderSection) -> bool:
        """Whether `header` has it."""
        wanted = self.contains.lower()
        values = header.values(self.name.lower().encode())
        return any(wanted in value.decode("utf-8", "replace").lower() for value in values)


class SealRule(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[seal.rule]]`. It is about a message from one of `senders` (the reverse-path) to one of `recipients` (as
    in the envelope) with `header`, where that is given.

    off: left in clear. opportunistic: encrypted if there is a key. required: encrypted, or refused. kind: what will do.
    sign: by the key of the sender's domain. hide_subject: the outer Subject becomes "[...]".
    """

    name: str = ""
    senders: tuple[AddressPatternText, ...] = ("*",)
    recipients: tuple[AddressPatternText, ...] = ("*",)
    header: HeaderMatch | None = None
    mode: SealMode = "opportunistic"
    kind: SealKind = "any"
    sign: bool = False
    hide_subject: bool = True


class SealSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What `[seal]` says about the gate. signers: the private keys of our domains, by domain (A-labels)."""

    rules: tuple[SealRule, ...] = ()
    signers: dict[str, tuple[SigningKey, ...]] = {}


def rule_for(
    rules: Sequence[SealRule], reverse_path: Path, recipient: Path, header: HeaderSection | None
) -> SealRule | None | Literal["open"]:
    """The first rule that is about it, None for none.

    header: None before the message has come; "open" then, where the first rule that could be about it names a field.
    """
    for rule in rules:
        if not matches(recipient, rule.recipients) or not matches(reverse_path, rule.senders):
            continue
        if rule.header is None:
            return rule
        if header is None:
            return "open"
        if rule.header.matches(header):
            return rule
    return None
