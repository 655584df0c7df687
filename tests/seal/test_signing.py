"""Signing without encryption: what is signed stays readable, is fit for every hop, and a changed octet is told."""

from __future__ import annotations

import email
import email.policy
from datetime import timedelta

import msgspec
import pytest
from tests.seal.scene import MESSAGE, NOW, Person, anchor, pgp, smime

from gatepost.mail.header import section_end
from gatepost.seal.mime import parse, split_multipart
from gatepost.seal.model import Refused, Sealed, SealOptions
from gatepost.seal.opening import open_
from gatepost.seal.openpgp_library import OpenPgpError
from gatepost.seal.payload import IN_FILE_OCTETS
from gatepost.seal.sealing import failed, seal
from gatepost.seal.seven_bit import MAX_DEPTH, seven_bit
from gatepost.seal.signing import chosen_signer, sign
from gatepost.seal.smime_keys import KeyLocked

ADA, BOB = "ada@example.org", "bob@example.net"
OPTIONS = SealOptions(now=NOW)
PEOPLE = pytest.mark.parametrize("ada", [pgp(ADA), smime(ADA), smime(ADA, "p256")], ids=lambda each: each.key.algorithm)
QP = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"


def signed(message: bytes, ada: Person, options: SealOptions = OPTIONS) -> bytes:
    result = sign(message, ada.signing, options)
    assert isinstance(result, bytes), result
    return result


def signed_part(message: bytes) -> bytes:
    outer = parse(message)
    found = split_multipart(outer.body, outer.content_type.parameters["boundary"])
    assert found is not None
    return found.parts[0]


def text_of(message: bytes) -> bytes:
    """Of the first part that is text, decoded by somebody else."""
    part = email.message_from_bytes(message, policy=email.policy.default).get_body()
    assert part is not None
    found = part.get_payload(decode=True)
    assert isinstance(found, bytes)
    return found


@PEOPLE
def test_what_is_signed_stays_readable_and_says_who_signed_it(ada: Person) -> None:
    message = signed(MESSAGE, ada)
    assert b"\r\nSubject: The offer to Cardiff\r\n" in message[: section_end(message)]
    opened = open_(message, [], [ada.known(), anchor()], NOW)
    assert opened.text is not None
    assert (opened.verdict.signature, opened.verdict.is_encrypted) == ("good", False)
    assert opened.verdict.signer is not None
    assert opened.verdict.signer.addresses == (ADA,)
    assert (opened.verdict.hidden, opened.verdict.unprotected) == ((), ())
    assert text_of(opened.text) == "Grüße, trailing blanks  \r\n.\r\nFrom here".encode()


@PEOPLE
def test_the_protocol_and_the_digest_are_named_outside_and_the_signature_is_of_that_type(ada: Person) -> None:
    """RFC 3156 §5, RFC 8551 §3.5.3.2."""
    outer = parse(signed(MESSAGE, ada))
    protocol, digests = {
        "openpgp": ("application/pgp-signature", ("pgp-sha256", "pgp-sha384", "pgp-sha512")),
        "smime": ("application/pkcs7-signature", ("sha-256", "sha-512")),
    }[ada.key.kind]
    parameters = outer.content_type.parameters
    assert (outer.content_type.name, parameters["protocol"]) == ("multipart/signed", protocol)
    assert parameters["micalg"] in digests
    found = split_multipart(outer.body, parameters["boundary"])
    assert found is not None
    assert [parse(part).content_type.name for part in found.parts[1:]] == [protocol]


class NotInstalled(OpenPgpError):
    is_missing = True


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyLocked("the key is locked"), "signer", "the key is locked"),
        (NotInstalled("no"), "unavailable", "OpenPGP could not sign it: no"),
        (OpenPgpError("no"), "signer", "OpenPGP could not sign it: no"),
        (ValueError("no"), "algorithm", "S/MIME could not sign it: no"),
    ],
)
def test_what_a_library_raises_is_a_refusal_that_says_whose_it_is(error: Exception, code: str, says: str) -> None:
    assert failed(error, "sign", "algorithm") == Refused(code, says)  # type: ignore[arg-type]


@PEOPLE
def test_no_octet_of_what_is_signed_can_be_changed_unseen(ada: Person) -> None:
    message = signed(MESSAGE, ada)
    part = signed_part(message)
    start = message.index(part)
    for at in range(start, start + len(part), 23):
        changed = message[:at] + bytes((message[at] ^ 1,)) + message[at + 1 :]
        assert open_(changed, [], [ada.known(), anchor()], NOW).text is None, message[at - 20 : at + 20]


@PEOPLE
def test_header_fields_are_protected_and_a_changed_one_outside_is_not_believed(ada: Person) -> None:
    """RFC 9788: who reads gets the subject that was signed, whatever a hop wrote over it."""
    message = signed(MESSAGE, ada)
    assert b'hp="clear"' in signed_part(message)
    assert b"HP-Outer" not in message
    changed = message.replace(b"The offer to Cardiff", b"The bill of Cardiff", 1) + b""
    opened = open_(b"X-Added: by a hop\r\n" + changed, [], [ada.known(), anchor()], NOW)
    assert opened.text is not None
    assert b"Subject: The offer to Cardiff\r\n" in opened.text
    assert b"The bill" not in opened.text
    assert opened.verdict.unprotected == ("x-added",)


def test_a_dkim_signature_of_the_body_as_it_was_moves_inside() -> None:
    message = signed(b"DKIM-Signature: v=1; b=x\r\nBcc: eve@example.net\r\nKeywords: old\r\n" + MESSAGE, pgp(ADA))
    outer = message[: section_end(message)]
    assert b"DKIM-Signature" not in outer
    assert b"Keywords: old\r\n" in outer
    assert b"DKIM-Signature" in signed_part(message)
    assert b"Bcc" not in message


@pytest.mark.parametrize("ada", [pgp(ADA), smime(ADA)], ids=lambda each: each.key.kind)
def test_large_messages_are_signed_too(ada: Person) -> None:
    body = "Grüße aus Köln, und mehr davon \r\n".encode() * (IN_FILE_OCTETS // 30)
    message = signed(b"From: ada@example.org\r\nSubject: x\r\n\r\n" + body, ada)
    assert message.isascii()
    opened = open_(message, [], [ada.known(), anchor()], NOW)
    assert opened.text is not None
    assert text_of(opened.text) == body


def test_what_is_signed_or_encrypted_is_not_signed_again() -> None:
    once = [signed(MESSAGE, pgp(ADA)), signed(MESSAGE, smime(ADA))]
    assert [getattr(sign(each, pgp(ADA).signing, OPTIONS), "code", "") for each in once] == ["signed", "signed"]
    done = seal(MESSAGE, {BOB: pgp(BOB).key}, None, OPTIONS)
    assert isinstance(done, Sealed)
    assert getattr(sign(done.messages[0].octets, pgp(ADA).signing, OPTIONS), "code", "") == "sealed"


def test_an_expired_key_signs_nothing() -> None:
    old = msgspec.structs.replace(pgp(ADA).signing, valid_until=NOW - timedelta(seconds=1))
    assert getattr(sign(MESSAGE, old, OPTIONS), "code", "") == "signer"


def test_a_key_that_is_none_is_told_and_raises_nothing() -> None:
    for kind in ("openpgp", "smime"):
        broken = msgspec.structs.replace(pgp(ADA).signing, kind=kind, material=b"nothing")
        assert isinstance(sign(MESSAGE, broken, OPTIONS), Refused)


def test_smime_is_preferred_unless_a_rule_says_otherwise() -> None:
    signers = (pgp(ADA).signing, smime(ADA).signing)
    assert chosen_signer(signers) is signers[1]
    assert chosen_signer(signers, ("openpgp",)) is signers[0]
    assert chosen_signer(signers[:1], ("smime",)) is None


# --- fit to be signed

LEAVES = [
    ("clean", b"Content-Type: text/plain\r\n\r\nHello\r\n", b"Content-Type: text/plain\r\n\r\nHello\r\n"),
    ("blanks", b"Subject: x\r\n\r\nsig \r\n-- \r\nAda\t\r\n",
     b"Subject: x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nsig=20\r\n--=20\r\nAda=09\r\n"),
    ("from", b"Subject: x\r\n\r\nFrom here on\r\nand From\r\n",
     b"Subject: x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=46rom=\r\n here on\r\nand From\r\n"),
    ("8bit", QP.replace(b"quoted-printable", b"8bit") + b"Gr\xc3\xbc\xc3\x9fe to all of you\r\n",
     QP + b"Gr=C3=BC=C3=9Fe to all of you\r\n"),
    ("quoted already, with blanks", QP + b"Gr=C3=BC=C3=9Fe=20\r\nFrom me\r\n",
     QP + b"Gr=C3=BC=C3=9Fe=20\r\n=46rom=\r\n me\r\n"),
    ("mostly 8-bit", b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + "Привет".encode() + b"\r\n",
     b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n0J/RgNC40LLQtdGCDQo=\r\n"),
    ("no text", b"Content-Type: application/x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xff\r\n",
     b"Content-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n/w0K\r\n"),
    ("blanks in the header", b"Content-Type: text/plain; \r\n charset=x\r\n \r\nSubject: y \r\n\r\nHello\r\n",
     b"Content-Type: text/plain;\r\n charset=x\r\nSubject: y\r\n\r\nHello\r\n"),
    ("no text at all", b"Subject: y \r\n\r\n", b"Subject: y\r\n\r\n"),
    ("unknown encoding", *[b"Content-Transfer-Encoding: x-own\r\n\r\n\xff\r\n"] * 2),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), [each[1:] for each in LEAVES], ids=[each[0] for each in LEAVES])
def test_a_part_is_encoded_where_it_needs_it(given: bytes, expected: bytes) -> None:
    assert b"".join(seven_bit(given)) == expected
    assert b"".join(seven_bit(expected)) == expected


def test_a_line_that_is_too_long_is_folded() -> None:
    for octets in (b"x" * 999, b"\r\n" + b"x" * 3000):
        found = b"".join(seven_bit(b"Content-Type: text/plain\r\n\r\n" + octets + b"\r\n"))
        assert max(map(len, found.split(b"\r\n"))) <= 76
        assert text_of(found) == octets + b"\r\n"
    fits = b"Content-Type: text/plain\r\n\r\n" + b"x" * 998 + b"\r\n"
    assert seven_bit(fits) == [fits]


def multipart(*parts: bytes, head: bytes = b"multipart/mixed", around: bytes = b"") -> bytes:
    lines = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return b"Content-Type: " + head + b"; boundary=b\r\n\r\n" + around + lines + b"--b--\r\n" + around


def test_parts_are_encoded_one_by_one_and_all_others_stay() -> None:
    plain, empty = b"Content-Type: text/plain\r\n\r\nHello", b""
    given = multipart(plain, b"\r\nGr\xc3\xbc\xc3\x9fe all of you", empty, plain, around=b"See below.\r\n")
    quoted = b"Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe all of you"
    assert b"".join(seven_bit(given)) == multipart(plain, quoted, empty, plain, around=b"See below.\r\n")


def test_what_stands_around_the_parts_goes_where_it_is_not_fit() -> None:
    found = b"".join(seven_bit(multipart(b"\r\nHello ", around=b"Gr\xc3\xbc\xc3\x9fe\r\n")))
    around = split_multipart(parse(found).body, "b")
    assert around is not None
    assert around.surroundings.strip() == b""
    assert around.parts == (b"Content-Transfer-Encoding: quoted-printable\r\n\r\nHello=20",)


def test_a_container_names_the_encoding_of_what_is_in_it() -> None:
    given = multipart(b"\r\nGr\xc3\xbc\xc3\x9fe to all of you").replace(
        b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", 1
    )
    found = parse(b"".join(seven_bit(given)))
    assert found.header.values(b"content-transfer-encoding") == [b"7bit"]
    assert found.octets.isascii()


def test_an_attached_message_changes_only_where_transport_needs_it() -> None:
    """A signature of its own, as of DKIM, would be gone for a blank at the end of a line."""
    blanks = b"Content-Type: message/rfc822\r\n\r\nSubject: x \r\n\r\nHello \r\n"
    assert b"".join(seven_bit(multipart(blanks, b"\r\ny "))).count(blanks) == 1
    found = b"".join(
        seven_bit(
            multipart(b"Content-Type: message/rfc822\r\n\r\nSubject: x \r\n\r\nGr\xc3\xbc\xc3\x9fe to all of you \r\n")
        )
    )
    assert (
        b"Subject: x \r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe to all of you=20\r\n"
        in found
    )
    digest = b"".join(
        seven_bit(multipart(b"\r\nSubject: x\r\n\r\nGr\xc3\xbc\xc3\x9fe to all of you", head=b"multipart/digest"))
    )
    assert b"Subject: x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe to all of you" in digest


def test_a_part_that_is_signed_itself_stays() -> None:
    inner = b"Content-Type: multipart/signed; boundary=i\r\n\r\n--i\r\n\r\nHello \r\n--i\r\n\r\nx\r\n--i--\r\n"
    assert inner in b"".join(seven_bit(multipart(inner, b"\r\ny ")))


def test_what_is_no_multipart_though_it_says_so_stays() -> None:
    for given in (
        b"Content-Type: multipart/mixed\r\n\r\nHello \r\n",
        b"Content-Type: multipart/x; boundary=b\r\n\r\nx \r\n",
    ):
        assert b"".join(seven_bit(given)) == given


def test_parts_within_parts_have_a_limit() -> None:
    given = b"\r\nHello \r\n"
    for number in range(MAX_DEPTH * 20):
        given = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n%s\r\n--b%d--\r\n" % (
            number,
            number,
            given,
            number,
        )
    assert b"".join(seven_bit(given)) == given
