"""Dialogues about keys that come with mail: whose is used, whose is kept aside, and what costs nothing."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from tests.dialogues.test_limits import logged_in, stranger
from tests.dialogues.test_seal_rules import REQUIRED, Gate
from tests.dialogues.test_sealing import submit
from tests.policy import facts
from tests.seal.scene import MESSAGE, pgp

from gatepost.intake.autocrypt import MAX_AWAITED, Autocrypt
from gatepost.mail.header import walk
from gatepost.policy.check import CheckSettings
from gatepost.policy.checks import content_from
from gatepost.seal.port import KeyStoreError

ADA, BOB = "ada@example.org", "bob@example.net"


def letter(author: str, *, keydata: bytes | None = None) -> bytes:
    key = base64.b64encode(pgp(author).key.material if keydata is None else keydata)
    return (
        f"From: {author}\r\nTo: ada@example.org\r\nSubject: x\r\nDate: Mon, 2 Mar 2026 10:00:00 +0000\r\n"
        f"Message-ID: <1@example.net>\r\nAutocrypt: addr={author}; keydata={key.decode()}\r\n\r\nHello\r\n"
    ).encode()


def gate(*rules: Any, **settings: Any) -> tuple[Gate, Autocrypt, list[str]]:
    """A gate that keeps keys, what keeps them, and what it reports."""
    found, reported = Gate(*rules, **settings), []  # type: ignore[var-annotated]
    autocrypt = Autocrypt(found.keys, found.desk.clock, reported.append)
    found.desk.parts = replace(found.desk.parts, autocrypt=autocrypt)
    return found, autocrypt, reported


async def from_outside(found: Gate, content: bytes, *, sender: str = BOB, to: str = ADA) -> str:
    client = await stranger(found.desk)
    await client.line(f"MAIL FROM:<{sender}>")
    await client.line(f"RCPT TO:<{to}>")
    await client.line("DATA")
    return "\n".join(await client.say(content + b".\r\n"))


async def test_a_users_own_key_is_used() -> None:
    found, autocrypt, _ = gate()
    assert (await submit(await logged_in(found.desk), letter(ADA), BOB)).startswith("250")
    await autocrypt.close()
    (kept,) = await found.keys.find(ADA)
    assert (kept.state, kept.key.fingerprint) == ("used", pgp(ADA).key.fingerprint)


@pytest.mark.parametrize("mode", ["off", "shadow"])
async def test_where_nothing_keeps_a_user_from_writing_as_another_one_it_proves_nothing(mode: Any) -> None:
    found, autocrypt, _ = gate(policy={content_from.NAME: CheckSettings(mode=mode)})
    assert (await submit(await logged_in(found.desk), letter("bob@example.org"), BOB)).startswith("250")
    await autocrypt.close()
    assert [each.state for each in await found.keys.list()] == ["unproven"]


async def test_a_strangers_key_is_never_used_and_the_refusal_names_it() -> None:
    found, autocrypt, _ = gate(REQUIRED)
    assert (await from_outside(found, letter(BOB))).startswith("250")
    await autocrypt.close()
    (kept,) = await found.keys.find(BOB)
    assert kept.state == "unproven"
    client = await logged_in(found.desk)
    reply = await submit(client, MESSAGE, BOB)
    assert reply == (
        "550 5.7.5 Mail for bob@example.net must be encrypted, and there is no key for it that can be used: a mail "
        f"brought the key {pgp(BOB).key.fingerprint}, and nothing proves whose it is; compare it with its owner and "
        "have your postmaster trust it"
    )
    await found.keys.trust(BOB, pgp(BOB).key.fingerprint, found.desk.clock.now())
    assert (await submit(client, MESSAGE, BOB)).startswith("250")
    assert found.told[-1]["keys"] == [pgp(BOB).key.fingerprint]


async def test_a_strangers_key_warns_nobody_who_has_another_one() -> None:
    """Anybody could else make each letter to somebody come with a warning."""
    found, autocrypt, _ = gate(REQUIRED)
    await found.knows(pgp(BOB))
    other = bytes(pgp("other@example.net").key.material)
    await from_outside(found, letter(BOB, keydata=other))
    await from_outside(found, letter(BOB))
    await autocrypt.close()
    assert (await submit(await logged_in(found.desk), MESSAGE, BOB)).startswith("250")
    assert "warnings" not in found.told[0]


async def test_what_is_refused_tells_no_key() -> None:
    found, autocrypt, _ = gate()
    twice = letter(BOB).replace(b"Subject: x", b"Subject: x\r\nSubject: y")
    assert not (await from_outside(found, twice)).startswith("250")
    await autocrypt.close()
    assert await found.keys.list() == ()


async def test_a_key_that_comes_each_day_is_looked_at_once() -> None:
    found, autocrypt, _ = gate()
    await from_outside(found, letter(BOB))
    await autocrypt.close()
    await found.keys.remove(BOB)
    await from_outside(found, letter(BOB))
    await autocrypt.close()
    assert await found.keys.find(BOB) == ()
    found.desk.clock.at += 2 * 86400
    await from_outside(found, letter(BOB))
    await autocrypt.close()
    assert len(await found.keys.find(BOB)) == 1


async def test_a_store_that_fails_is_told_and_the_mail_was_taken() -> None:
    found, autocrypt, reported = gate()

    async def fails(*_: Any, **__: Any) -> bool:
        raise KeyStoreError("keys.db cannot be written")

    found.keys.put_unproven = fails  # type: ignore[method-assign]
    assert (await from_outside(found, letter(BOB))).startswith("250")
    await autocrypt.close()
    assert reported == ["keys.db cannot be written"]


async def test_mail_without_the_field_costs_nothing() -> None:
    found, autocrypt, _ = gate()
    taken: list[Any] = []
    autocrypt.accepted = lambda *given, **_: taken.append(given)  # type: ignore[method-assign]
    await from_outside(found, letter(BOB).replace(b"Autocrypt:", b"X-Other:"))
    assert taken == []
    await from_outside(found, letter(BOB))
    assert len(taken) == 1


async def test_of_a_flood_what_cannot_wait_is_left_out() -> None:
    found, autocrypt, _ = gate()
    looked: list[str] = []

    async def put(kept: Any, *_: Any, **__: Any) -> bool:
        looked.append(kept.key.address)
        return True

    found.keys.put_unproven = put  # type: ignore[method-assign]
    for number in range(MAX_AWAITED + 20):
        section = walk(letter(BOB).replace(b"keydata", b"_n=%d; keydata" % number).partition(b"Hello")[0])
        autocrypt.accepted(section, facts.message())
    await autocrypt.close()
    assert len(looked) == MAX_AWAITED
