"""What DKIM says about one signature, as a value (RFC 6376 §6, RFC 8601 §2.7.1). Not here: how it comes about
(`verify.dkim`)."""

from __future__ import annotations

from typing import Literal

import msgspec

DkimWord = Literal["none", "pass", "fail", "neutral", "temperror", "permerror"]


class DkimResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether `domain` answers for the message.

    result: "fail" where the content or the signature is not what was signed, or it has expired; "neutral" where the
    signature cannot be read; "permerror" where its key or what it signs is not good enough; "temperror" where the key
    cannot be had now. domain: A-labels ("d="). identity: "i=", "" for none. key_bits: 0 where there is no key. signed:
    names of the fields that were signed and are there, lower case, one for each field. unsigned_octets: of the
    canonical body, behind what "l=" has signed. mark: the first characters of the signature, which tell it from
    others of the same domain (RFC 6008). is_testing: the domain says that it is only trying, so that a pass proves
    nothing (§3.6.1). reason: for the operator, why it is not a pass, or what there is to know about it.
    """

    result: DkimWord
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    key_bits: int = 0
    canonicalization: str = ""
    signed: tuple[str, ...] = ()
    unsigned_octets: int = 0
    mark: str = ""
    is_testing: bool = False
    reason: str = ""

    def proves(self, domain: str) -> bool:
        """Whether it is a pass by `domain` (lower case, A-labels) or by one that it is below."""
        is_aligned = domain == self.domain or domain.endswith(f".{self.domain}")
        return self.result == "pass" and not self.is_testing and bool(self.domain) and is_aligned
