"""Whether a certificate leads to an authority that is believed (RFC 5280 §6, RFC 8550), as `cryptography` verifies it.

Not here: whether it was revoked, which needs a look-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

MAX_DEPTH = 8


def leads_to(
    certificate: x509.Certificate,
    between: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    now: datetime,
) -> bool:
    """Whether `certificate` may sign mail by the word of one of `anchors`, at `now`."""
    if not anchors:
        return False
    for_mail = ExtensionPolicy.permit_all().may_be_present(
        x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _is_for_mail
    ).may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)  # fmt: skip
    authority = ExtensionPolicy.webpki_defaults_ca()
    verifier = (
        PolicyBuilder()
        .store(Store(list(anchors)))
        .time(now)
        .max_chain_depth(MAX_DEPTH)
        .extension_policies(ca_policy=authority, ee_policy=for_mail)
        .build_client_verifier()
    )
    try:
        verifier.verify(certificate, list(between))
    except (VerificationError, ValueError):
        return False
    return True


def _is_for_mail(_policy: Policy, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    allowed = {ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if usage is not None and not allowed & set(usage):
        raise ValueError("the certificate is not for mail")


def _may_sign(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise ValueError("the certificate's key may not sign")
