"""The DNS record of a published key: OPENPGPKEY (RFC 7929) or SMIMEA (RFC 8162). Looking one up is in `lookups`."""

from __future__ import annotations

import base64

from gatepost.mail.dns_record import DnsRecord
from gatepost.seal.key_names import KeyPlaces
from gatepost.seal.port import PublishedKey


def record_of(key: PublishedKey) -> DnsRecord:
    """The record that shows `key`; of a certificate, all of it (DANE-EE, no digest: "3 0 0")."""
    places = KeyPlaces(key.address)
    until = f", valid until {key.valid_until:%Y-%m-%d}" if key.valid_until else ""
    remark = f"{key.address}: {key.fingerprint}{until}"
    if key.kind == "openpgp":
        data = base64.b64encode(key.material).decode("ascii")
        return DnsRecord(name=places.openpgpkey, type="OPENPGPKEY", data=data, remark=remark)
    return DnsRecord(name=places.smimea, type="SMIMEA", data=f"3 0 0 {key.material.hex()}", remark=remark)
