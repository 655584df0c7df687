"""What SPF says about a peer, as a value (RFC 7208 §2.6). Not here: how it comes about (`verify.spf`)."""

from __future__ import annotations

from typing import Literal

import msgspec

SpfWord = Literal["none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"]
Identity = Literal["mailfrom", "helo"]


class SpfResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether `domain` lets the peer send.

    All texts are short, and can be shown as they are. domain: A-labels, that of the reverse-path, or of the greeting
    where the path is null (`identity`). mechanism: the term that matched, as it is written in the record of `found_at`,
    "" where none did. lookups: terms that the DNS was asked for, of ten. reason: for the operator, why it is not a
    pass. explanation: what the domain says about a fail; it is a stranger's text, ASCII. has_dmarc: there is a DMARC
    record for the domain, or that cannot be known now; it is looked for after a fail only. names_sender: the result may
    be another for another local part.
    """

    result: SpfWord
    domain: str
    identity: Identity = "mailfrom"
    mechanism: str = ""
    found_at: str = ""
    lookups: int = 0
    reason: str = ""
    explanation: str = ""
    has_dmarc: bool = False
    names_sender: bool = False
