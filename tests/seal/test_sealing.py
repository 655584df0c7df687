from __future__ import annotations

import pytest
from tests.seal import scene
from tests.seal.scene import BODY, MESSAGE, NOW

from gatepost.seal.detect import is_sealed
from gatepost.seal.model import Refused, Sealed, SealOptions
from gatepost.seal.opening import open_
from gatepost.seal.sealing import seal

OPTIONS = SealOptions(now=NOW)
BOB = "bob@example.net"
SMIME = ("rsa2048", "rsa3072", "p256", "p384", "p521")


def sealed(message, keys, signer=None, options=OPTIONS):
    result = seal(message, keys, signer, options)
    assert isinstance(result, Sealed), result
    return result.messages


def people(kind, address=BOB):
    return scene.pgp(address) if kind == "openpgp" else scene.smime(address, kind)


@pytest.mark.parametrize("kind", ["openpgp", *SMIME])
def test_what_is_sealed_comes_out_octet_for_octet_with_its_subject_and_its_author(kind):
    bob, ada = people(kind), people(kind, "ada@example.org")
    (message,) = sealed(MESSAGE, {BOB: bob.key}, ada.signing)
    assert b"Cardiff" not in message.octets
    assert b"Subject: [...]\r\n" in message.octets
    opened = open_(message.octets, [bob.secret], [ada.known()], NOW)
    assert opened.text is not None, opened.verdict.words()
    assert opened.text.partition(b"\r\n\r\n")[2] == BODY
    assert b"Subject: The offer to Cardiff\r\n" in opened.text
    assert b"hp=" not in opened.text
    verdict = opened.verdict
    assert (verdict.is_encrypted, verdict.signature, verdict.unprotected) == (True, "good", ())
    assert verdict.hidden == ("subject",)
    assert "Signed by ada@example.org" in verdict.words()
    assert "trusted because you compared its fingerprint" in verdict.words()


def test_every_profile_of_openpgp_keys_is_sealed_to_and_opened():
    import pysequoia as library

    for options in (
        {"cipher_suite": library.CipherSuite.RSA3k}, {"cipher_suite": library.CipherSuite.P256},
        {"profile": library.Profile.RFC9580},
        {"profile": library.Profile.RFC9580, "cipher_suite": library.CipherSuite.Cv448},
        {"profile": library.Profile.RFC9580, "cipher_suite": library.CipherSuite.MLDSA65_Ed25519},
    ):  # fmt: skip
        bob = scene.pgp_person(scene.pgp_key(BOB, **options), BOB)
        (message,) = sealed(MESSAGE, {BOB: bob.key})
        opened = open_(message.octets, [bob.secret], [], NOW)
        assert opened.text is not None
        assert opened.text.endswith(BODY)


@pytest.mark.parametrize("kind", ["openpgp", "p256"])
def test_recipients_of_the_header_share_a_message_and_each_hidden_one_has_their_own(kind):
    addresses = [BOB, "carol@example.net", "dan@example.com", "eve@example.com"]
    keys = {address: people(kind, address).key for address in addresses}
    message = MESSAGE.replace(b"\r\nSubject", b"\r\nCc: Carol@EXAMPLE.net\r\nBcc: dan@example.com\r\nSubject", 1)
    found = sealed(message, keys)
    assert [each.recipients for each in found] == [
        (BOB, "carol@example.net"), ("dan@example.com",), ("eve@example.com",),
    ]  # fmt: skip
    for each in found:
        assert each.keys == tuple(keys[address].fingerprint for address in each.recipients)
        assert b"dan@example.com" not in each.octets
    secrets = {address: people(kind, address).secret for address in addresses}
    assert open_(found[0].octets, [secrets["dan@example.com"]], [], NOW).text is None
    opened = open_(found[1].octets, [secrets["dan@example.com"]], [], NOW).text
    assert opened is not None
    assert b"bcc" not in opened.lower()


def test_recipients_with_keys_of_different_kinds_get_a_message_each():
    keys = {BOB: scene.pgp(BOB).key, "carol@example.net": scene.smime("carol@example.net").key}
    message = MESSAGE.replace(b"\r\nSubject", b"\r\nCc: carol@example.net\r\nSubject", 1)
    signers = [scene.pgp("ada@example.org").signing, scene.smime("ada@example.org").signing]
    found = sealed(message, keys, signers)
    assert [(each.kind, each.recipients, each.is_signed) for each in found] == [
        ("openpgp", (BOB,), True), ("smime", ("carol@example.net",), True),
    ]  # fmt: skip


def test_what_is_sealed_is_not_sealed_twice_and_keys_are_checked_at_the_moment_of_use():
    bob = scene.pgp(BOB)
    (message,) = sealed(MESSAGE, {BOB: bob.key})
    again = seal(message.octets, {BOB: bob.key}, None, OPTIONS)
    assert isinstance(again, Refused)
    assert again.code == "sealed"
    other = seal(MESSAGE, {"carol@example.net": bob.key}, None, OPTIONS)
    assert isinstance(other, Refused)
    assert other.code == "no_address"
    import msgspec

    old = scene.smime(BOB)
    late = seal(MESSAGE, {BOB: old.key}, None, SealOptions(now=NOW.replace(year=NOW.year + 3)))
    assert isinstance(late, Refused)
    assert late.code == "expired"
    forged = msgspec.structs.replace(bob.key, fingerprint="00" * 20)
    result = seal(MESSAGE, {BOB: forged}, None, OPTIONS)
    assert isinstance(result, Refused)
    assert result.code == "malformed"


def test_cbc_is_sealed_with_a_signature_only_and_opened_under_one_only():
    bob, ada = scene.smime(BOB), scene.smime("ada@example.org")
    options = SealOptions(now=NOW, cipher="aes-256-cbc")
    refused = seal(MESSAGE, {BOB: bob.key}, None, options)
    assert isinstance(refused, Refused)
    assert refused.code == "cipher"
    (message,) = sealed(MESSAGE, {BOB: bob.key}, ada.signing, options)
    assert b"smime-type=enveloped-data" in message.octets
    assert open_(message.octets, [bob.secret], [scene.anchor()], NOW).verdict.signature == "good"


def test_a_signature_of_another_address_proves_no_author():
    bob, eve = scene.pgp(BOB), scene.pgp("eve@example.com")
    (message,) = sealed(MESSAGE, {BOB: bob.key}, eve.signing)
    verdict = open_(message.octets, [bob.secret], [eve.known()], NOW).verdict
    assert verdict.signature == "untrusted"
    assert "belongs to another address" in verdict.words()
    verdict = open_(message.octets, [bob.secret], [eve.known(because="")], NOW).verdict
    assert verdict.signature == "untrusted"
    assert "nobody vouches for it" in verdict.words()


def test_a_certificate_is_believed_for_the_authority_behind_it_and_else_not():
    bob, ada = scene.smime(BOB), scene.smime("ada@example.org", "p256")
    (message,) = sealed(MESSAGE, {BOB: bob.key}, ada.signing)
    assert open_(message.octets, [bob.secret], [scene.anchor()], NOW).verdict.signature == "good"
    assert open_(message.octets, [bob.secret], [], NOW).verdict.signature == "untrusted"


def test_an_inner_author_that_nobody_signed_does_not_replace_the_outer_one():
    bob = scene.pgp(BOB)
    (message,) = sealed(MESSAGE, {BOB: bob.key})
    forged = message.octets.replace(b"From: Ada <ada@example.org>", b"From: Eve <eve@example.com>", 1)
    opened = open_(forged, [bob.secret], [], NOW)
    assert opened.text is not None
    assert b"From: Eve <eve@example.com>" in opened.text
    assert b"ada@example.org>" not in opened.text.replace(b"<1@example.org>", b"").partition(b"\r\n\r\n")[0]
    assert "no signature proves the inner one" in opened.verdict.words()


def test_fields_added_on_the_way_are_not_shown_as_the_authors():
    bob = scene.pgp(BOB)
    (message,) = sealed(MESSAGE, {BOB: bob.key})
    opened = open_(b"Reply-To: eve@example.com\r\n" + message.octets, [bob.secret], [], NOW)
    assert opened.text is not None
    assert b"eve@example.com" not in opened.text
    assert opened.verdict.unprotected == ("reply-to",)


@pytest.mark.parametrize("kind", ["openpgp", "rsa2048", "p256"])
def test_a_changed_ciphertext_never_yields_text(kind):
    import base64
    import re

    bob = people(kind)
    (message,) = sealed(MESSAGE, {BOB: bob.key})
    if kind == "openpgp":
        pattern = re.compile(rb"(-----BEGIN PGP MESSAGE-----\r\n\r\n)([A-Za-z0-9+/=\r\n]+?)(\r\n-----END)")
    else:
        pattern = re.compile(rb"(\r\n\r\n)([A-Za-z0-9+/=\r\n]+)()\Z")
    match = pattern.search(message.octets)
    assert match is not None
    data = base64.b64decode(re.sub(rb"\r\n=....\Z", b"", match[2]))
    released = 0
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x10
        octets = message.octets[: match.start(2)] + base64.encodebytes(bytes(changed)).replace(b"\n", b"\r\n")
        octets += message.octets[match.start(3) :]
        text = open_(octets, [bob.secret], [], NOW).text
        # Some octets carry nothing (a version, an identifier's form); what comes out is the whole text or none.
        assert text is None or text.endswith(BODY)
        released += text is not None
    assert released <= len(data) // 20
    for end in range(len(data) - 40, len(data)):
        octets = message.octets[: match.start(2)] + base64.encodebytes(data[:end]).replace(b"\n", b"\r\n")
        assert open_(octets + message.octets[match.start(3) :], [bob.secret], [], NOW).text is None


CLEAR = [
    MESSAGE,
    MESSAGE.replace(b"multipart/mixed", b"multipart/encrypted; protocol=application/pgp-encrypted"),
    b"Content-Type: text/plain\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nwcBM\r\n-----END PGP MESSAGE-----\r\n",
    b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n\r\nclear\r\n",
    b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"Y2xlYXI=\r\n",
]


@pytest.mark.parametrize("message", CLEAR)
def test_a_wrapper_around_clear_text_is_not_sealed(message):
    assert is_sealed(message) is None
    assert open_(message, [], [], NOW).text is None


def test_text_beside_or_inside_of_the_encrypted_part_makes_it_clear():
    import pysequoia as library

    (message,) = sealed(MESSAGE, {BOB: scene.pgp(BOB).key})
    assert is_sealed(message.octets) == "openpgp"
    head, _, body = message.octets.partition(b"\r\n\r\n")
    assert is_sealed(head + b"\r\n\r\nthe secret is out\r\n" + body) is None
    assert is_sealed(message.octets + b"the secret is out\r\n") is None
    start = message.octets.index(b"-----BEGIN")
    signed = library.sign(scene.pgp_key("ada@example.org").signer(), b"the secret is out").replace(b"\n", b"\r\n")
    end = message.octets.index(b"--=_", start)
    assert is_sealed(message.octets[:start] + signed + b"\r\n" + message.octets[end:]) is None


def test_hostile_octets_are_a_verdict_and_no_error():
    import random

    chance = random.Random(7)
    bob, carol = scene.pgp(BOB), scene.smime("carol@example.net")
    samples = [sealed(MESSAGE, {BOB: bob.key})[0].octets]
    signer = scene.smime("ada@example.org").signing
    samples.append(sealed(MESSAGE.replace(b"bob", b"carol"), {"carol@example.net": carol.key}, signer)[0].octets)
    for sample in samples:
        for _ in range(300):
            changed = bytearray(sample)
            for _ in range(chance.randrange(1, 12)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            text = open_(bytes(changed), [bob.secret, carol.secret], [scene.anchor()], NOW).text
            assert text is None or text.endswith(BODY)
            is_sealed(bytes(changed[: chance.randrange(len(changed))]))
