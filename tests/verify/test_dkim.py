"""DKIM signatures: the vectors of others, and a table with every tag and fault."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final

import pytest
from tests.support.dkim_signer import DOMAIN, KEY_NAME, answers, ed25519_key, key_record, rsa_key, signed

from gatepost.mail.dkim import DkimResult
from gatepost.mail.header import section_end, walk
from gatepost.ports.resolver import Answer, Outcome
from gatepost.verify.dkim import Limits, Verification

VECTORS: Final = Path(__file__).parents[1] / "corpus" / "dkim"
EXPECTED: Final = json.loads((VECTORS / "expected.json").read_text())
NOW: Final = 1_760_000_000
LETTER: Final = (
    b"From: Bob <bob@example.net>\r\nTo: ada@example.org\r\nSubject: a  report\r\n\tof today\r\n"
    b"Date: Thu, 09 Oct 2025 08:53:20 +0000\r\n\r\nHello  Ada, \r\n\r\nsee you.\r\n\r\n\r\n"
)
KEYS: Final = answers({KEY_NAME: key_record(rsa_key())}) | {f"other._domainkey.{DOMAIN}": Answer(Outcome.NO_NAME)}


def verified(
    message: bytes, keys: dict[str, Any] | None = None, now: float = NOW, limits: Limits | None = None
) -> tuple[DkimResult, ...]:
    end = section_end(message)
    verification = Verification(walk(message[:end]), now, limits or Limits())
    verification.feed(message[end:])
    return verification.results(KEYS if keys is None else keys)


def record(text: str) -> dict[str, Answer]:
    return answers({KEY_NAME: text})


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - {"note"}))
def test_vectors_of_others(name: str) -> None:
    message = (VECTORS / name).read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    keys = json.loads((VECTORS / "dns.json").read_text())
    for key, types in json.loads((VECTORS / "mailauth-ec-dns.json").read_text()).items():
        keys[key] = "".join(types["TXT"][0])
    found = [result.result for result in verified(message, answers(keys))]
    assert ["not pass" if each != "pass" else each for each in found] == EXPECTED[name]


@pytest.mark.parametrize("canonicalization", ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
@pytest.mark.parametrize("algorithm", ["rsa-sha256", "ed25519-sha256"])
def test_a_good_signature_says_who_signed_what(canonicalization: str, algorithm: str) -> None:
    key = rsa_key() if algorithm == "rsa-sha256" else ed25519_key()
    message = signed(LETTER, key, c=canonicalization, i="@mail.example.net")
    (found,) = verified(message, record(key_record(key)))
    assert found == DkimResult(
        "pass",
        domain=DOMAIN,
        selector="s1",
        identity="@mail.example.net",
        algorithm=algorithm,
        key_bits=2048 if algorithm == "rsa-sha256" else 256,
        canonicalization=canonicalization,
        signed=("from", "to", "subject", "date"),
        mark=found.mark,
    )
    assert len(found.mark) == 8
    assert found.proves(DOMAIN)
    assert found.proves(f"mail.{DOMAIN}")
    assert not found.proves("net")
    assert not found.proves(f"not{DOMAIN}")


# (tags of the signature, result, words of the reason): the signature is right but for what the row says.
SIGNATURES: Final[list[tuple[dict[str, Any], str, str]]] = [
    ({"v": "2"}, "neutral", "its version is not 1"),
    ({"v": None}, "neutral", "the tag v= is missing"),
    ({"a": None}, "neutral", "the tag a= is missing"),
    ({"d": None}, "neutral", "the tag d= is missing"),
    ({"s": None}, "neutral", "the tag s= is missing"),
    ({"h": None}, "neutral", "the tag h= is missing"),
    ({"bh": None}, "neutral", "the tag bh= is missing"),
    ({"a": "rsa-sha1"}, "permerror", "rsa-sha1 proves nothing"),
    ({"a": "rsa-sha512"}, "neutral", "the algorithm rsa-sha512 is not known"),
    ({"a": "ed25519-sha256"}, "permerror", "the key is not for ed25519-sha256"),
    ({"a": "RSA-SHA256"}, "pass", ""),
    ({"c": None}, "pass", ""),
    ({"c": "simple"}, "pass", ""),
    ({"c": "relaxed"}, "pass", ""),
    ({"c": "nofws/simple"}, "neutral", "the canonicalization nofws/simple is not known"),
    ({"c": "relaxed/nofws"}, "neutral", "is not known"),
    ({"d": "exa mple.net"}, "neutral", "is no domain (d=)"),
    ({"d": "example..net"}, "neutral", "is no domain (d=)"),
    ({"d": ".".join(["x" * 60] * 5)}, "neutral", "is no domain (d=)"),
    ({"d": "EXAMPLE.net"}, "pass", ""),
    ({"s": "-"}, "neutral", "is no domain (s=)"),
    ({"s": "S1"}, "pass", ""),
    ({"s": "other"}, "permerror", "there is no key other._domainkey.example.net"),
    ({"i": "bob@example.net"}, "pass", ""),
    ({"i": "@sub.example.net"}, "pass", ""),
    ({"i": "@example.com"}, "neutral", "is not below example.net"),
    ({"i": "@notexample.net"}, "neutral", "is not below example.net"),
    ({"i": "example.net"}, "neutral", "its identity is no address"),
    ({"h": "to:subject"}, "permerror", "it does not sign From"),
    ({"h": "From : To"}, "pass", ""),
    ({"h": "from:from:to:to:x-none:subject"}, "pass", ""),
    ({"h": "from::to"}, "neutral", "no list of field names"),
    ({"h": ":".join(["from"] * 501)}, "neutral", "more than 500 fields"),
    ({"l": "5"}, "pass", "the last 19 octets of the body are not signed (l=)"),
    ({"l": "0"}, "pass", "the last 24 octets of the body are not signed (l=)"),
    ({"l": "24"}, "pass", ""),
    ({"l": "25"}, "fail", "it signs 25 octets of the body, which has 24"),
    ({"l": "-1"}, "neutral", "is no number (l=)"),
    ({"l": "9" * 77}, "neutral", "is no number (l=)"),
    ({"q": "dns/txt"}, "pass", ""),
    ({"q": "other : dns/txt"}, "pass", ""),
    ({"q": "dns/other"}, "neutral", "its key is not where we can look"),
    ({"t": str(NOW), "x": str(NOW + 1)}, "pass", ""),
    ({"x": str(NOW)}, "fail", "it expired 0 seconds ago"),
    ({"x": str(NOW - 172_800)}, "fail", "it expired 2 days ago"),
    ({"t": str(NOW + 3600)}, "pass", ""),
    ({"t": str(NOW + 7200)}, "fail", "it was made 2 hours in the future"),
    ({"t": "100", "x": "100"}, "neutral", "it expires before it was made"),
    ({"t": "yesterday"}, "neutral", "is no number of seconds (t=)"),
    ({"x": "1e9"}, "neutral", "is no number of seconds (x=)"),
    ({"z": "From:bob@example.net|To:ada"}, "pass", ""),
    ({"unknown": "words"}, "pass", ""),
    ({"no name": "1"}, "neutral", "is no tag with a value"),
    ({"bh": "AAAA"}, "fail", "the body is not the one that was signed"),
    ({"bh": "***"}, "neutral", "the value is not base64 (bh=)"),
    ({"b": "AAAA"}, "fail", "the header fields are not those that were signed"),
    ({"b": "***"}, "neutral", "the value is not base64 (b=)"),
    ({"b": " "}, "neutral", "the value is empty (b=)"),
]


@pytest.mark.parametrize(("tags", "result", "reason"), SIGNATURES, ids=lambda value: str(value)[:40])
def test_each_tag_of_a_signature(tags: dict[str, Any], result: str, reason: str) -> None:
    (found,) = verified(signed(LETTER, **tags))
    assert (found.result, reason in found.reason) == (result, True), found
    assert bool(found.reason) == bool(reason)


# (tags of the key record, result, words of the reason)
RECORDS: Final[list[tuple[dict[str, str], str, str]]] = [
    ({"p": ""}, "permerror", "the key was revoked"),
    ({"v": "DKIM2"}, "permerror", "it is no DKIM1 record"),
    ({"k": "ed25519"}, "permerror", "the key cannot be read"),
    ({"k": "dsa"}, "permerror", "keys of the kind dsa are not known"),
    ({"p": "***"}, "permerror", "the key is not base64"),
    ({"p": "AAAA"}, "permerror", "the key cannot be read"),
    ({"h": "sha1"}, "permerror", "the key is not for sha256"),
    ({"h": "sha1 : sha256"}, "pass", ""),
    ({"s": "email"}, "pass", ""),
    ({"s": "*"}, "pass", ""),
    ({"s": "web"}, "permerror", "the key is not for mail"),
    ({"t": "s"}, "permerror", "the key is for addresses of its own domain only"),
    ({"t": "s:y"}, "permerror", "the key is for addresses of its own domain only"),
    ({"n": "a note"}, "pass", ""),
    ({"g": "*"}, "pass", ""),
]


@pytest.mark.parametrize(("tags", "result", "reason"), RECORDS, ids=lambda value: str(value)[:40])
def test_each_tag_of_a_key_record(tags: dict[str, str], result: str, reason: str) -> None:
    (found,) = verified(signed(LETTER, i="bob@mail.example.net"), record(key_record(rsa_key(), **tags)))
    assert (found.result, reason in found.reason) == (result, True), found
    assert bool(found.reason) == bool(reason)


def test_records_that_are_no_list_of_tags_or_have_no_key() -> None:
    for text, reason in (
        ("h\xe9llo\n", "'h\\xc3\\xa9llo' is no tag"),
        ("k=rsa", "it holds no key"),
        ("k=rsa; v=DKIM1; p=A", "no DKIM1"),
    ):
        (found,) = verified(signed(LETTER), record(text))
        assert (found.result, reason in found.reason) == ("permerror", True), found
    (found,) = verified(signed(LETTER), record(f"v=DKIM1; p={'A' * 9000}"))
    assert "longer than 8192" in found.reason


def test_of_several_records_the_first_with_a_key_counts() -> None:
    texts = ("v=spf1 -all", key_record(rsa_key()))
    (found,) = verified(signed(LETTER), {KEY_NAME: Answer(Outcome.FOUND, texts)})
    assert found.result == "pass"
    many = ("v=spf1 -all",) * 4 + texts[1:]
    (found,) = verified(signed(LETTER), {KEY_NAME: Answer(Outcome.FOUND, many)})
    assert found.result == "permerror"


def test_a_strict_key_passes_for_its_own_domain() -> None:
    (found,) = verified(signed(LETTER, i="bob@example.net"), record(key_record(rsa_key(), t="s")))
    assert found.result == "pass"


def test_a_domain_that_is_testing_passes_and_proves_nothing() -> None:
    (found,) = verified(signed(LETTER), record(key_record(rsa_key(), t="y")))
    assert (found.result, found.is_testing, found.proves(DOMAIN)) == ("pass", True, False)


@pytest.mark.parametrize(
    ("answer", "result", "reason"),
    [
        (Answer(Outcome.NO_NAME), "permerror", "there is no key"),
        (Answer(Outcome.NO_DATA), "permerror", "there is no key"),
        (Answer(Outcome.FAILED, error="SERVFAIL"), "temperror", "cannot be had (SERVFAIL)"),
        (None, "temperror", "no answer in time"),
    ],
)
def test_keys_that_cannot_be_had(answer: Answer | None, result: str, reason: str) -> None:
    (found,) = verified(signed(LETTER), {KEY_NAME: answer} if answer else {})
    assert (found.result, reason in found.reason) == (result, True), found
    assert (found.domain, found.selector) == (DOMAIN, "s1")


def test_short_keys_prove_nothing_and_the_operator_may_want_longer_ones() -> None:
    # Made beforehand: the library makes no key of 512 bits any more.
    short = (
        "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBANI0SnfshoAAlMzbUOprb9mD131MckPAll6jJwDEr2RvtGbo"
        "0lQ8B49eLBq7B/ul0G41lKo6v8OHMLkwOlbo4gMCAwEAAQ=="
    )
    (found,) = verified(signed(LETTER), record(f"v=DKIM1; p={short}"))
    assert (found.result, found.key_bits) == ("permerror", 512)
    assert found.reason == "the key has 512 bits; 1024 to 8192 are accepted"
    message = signed(LETTER, rsa_key(1024))
    (found,) = verified(message, record(key_record(rsa_key(1024))))
    assert (found.result, found.key_bits) == ("pass", 1024)
    (found,) = verified(message, record(key_record(rsa_key(1024))), limits=Limits(key_bits=2048))
    assert (found.result, found.key_bits) == ("permerror", 1024)
    assert found.reason == "the key has 1024 bits; 2048 to 8192 are accepted"


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        (b"see you.", b"see thee", "fail"),
        (b"Subject: a  report", b"Subject: a report", "pass"),
        (b"Subject: a", b"subject:\t a", "pass"),
        (b"Subject: a", b"Subject: b", "fail"),
        (b"Hello  Ada, ", b"Hello\tAda,", "pass"),
        (b"Hello  Ada, ", b"HelloAda,", "fail"),
        (b"you.\r\n\r\n\r\n", b"you.", "pass"),
        (b"you.\r\n\r\n\r\n", b"you.\r\n \r\n\t\r\n", "pass"),
        (b"To: ada", b"X-New: 1\r\nTo: ada", "pass"),
        (b"From: Bob", b"From: Eve <eve@example.net>\r\nFrom: Bob", "pass"),  # the lower one is the signed one
    ],
)
def test_what_may_change_on_the_way(old: bytes, new: bytes, result: str) -> None:
    assert old in LETTER
    (found,) = verified(signed(LETTER).replace(old, new))
    assert found.result == result


def test_a_field_that_was_signed_as_absent_may_not_be_added() -> None:
    message = signed(LETTER, h="from:from:subject:reply-to")
    assert verified(message)[0].result == "pass"
    assert verified(b"From: eve@example.com\r\n" + message)[0].result == "fail"
    assert verified(b"Reply-To: eve@example.com\r\n" + message)[0].result == "fail"
    assert verified(b"To: x\r\n" + message)[0].result == "pass"


def test_fields_with_one_name_are_signed_from_the_bottom() -> None:
    letter = b"X-A: one\r\nX-A: two\r\n" + LETTER
    message = signed(letter, h="from:x-a")
    assert verified(message)[0].signed == ("from", "x-a")
    assert verified(message.replace(b"X-A: one", b"X-A: other"))[0].result == "pass"
    assert verified(message.replace(b"X-A: two", b"X-A: other"))[0].result == "fail"
    both = signed(letter, h="from:x-a:x-a")
    assert verified(both.replace(b"X-A: one", b"X-A: other"))[0].result == "fail"


def test_what_follows_the_signed_length_may_change_and_the_signed_part_not() -> None:
    message = signed(LETTER, c="relaxed/simple", l="13")
    (found,) = verified(message + b"and more\r\n")
    assert (found.result, found.unsigned_octets) == ("pass", 27)
    assert verified(message.replace(b"Hello", b"hello"))[0].result == "fail"


def test_several_signatures_have_a_result_each_and_too_many_are_counted() -> None:
    message = LETTER
    for number in range(12):
        message = signed(message, s=f"s{number}")
    names = {f"s{number}._domainkey.{DOMAIN}": key_record(rsa_key()) for number in range(12)}
    found = verified(message, answers(names))
    assert [each.selector for each in found] == [f"s{number}" for number in range(11, 1, -1)] + [""]
    assert {each.result for each in found[:10]} == {"pass"}
    assert (found[10].result, found[10].reason) == ("neutral", "2 more signatures were not looked at")
    assert len(verified(message, answers(names), limits=Limits(signatures=2))) == 3


def test_two_signatures_with_one_key_ask_for_it_once() -> None:
    message = signed(signed(LETTER), c="simple/simple")
    assert Verification(walk(message[: section_end(message)]), NOW).key_names == (KEY_NAME,)


def test_a_signature_may_sign_the_one_below_and_never_itself() -> None:
    message = signed(signed(LETTER), h="from:dkim-signature:dkim-signature")
    found = verified(message)
    assert [each.result for each in found] == ["pass", "pass"]
    assert found[0].signed == ("from", "dkim-signature")


def test_tags_that_stand_twice_make_the_signature_unreadable() -> None:
    message = signed(LETTER).replace(b"s=s1", b"s=s1; s=s2", 1)
    (found,) = verified(message)
    assert (found.result, found.reason) == ("neutral", "it cannot be read: the tag s= stands twice")


def test_international_domains_are_looked_up_as_a_labels() -> None:
    message = signed(LETTER, d="bücher.example")
    name = "s1._domainkey.xn--bcher-kva.example"
    (found,) = verified(message, answers({name: key_record(rsa_key())}))
    assert (found.result, found.domain) == ("pass", "xn--bcher-kva.example")


def test_messages_with_8bit_without_body_and_without_a_last_line_end() -> None:
    for body in ("Grüße".encode(), b"", b"\r\n", b" ", b"no line end", b"\xff\x00\xfe\r\n", b"bare\rcr and\nlf \r"):
        letter = LETTER.partition(b"\r\n\r\n")[0].replace(b"report", "Grüße".encode()) + b"\r\n\r\n" + body
        for kinds in ("simple/simple", "relaxed/relaxed"):
            (found,) = verified(signed(letter, c=kinds))
            assert found.result == "pass", (body, kinds, found)


def test_a_huge_header_is_read_and_a_huge_signature_is_not() -> None:
    letter = b"".join(b"X-%d: %s\r\n" % (number, b"a " * 100) for number in range(1000)) + LETTER
    assert verified(signed(letter))[0].result == "pass"
    (found,) = verified(signed(LETTER, z="x" * 65_536))
    assert (found.result, "at most 65536" in found.reason) == ("neutral", True)


def test_a_message_that_cannot_be_read_is_a_temperror_and_faults_of_its_own_stay() -> None:
    message = signed(signed(LETTER), v="2")
    verification = Verification(walk(message[: section_end(message)]), NOW)
    assert [each.result for each in verification.unread("the disk is gone")] == ["neutral", "temperror"]


def test_rsa_keys_are_read_in_both_forms() -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    octets = rsa_key().public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    (found,) = verified(signed(LETTER), record(f"p={base64.b64encode(octets).decode()}"))
    assert found.result == "pass"
