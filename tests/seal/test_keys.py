from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID
from pysequoia.packet import PacketPile
from tests.seal import scene
from tests.seal.scene import NOW

from gatepost.seal.keys import check_key
from gatepost.seal.model import RecipientKey, Refused

BOB = "bob@example.net"


def code(material, address=BOB, now=NOW):
    found = check_key(material, address, now)
    if isinstance(found, Refused):
        assert address.lower() in found.reason
        return found.code
    return found.algorithm


def certificate(**options):
    return scene.der(scene.certificate(BOB, options.pop("key", None) or scene.private_key("p256"), **options))


CERTIFICATES = [
    ({}, "secp256r1"),
    ({"end": NOW - timedelta(hours=1)}, "expired"),
    ({"start": NOW + timedelta(hours=1)}, "not_yet_valid"),
    ({"usage": scene.SIGNS_ONLY}, "no_encryption"),
    ({"purpose": ExtendedKeyUsageOID.SERVER_AUTH}, "no_encryption"),
    ({"key": rsa.generate_private_key(65537, 1024)}, "short"),
    ({"key": scene.private_key("ed25519")}, "algorithm"),
    ({"key": x25519.X25519PrivateKey.generate()}, "algorithm"),
    ({"digest": hashes.SHA224}, "weak_hash"),
]


@pytest.mark.parametrize(("options", "expected"), CERTIFICATES, ids=[expected for _, expected in CERTIFICATES])
def test_a_certificate_is_taken_or_refused_for_a_reason(options, expected):
    assert code(certificate(**options)) == expected


def test_a_certificate_of_another_kind_of_key_is_told_which_are_taken():
    found = check_key(certificate(key=x25519.X25519PrivateKey.generate()), BOB, NOW)
    assert isinstance(found, Refused)
    assert found.reason.endswith(
        "has a key (X25519) that nothing can be encrypted to here; RSA and P-256 to P-521 are taken"
    )


def test_a_key_must_carry_the_address_it_was_looked_up_for():
    assert code(certificate(), "carol@example.net") == "no_address"
    assert code(bytes(scene.pgp_key(BOB).extract_certificate()), "carol@example.net") == "no_address"
    assert code(bytes(scene.pgp_key(BOB).extract_certificate()), "BOB@Example.NET") == "ecdh"


def test_an_openpgp_key_that_expired_or_was_revoked_is_refused():
    key = scene.pgp_key(BOB, validity_seconds=86400)
    public = key.extract_certificate()
    assert code(bytes(public)) == "ecdh"
    assert code(bytes(public), now=NOW + timedelta(days=2)) == "expired"
    assert code(bytes(public) + bytes(public.revoke(key.certifier()))) == "revoked"
    revoked = public.revoke_user_id(public.user_ids[0], key.certifier())
    packets = list(PacketPile.from_bytes(bytes(public)))
    at = next(place for place, packet in enumerate(packets) if packet.user_id)
    assert code(b"".join(map(bytes, packets[: at + 1])) + bytes(revoked) + b"".join(map(bytes, packets[at + 1 :]))) in (
        "revoked", "malformed",
    )  # fmt: skip


def test_a_private_key_is_not_taken_for_a_public_one():
    assert code(bytes(scene.pgp_key(BOB))) == "secret"


def test_only_the_user_id_of_the_address_is_kept():
    import pysequoia

    key = pysequoia.Tsk.generate(user_ids=[f"Bob <{BOB}>", "Bob at home <private@example.com>"])
    found = check_key(bytes(key.extract_certificate()), BOB, NOW)
    assert isinstance(found, RecipientKey)
    assert b"private@example.com" not in found.material
    assert found.fingerprint == key.extract_certificate().fingerprint.lower()


JUNK = [b"", b"x", b"\x30\x80", b"\x99\x01\x0d\x04", bytes(range(256)), b"-----BEGIN CERTIFICATE-----\n"]


@pytest.mark.parametrize("junk", JUNK)
def test_what_is_no_key_is_malformed(junk):
    assert code(junk) == "malformed"
    key = bytes(scene.pgp_key(BOB).extract_certificate())
    for at in range(0, len(key), 7):
        check_key(key[:at], BOB, NOW)
