"""Two implementations, one answer: what dkimpy signs passes, and of what was changed on the way both say the same."""

from __future__ import annotations

import base64
import itertools
import random
import time
from typing import Final

import dkim
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.support.dkim_signer import answers, ed25519_key, key_record, rsa_key
from tests.verify.test_dkim import verified

DOMAIN: Final = b"example.net"
LETTERS: Final = (
    b"From: Bob <bob@example.net>\r\nTo: ada@example.org\r\nSubject: a  report\r\n\tof  today \r\nX-Empty:\r\n\r\n"
    b"Hello  Ada, \r\n\r\n\tsee you.\r\n \r\n\r\n",
    b"from: bob@example.net\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\nSubject: twice\r\nTo:ada@example.org\r\n\r\n",
    b"From: bob@example.net\r\nTo: ada@example.org\r\nSubject: s\r\n\r\n\r\n\r\n",
    b"From: bob@example.net\r\nTo: ada@example.org\r\nSubject: long\r\n\r\n" + b"a line  of text \r\n" * 500,
)
KINDS: Final = (b"simple", b"relaxed")
CHANGES: Final = 60  # of each message


def by_dkimpy(letter: bytes, algorithm: str, header: bytes, body: bytes, *, length: bool = False) -> bytes:
    """`letter`, signed by dkimpy."""
    if algorithm == "rsa-sha256":
        private = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    else:
        private = base64.b64encode(ed25519_key().private_bytes_raw())
    field = dkim.sign(
        letter, b"s1", DOMAIN, private, canonicalize=(header, body), signature_algorithm=algorithm.encode(),
        include_headers=[b"from", b"to", b"subject", b"subject"], length=length,
    )  # fmt: skip
    return bytes(field) + letter


def record_of(algorithm: str) -> str:
    return key_record(rsa_key() if algorithm == "rsa-sha256" else ed25519_key())


def says_dkimpy(message: bytes, record: str) -> bool:
    return bool(dkim.verify(message, dnsfunc=lambda name, timeout=5: record.encode()))


def says_gatepost(message: bytes, record: str) -> str:
    return verified(message, answers({"s1._domainkey.example.net": record}), now=time.time())[0].result


COMBINATIONS: Final = list(itertools.product(("rsa-sha256", "ed25519-sha256"), KINDS, KINDS))


@pytest.mark.parametrize(("algorithm", "header", "body"), COMBINATIONS)
def test_what_dkimpy_signs_passes(algorithm: str, header: bytes, body: bytes) -> None:
    for letter in LETTERS:
        for length in (False, True):
            message = by_dkimpy(letter, algorithm, header, body, length=length)
            assert says_gatepost(message, record_of(algorithm)) == "pass", message


# Ed25519: RSA in dkimpy is slow, and what is compared is what is hashed.
@pytest.mark.parametrize(("header", "body"), list(itertools.product(KINDS, KINDS)))
def test_both_say_the_same_of_what_was_changed(header: bytes, body: bytes) -> None:
    chance, record, passed = random.Random(6376), record_of("ed25519-sha256"), 0
    for letter in LETTERS[:3]:
        message = by_dkimpy(letter, "ed25519-sha256", header, body)
        signed_at = message.index(letter)
        for _ in range(CHANGES):
            changed = _changed(message, signed_at, chance)
            expected = says_dkimpy(changed, record)
            assert (says_gatepost(changed, record) == "pass") == expected, changed
            passed += expected
    assert passed < CHANGES * 3  # some changes count


def _changed(message: bytes, begin: int, chance: random.Random) -> bytes:
    """`message` with blanks, line ends or letters put in or taken out behind `begin`, where both read it the same: a
    line end stays one, and no line of the header becomes another field or none."""
    head_end = message.index(b"\r\n\r\n", begin)
    at = chance.randrange(begin, len(message))
    if at <= head_end + 4:  # in the header: only blanks, where there are blanks already
        places = [each for each in range(begin, head_end) if message[each : each + 1] == b" "]
        at = chance.choice(places)
        return message[:at] + chance.choice([b"  ", b" \t", b"x", b""]) + message[at + 1 :]
    while message[at - 1 : at + 1] == b"\r\n":
        at -= 1
    piece = chance.choice([b" ", b"\t", b"  ", b"\r\n", b"x", b" \r\n"])
    return message[:at] + piece + message[at:]


def test_the_comparison_notices_a_difference() -> None:
    message = by_dkimpy(LETTERS[0], "ed25519-sha256", b"simple", b"simple")
    record = record_of("ed25519-sha256")
    assert says_dkimpy(message, record)
    assert not says_dkimpy(message + b"x", record)
    assert says_gatepost(message + b"x", record) == "fail"
