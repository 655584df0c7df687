"""Dialogues about rules that sign and leave mail readable."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.dialogues.test_limits import logged_in
from tests.dialogues.test_seal_members import accounts
from tests.dialogues.test_seal_rules import BOB, DAN, EVE, SECRET, Gate
from tests.dialogues.test_sealing import sealed_to, submit
from tests.seal.scene import MESSAGE, NOW, Person, anchor, pgp, smime

from gatepost.seal.model import SealOptions
from gatepost.seal.opening import open_
from gatepost.seal.rules import SealRule
from gatepost.seal.signing import sign
from gatepost.seal.work import LARGE_OCTETS

ADA = "ada@example.org"
SIGN = SealRule(name="signed", mode="off", sign=True)
IF_KNOWN = SealRule(name="all", mode="opportunistic", sign=True)


def signs(*people: Person) -> dict[str, tuple[object, ...]]:
    return {"example.org": tuple(person.signing for person in people)}


@pytest.mark.parametrize("ada", [pgp(ADA), smime(ADA)], ids=lambda each: each.key.kind)
async def test_a_rule_may_sign_and_encrypt_nothing(ada: Person) -> None:
    gate = Gate(SIGN, signers=signs(ada))
    await gate.knows(pgp(BOB))  # whose key nobody asks for
    assert (await submit(await logged_in(gate.desk), MESSAGE, BOB, EVE)).startswith("250")
    ((entry, octets),) = gate.entries
    assert [str(each.path) for each in entry.envelope.recipients] == [BOB, EVE]
    assert b"Subject: The offer to Cardiff\r\n" in octets
    assert octets.isascii()
    assert not entry.has_8bit
    assert (entry.octets, entry.envelope.ret) == (len(entry.prefix) + len(octets), "")
    assert open_(octets, [], [ada.known(), anchor()], NOW).verdict.signature == "good"
    assert gate.told == [
        {"entry": entry.id, "recipients": [BOB, EVE], "rule": "signed", "kind": ada.key.kind, "signed": True,
         "clear": "the rule says so", "signer": ada.signing.fingerprint}
    ]  # fmt: skip


async def test_those_with_a_key_get_it_encrypted_and_the_others_signed() -> None:
    gate = Gate(IF_KNOWN, signers=signs(pgp(ADA)))
    await gate.knows(pgp(BOB))
    assert (await submit(await logged_in(gate.desk), MESSAGE, BOB, EVE, DAN)).startswith("250")
    by_recipient = {str(entry.envelope.recipients[0].path): (entry, octets) for entry, octets in gate.entries}
    assert set(by_recipient) == {BOB, EVE}
    assert len(by_recipient[EVE][0].envelope.recipients) == 2
    assert SECRET not in by_recipient[BOB][1]
    for address, secrets in ((BOB, [pgp(BOB).secret]), (EVE, [])):
        assert open_(by_recipient[address][1], secrets, [pgp(ADA).known()], NOW).verdict.signature == "good"
    assert {each["signer"] for each in gate.told} == {pgp(ADA).signing.fingerprint}
    (told,) = [each for each in gate.told if EVE in each["recipients"]]
    assert "WKD" in told["clear"]


async def test_fields_that_the_server_adds_are_signed_too() -> None:
    gate = Gate(SIGN, signers=signs(pgp(ADA)))
    bare = MESSAGE.replace(b"Message-ID: <1@example.org>\r\n", b"")
    assert (await submit(await logged_in(gate.desk), bare, BOB)).startswith("250")
    ((entry, octets),) = gate.entries
    added = f"Message-ID: <{entry.id.lower()}@mx.example.org>\r\n".encode()
    assert (added in entry.prefix, octets.count(added)) == (False, 2)  # outside, and in what is signed


async def test_a_look_up_without_an_answer_is_put_off_and_not_signed_instead() -> None:
    gate = Gate(IF_KNOWN, signers=signs(pgp(ADA)))
    gate.dns.fail("openpgpkey.example.net", "A")
    assert (await submit(await logged_in(gate.desk), MESSAGE, BOB)).startswith("451 4.7.5")
    assert gate.is_nothing_kept()


async def test_the_rule_says_with_which_kind_of_key() -> None:
    both = signs(pgp(ADA), smime(ADA))
    for kind, expected in (("any", "smime"), ("pgp", "openpgp"), ("smime", "smime")):
        gate = Gate(msgspec.structs.replace(SIGN, kind=kind), signers=both)
        assert (await submit(await logged_in(gate.desk), MESSAGE, BOB)).startswith("250")
        assert gate.told[0]["kind"] == expected


async def test_what_is_signed_or_encrypted_already_stays_as_it_is() -> None:
    once = sign(MESSAGE, smime(ADA).signing, SealOptions(now=NOW))
    assert isinstance(once, bytes)
    for message in (once, sealed_to(pgp(BOB))):
        gate = Gate(SIGN, signers=signs(pgp(ADA)))
        assert (await submit(await logged_in(gate.desk), message, BOB)).startswith("250")
        ((_, octets),) = gate.entries
        assert octets == message
    assert not any(each.get("signed") for each in gate.told)


async def test_without_a_key_of_the_senders_domain_it_leaves_as_it_came() -> None:
    gate = Gate(SIGN, signers={"example.net": (pgp("x@example.net").signing,)})
    assert (await submit(await logged_in(gate.desk), MESSAGE, BOB)).startswith("250")
    assert gate.entries[0][1] == MESSAGE


async def test_what_an_expired_key_has_to_sign_is_put_off() -> None:
    old = msgspec.structs.replace(pgp(ADA).signing, valid_until=NOW - timedelta(days=1))
    gate = Gate(SIGN, signers={"example.org": (old,)})
    assert (await submit(await logged_in(gate.desk), MESSAGE, BOB)).startswith("451 4.7.5")
    assert gate.is_nothing_kept()


@pytest.mark.parametrize("ada", [pgp(ADA), smime(ADA)], ids=lambda each: each.key.kind)
async def test_a_large_message_is_signed_too(ada: Person) -> None:
    gate = Gate(SIGN, signers=signs(ada))
    large = MESSAGE.replace(b"AAECAwQ=\r\n", b"QUJDREVGR0hJ\r\n" * (LARGE_OCTETS // 14 + 1))
    assert (await submit(await logged_in(gate.desk), large, BOB)).startswith("250")
    assert open_(gate.entries[0][1], [], [ada.known(), anchor()], NOW).verdict.signature == "good"
    await gate.desk.seal_work.close()


async def test_utf8_in_the_header_is_signed_as_it_stands() -> None:
    gate = Gate(SIGN, signers=signs(pgp(ADA)))
    client = await logged_in(gate.desk)
    await client.line("MAIL FROM:<ada@example.org> SMTPUTF8 BODY=8BITMIME")
    assert (await client.line("RCPT TO:<käthe@example.net>")).startswith("250")
    await client.line("DATA")
    text = "From: ada@example.org\r\nTo: käthe@example.net\r\nSubject: Grüße\r\n\r\nSchöne Grüße an alle\r\n.\r\n"
    assert "250" in "\n".join(await client.say(text.encode()))
    ((entry, octets),) = gate.entries
    assert (entry.has_8bit, entry.envelope.smtputf8) == (True, True)
    opened = open_(octets, [], [pgp(ADA).known()], NOW)
    assert opened.text is not None
    assert "Subject: Grüße\r\n".encode() in opened.text
    assert b"Sch=C3=B6ne" in opened.text


@pytest.mark.parametrize("mode", ["off", "opportunistic"])
async def test_who_wants_mail_encrypted_gets_it_encrypted_and_signed(mode: Any) -> None:
    store = accounts(pgp("bob@example.org"))
    gate = Gate(msgspec.structs.replace(SIGN, mode=mode), accounts=store, signers=signs(pgp(ADA)))
    assert (await submit(await logged_in(gate.desk), MESSAGE, "bob@example.org")).startswith("250")
    ((_, octets),) = gate.entries
    verdict = open_(octets, [pgp("bob@example.org").secret], [pgp(ADA).known()], NOW).verdict
    assert (verdict.is_encrypted, verdict.signature) == (True, "good")
    assert (gate.told[0]["rule"], gate.told[0]["signer"]) == ("account", pgp(ADA).signing.fingerprint)
