"""Dialogues about lists and aliases of several, of whose members some want their mail encrypted: what lies in the queue
for them is encrypted before the 250, and everybody else gets it as ever."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.accounts.memory import MemoryAccounts
from tests.dialogues.test_limits import logged_in, stranger
from tests.dialogues.test_seal_rules import SECRET, Gate, taken
from tests.dialogues.test_sealing import sealed_to, submit
from tests.seal.scene import NOW, Person, pgp, smime
from tests.support.desk import standard_accounts

from gatepost.accounts.model import Account, Alias, MailingList, OwnKey
from gatepost.intake import members
from gatepost.mail.envelope import EVERYBODY
from gatepost.seal.opening import open_
from gatepost.seal.rules import SealRule
from gatepost.spool.model import NewEntry
from gatepost.spool.port import SpoolError

ADA, BOB, FAR = "ada@example.org", "bob@example.org", "eve@far.example"
BOTH, TEAM = "both@example.org", "team@example.org"


def accounts(*people: Person, until: float | None = None, targets: tuple[str, ...] = (ADA, BOB)) -> MemoryAccounts:
    """The usual accounts, an alias and a list of `targets`; `people` want their mail encrypted."""
    found = MemoryAccounts(*standard_accounts())
    for person in people:
        account = found.find(person.key.address)
        assert isinstance(account, Account)
        own = OwnKey(person.key.kind, person.key.fingerprint, person.key.material, until)
        found.put(msgspec.structs.replace(account, seal=own))
    found.put(Alias(BOTH, targets))
    found.put(MailingList(TEAM, targets, ("owner@example.org",), "anyone"))
    return found


def by_recipient(gate: Gate) -> dict[str, tuple[NewEntry, bytes]]:
    return {str(each.path): (entry, octets) for entry, octets in gate.entries for each in entry.envelope.recipients}


def text_for(person: Person, octets: bytes) -> bytes:
    opened = open_(octets, [person.secret], [], NOW)
    assert opened.text is not None
    return opened.text


@pytest.mark.parametrize("name", [BOTH, TEAM])
@pytest.mark.parametrize("other", [pgp(BOB), smime(BOB)], ids=lambda each: each.key.kind)
async def test_where_all_members_want_it_nothing_lies_in_clear(name: str, other: Person) -> None:
    gate = Gate(accounts=accounts(pgp(ADA), other))
    assert (await taken(await stranger(gate.desk), name)).startswith("250")
    found = by_recipient(gate)
    assert set(found) == {ADA, BOB}
    for person in (pgp(ADA), other):
        entry, octets = found[person.key.address]
        assert SECRET not in octets
        assert SECRET in text_for(person, octets)
        assert entry.prefix.startswith(f"Delivered-To: {name}\r\n".encode())
        assert b"\r\nReceived: " in entry.prefix
        assert (entry.destinations, entry.envelope.ret) == (("local",), "HDRS")
        assert entry.octets == len(entry.prefix) + len(octets)
        (told,) = [each for each in gate.told if each["recipients"] == [person.key.address]]
        assert (told["rule"], told["behind"], told["entry"]) == ("account", name, entry.id)
        assert told["keys"] == [person.key.fingerprint]  # and nobody else's
    assert all(content.is_discarded for content in gate.desk.spool.contents[:1])
    events = gate.desk.recorder.of("smtp.message")
    assert sorted(event.id for event in events) == sorted(entry.id for entry, _ in gate.entries)


async def test_the_others_get_it_over_the_list_and_are_told_who_has_it_already() -> None:
    gate = Gate(accounts=accounts(pgp(ADA), targets=(ADA, BOB, FAR)))
    assert (await taken(await stranger(gate.desk), TEAM, "bob@example.org")).startswith("250")
    found = by_recipient(gate)
    assert set(found) == {ADA, TEAM, BOB}
    assert SECRET not in found[ADA][1]
    entry, octets = found[TEAM]
    assert SECRET in octets
    assert [each.served for each in entry.envelope.recipients] == [(ADA,), ()]


async def test_a_lists_member_hears_of_its_owner_and_an_aliass_of_the_sender() -> None:
    for name, reverse_path in ((TEAM, "owner@example.org"), (BOTH, "bob@example.net")):
        gate = Gate(accounts=accounts(pgp(ADA)))
        client = await stranger(gate.desk)
        await client.line("MAIL FROM:<bob@example.net> ENVID=e1 RET=FULL")
        words = "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;old@example.net"
        assert (await client.line(f"RCPT TO:<{name}> {words}")).startswith("250")
        await client.line("DATA")
        assert "250" in "\n".join(await client.say(b"From: bob@example.net\r\n\r\nHello\r\n.\r\n"))
        envelope = by_recipient(gate)[ADA][0].envelope
        (recipient,) = envelope.recipients
        assert str(envelope.reverse_path) == reverse_path
        expected: Any = (("FAILURE",), "rfc822;old@example.net", "e1") if name == BOTH else ((), "", "")
        assert (recipient.notify, recipient.orcpt, envelope.envid) == expected
        left = by_recipient(gate)[name][0].envelope.recipients[0]
        assert (left.notify, left.served) == (("SUCCESS", "FAILURE"), (ADA,))


async def test_who_asked_for_a_notice_of_success_gets_it_though_nobody_is_left() -> None:
    gate = Gate(accounts=accounts(pgp(ADA), pgp(BOB)))
    client = await stranger(gate.desk)
    await client.line("MAIL FROM:<bob@example.net>")
    await client.line(f"RCPT TO:<{BOTH}> NOTIFY=SUCCESS")
    await client.line("DATA")
    await client.say(b"From: bob@example.net\r\n\r\nHello-Bob\r\n.\r\n")
    entry, octets = by_recipient(gate)[BOTH]
    assert (entry.envelope.recipients[0].served, entry.envelope.recipients[0].notify) == (EVERYBODY, ("SUCCESS",))
    assert b"Hello-Bob" not in octets


async def test_a_notice_for_a_list_goes_to_its_owners() -> None:
    store = accounts(pgp(ADA), pgp(BOB))
    store.put(MailingList(TEAM, (BOB,), (ADA,), "anyone"))
    gate = Gate(accounts=store)
    client = await stranger(gate.desk)
    await client.line("MAIL FROM:<>")
    await client.line(f"RCPT TO:<{TEAM}>")
    await client.line("DATA")
    await client.say(b"From: mailer@example.net\r\n\r\nHello\r\n.\r\n")
    found = by_recipient(gate)
    assert set(found) == {ADA}
    assert found[ADA][0].envelope.reverse_path.is_null


async def test_a_members_key_that_cannot_be_used_holds_up_nobody() -> None:
    store = accounts(pgp(ADA), pgp(BOB))
    ada = store.find(ADA)
    assert isinstance(ada, Account)
    store.put(msgspec.structs.replace(ada, seal=OwnKey("openpgp", pgp(ADA).key.fingerprint, b"damaged")))
    gate = Gate(accounts=store)
    assert (await taken(await stranger(gate.desk), TEAM)).startswith("250")
    found = by_recipient(gate)
    assert set(found) == {BOB, TEAM}
    assert SECRET not in found[BOB][1]
    assert found[TEAM][0].envelope.recipients[0].served == (BOB,)
    (told,) = [each for each in gate.told if each["recipients"] == [TEAM]]
    assert ADA in told["clear"]


async def test_an_expired_key_is_a_members_own_trouble() -> None:
    gate = Gate(accounts=accounts(pgp(ADA), until=NOW.timestamp() - 1))
    assert (await taken(await stranger(gate.desk), TEAM)).startswith("250")
    ((entry, octets),) = gate.entries
    assert (SECRET in octets, entry.envelope.recipients[0].served) == (True, ())


async def test_a_disk_without_room_keeps_no_members_copy() -> None:
    gate = Gate(accounts=accounts(pgp(ADA)))
    gate.desk.spool.fails = SpoolError("broken")
    assert (await taken(await stranger(gate.desk), TEAM)).startswith("451 4.3.0")
    assert gate.is_nothing_kept()


async def test_more_members_than_can_be_waited_for_share_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_APART", 1)
    gate = Gate(accounts=accounts(pgp(ADA), pgp(BOB)))
    assert (await taken(await stranger(gate.desk), TEAM)).startswith("250")
    ((entry, octets),) = gate.entries
    assert [str(each.path) for each in entry.envelope.recipients] == [ADA, BOB]
    assert SECRET in text_for(pgp(ADA), octets)
    assert SECRET in text_for(pgp(BOB), octets)


async def test_what_is_encrypted_already_stays_with_the_list() -> None:
    gate = Gate(accounts=accounts(pgp(ADA)))
    client = await logged_in(gate.desk)
    message = sealed_to(smime("bob@example.net"))
    assert (await submit(client, message, TEAM)).startswith("250")
    ((entry, octets),) = gate.entries
    assert (octets, entry.envelope.recipients[0].served) == (message, ())


async def test_what_a_rule_signs_is_signed_for_everybody_on_a_list() -> None:
    signers = {"example.org": (pgp(ADA).signing,)}
    gate = Gate(SealRule(name="all", mode="off", sign=True), accounts=accounts(pgp(BOB)), signers=signers)
    assert (await submit(await logged_in(gate.desk), b"From: ada@example.org\r\n\r\nHello\r\n", TEAM)).startswith("250")
    found = by_recipient(gate)
    assert b"BEGIN PGP SIGNATURE" in found[TEAM][1]
    verdict = open_(found[BOB][1], [pgp(BOB).secret], [pgp(ADA).known()], NOW).verdict
    assert (verdict.is_encrypted, verdict.signature) == (True, "good")


async def test_where_nobody_wants_it_the_list_is_one_entry_as_ever() -> None:
    gate = Gate(accounts=accounts())
    assert (await taken(await stranger(gate.desk), TEAM, BOTH)).startswith("250")
    ((entry, octets),) = gate.entries
    assert (SECRET in octets, [str(each.path) for each in entry.envelope.recipients]) == (True, [TEAM, BOTH])
    assert gate.told == []
