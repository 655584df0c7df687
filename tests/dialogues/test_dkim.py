"""Dialogues about signed mail: what the record and the next reader learn of it, and whom it costs nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.dialogues.test_autocrypt import BOB, gate, letter
from tests.dialogues.test_limits import logged_in, stranger
from tests.dialogues.test_sealing import submit
from tests.support.desk import Client, Desk
from tests.support.dkim_signer import KEY_NAME, key_record, rsa_key, signed

from gatepost.gate import gather_dkim
from gatepost.gate.gather import GATHERERS
from gatepost.mail.dkim import DkimResult
from gatepost.policy.checks import content_dkim, sender_spf
from gatepost.ports.resolver import Answer
from gatepost.spool.port import SpoolError

LETTER = (
    b"From: bob@example.net\r\nTo: ada@example.org\r\nSubject: x\r\nDate: Mon, 2 Mar 2026 10:00:00 +0000\r\n"
    b"Message-ID: <1@example.net>\r\n\r\nHello\r\n"
)
FORGED = b"Authentication-Results: mx.example.org; dkim=pass header.d=bank.example\r\n"
AUTOCRYPT = "from:to:subject:date:autocrypt"


def desk_with_key(**more: Any) -> Desk:
    desk = Desk(**more)
    desk.resolver.put(KEY_NAME, "TXT", key_record(rsa_key()))
    return desk


async def hand_in(client: Client, message: bytes, recipient: str = "ada@example.org") -> str:
    await client.line("MAIL FROM:<bob@example.net>")
    await client.line(f"RCPT TO:<{recipient}>")
    await client.line("DATA")
    return "\n".join(await client.say(message.replace(b"\r\n.", b"\r\n..") + b".\r\n"))


def told(desk: Desk) -> tuple[str, tuple[DkimResult, ...]]:
    """The reason and the results in the last event."""
    event = desk.recorder.of("smtp.message")[-1]
    for each in event.verdicts:
        if each.check == "content.dkim" and each.reason:
            assert each.verdict == "pass"
            return each.reason, each.facts["dkim"]
    return "", ()


async def test_the_record_and_the_next_reader_learn_who_has_signed() -> None:
    desk = desk_with_key()
    assert (await hand_in(await stranger(desk), signed(LETTER))).startswith("250 2.0.0")
    reason, (result,) = told(desk)
    assert reason == "pass example.net (rsa-sha256, 2048 bits)"
    assert (result.domain, result.selector, result.signed) == (
        "example.net",
        "s1",
        ("from", "to", "subject", "date"),
    )
    entry, _ = desk.spool.only
    assert b";\r\n\tdkim=pass header.d=example.net header.s=s1 header.a=rsa-sha256\r\n" in entry.prefix
    assert entry.prefix.startswith(b"Authentication-Results: mx.example.org;\r\n")
    assert desk.resolver.asked.count((KEY_NAME, "TXT")) == 1


async def test_a_broken_signature_and_one_without_a_key_refuse_nothing() -> None:
    desk = desk_with_key()
    message = signed(signed(LETTER, s="other")).replace(b"Hello", b"Bye")
    assert (await hand_in(await stranger(desk), message)).startswith("250 2.0.0")
    reason, (first, second) = told(desk)
    assert (first.result, second.result) == ("fail", "permerror")
    assert reason == (
        "fail example.net (rsa-sha256, 2048 bits): the body is not the one that was signed; "
        "permerror example.net: there is no key other._domainkey.example.net"
    )
    entry, _ = desk.spool.only
    assert b'\tdkim=fail reason="the body is not the one that was signed"' in entry.prefix


async def test_mail_without_a_signature_asks_nobody_and_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("it was looked at")

    monkeypatch.setitem(GATHERERS, "dkim", never)  # type: ignore[arg-type]
    desk = desk_with_key()
    assert (await hand_in(await stranger(desk), LETTER)).startswith("250 2.0.0")
    assert told(desk) == ("", ())
    assert not any("_domainkey" in name for name, _ in desk.resolver.asked)
    entry, _ = desk.spool.only
    assert b";\r\n\tdkim=none\r\n" in entry.prefix


async def test_who_has_logged_in_is_not_looked_at_and_gets_no_field() -> None:
    desk = desk_with_key()
    message = signed(LETTER.replace(b"bob@example.net", b"ada@example.org"))
    assert (await submit(await logged_in(desk), message, BOB)).startswith("250")
    assert told(desk) == ("", ())
    assert b"Authentication-Results" not in desk.spool.only[0].prefix


async def test_where_the_dns_is_silent_the_mail_is_taken_and_the_result_is_a_temperror(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gather_dkim, "KEYS_SECONDS", 0.01)
    desk = desk_with_key()
    query = desk.resolver.query

    async def silent(name: str, rdtype: str) -> Answer:
        if "_domainkey" in name:
            await asyncio.Event().wait()
        return await query(name, rdtype)

    desk.resolver.query = silent  # type: ignore[method-assign]
    assert (await hand_in(await stranger(desk), signed(LETTER))).startswith("250 2.0.0")
    assert told(desk)[1][0].result == "temperror"
    desk.resolver.query = query  # type: ignore[method-assign]
    desk.resolver.fail(KEY_NAME, "TXT")
    assert (await hand_in(await stranger(desk), signed(LETTER))).startswith("250 2.0.0")
    assert told(desk)[0].endswith("cannot be had (SERVFAIL)")


async def test_all_keys_are_asked_for_at_once() -> None:
    desk, waiting = desk_with_key(), []
    everybody = asyncio.Event()

    async def query(name: str, rdtype: str) -> Answer:
        if "_domainkey" not in name:
            return await type(desk.resolver).query(desk.resolver, name, rdtype)
        waiting.append(name)
        if len(waiting) == 3:
            everybody.set()
        await everybody.wait()
        return desk.resolver.answers[KEY_NAME, "TXT"]

    desk.resolver.query = query  # type: ignore[method-assign]
    message = signed(signed(signed(LETTER, s="a"), s="b"), s="c")
    assert (await hand_in(await stranger(desk), message)).startswith("250 2.0.0")
    assert [each.result for each in told(desk)[1]] == ["pass"] * 3


async def test_a_large_body_comes_to_the_same_result_in_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather_dkim, "INLINE_OCTETS", 10)
    desk = desk_with_key()
    message = signed(LETTER + b"a  line \r\n" * 30_000)
    assert (await hand_in(await stranger(desk), message)).startswith("250 2.0.0")
    assert told(desk)[1][0].result == "pass"


async def test_content_that_cannot_be_read_is_a_temperror(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise SpoolError("the file is gone")

    monkeypatch.setattr(gather_dkim, "_hash", broken)
    desk = desk_with_key()
    assert (await hand_in(await stranger(desk), signed(LETTER))).startswith("250 2.0.0")
    assert told(desk)[1][0].reason == "the message cannot be read now: the file is gone"


async def test_settings_say_how_long_keys_are_and_how_many_signatures_count() -> None:
    desk = desk_with_key(policy={"content.dkim": content_dkim.Settings(minimum_key_bits=3072, max_signatures=1)})
    await hand_in(await stranger(desk), signed(signed(LETTER)))
    assert [(each.result, each.key_bits) for each in told(desk)[1]] == [("permerror", 2048), ("neutral", 0)]


async def test_a_forged_result_in_our_name_is_taken_out_and_the_signature_still_passes() -> None:
    desk = desk_with_key()
    theirs = b"Authentication-Results: mx.example.net; spf=pass\r\n"
    message = signed(FORGED + theirs + LETTER, h="from:to:subject:date:authentication-results")
    await hand_in(await stranger(desk), message.replace(FORGED, FORGED.replace(b"bank", b"other")))
    assert told(desk)[1][0].result == "pass"
    entry, content = desk.spool.only
    assert b"bank.example" not in content
    assert b"other.example" not in content
    assert theirs in content
    assert entry.octets == len(entry.prefix) + len(content)
    assert desk.recorder.of("smtp.message")[-1].details["claims_removed"] == 1


async def test_what_a_users_program_hands_in_is_not_touched() -> None:
    desk = Desk()
    await submit(await logged_in(desk), FORGED + LETTER.replace(b"bob@example.net", b"ada@example.org"), BOB)
    assert FORGED in desk.spool.only[1]


@pytest.mark.parametrize("mode", ["shadow", "off"])
async def test_in_shadow_only_the_record_learns_of_it(mode: Any) -> None:
    desk = desk_with_key(
        policy={"content.dkim": content_dkim.Settings(mode=mode), "sender.spf": sender_spf.Settings(mode=mode)}
    )
    await hand_in(await stranger(desk), signed(LETTER))
    assert bool(told(desk)[1]) == (mode == "shadow")
    assert b"Authentication-Results" not in desk.spool.only[0].prefix


# --- keys that come along ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "state"),
    [
        (signed(letter(BOB), h=AUTOCRYPT), "used"),
        (signed(letter(BOB), h=AUTOCRYPT, d="net"), "unproven"),  # no key there
        (signed(letter("bob@mail.example.net"), h=AUTOCRYPT), "used"),
        (signed(letter("bob@example.com"), h=AUTOCRYPT), "unproven"),
        (signed(letter(BOB), h="from:to:subject"), "unproven"),
        (signed(letter(BOB), h="from:autocrypt").replace(b"Hello", b"Bye"), "unproven"),
        # Both say the same address; one of them was put in on the way.
        (b"Autocrypt: addr=x@example.net; keydata=AAAA\r\n" + signed(letter(BOB), h=AUTOCRYPT), "unproven"),
    ],
)
async def test_a_key_is_proven_where_the_authors_domain_has_signed_it(message: bytes, state: str) -> None:
    found, autocrypt, _ = gate()
    found.desk.resolver.put(KEY_NAME, "TXT", key_record(rsa_key()))
    assert (await hand_in(await stranger(found.desk), message)).startswith("250")
    await autocrypt.close()
    assert [kept.state for kept in await found.keys.list()] == [state]


async def test_a_domain_that_is_testing_and_a_check_in_shadow_prove_no_key() -> None:
    for record, mode in ((key_record(rsa_key(), t="y"), "enforce"), (key_record(rsa_key()), "shadow")):
        found, autocrypt, _ = gate(policy={"content.dkim": content_dkim.Settings(mode=mode)})  # type: ignore[arg-type]
        found.desk.resolver.put(KEY_NAME, "TXT", record)
        await hand_in(await stranger(found.desk), signed(letter(BOB), h=AUTOCRYPT))
        await autocrypt.close()
        assert [kept.state for kept in await found.keys.list()] == ["unproven"]


async def test_a_question_without_a_message_finds_nothing() -> None:
    desk = desk_with_key()
    client = await stranger(desk)
    session = client.session.gate
    session.parts = replace(session.parts, resolver=None)
    assert await gather_dkim.dkim(session, None) == ()  # type: ignore[arg-type]
