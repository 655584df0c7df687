"""Dialogues about sealing at the gate: who gets mail encrypted, who is refused, and that nothing leaves in clear."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.accounts.memory import MemoryAccounts
from tests.dialogues.test_limits import logged_in, stranger
from tests.dialogues.test_sealing import sealed_to, submit
from tests.seal.scene import MESSAGE, NOW, Person, anchor, pgp, pgp_key, pgp_person, smime
from tests.seal.test_discovery import Web, revoked
from tests.support.desk import Client, Desk, standard_accounts
from tests.support.memory_keys import MemoryKeys
from tests.support.memory_resolver import MemoryResolver

from gatepost.accounts.model import Account, OwnKey
from gatepost.seal.discovery import Discovery, DiscoverySettings
from gatepost.seal.keeping import placed
from gatepost.seal.opening import open_
from gatepost.seal.port import KeptKey
from gatepost.seal.rules import HeaderMatch, SealRule, SealSettings
from gatepost.seal.work import LARGE_OCTETS
from gatepost.spool.model import NewEntry
from gatepost.spool.port import SpoolError

BOB, EVE, DAN = "bob@example.net", "eve@example.net", "dan@partner.example"
SECRET = b"Gr\xc3\xbc\xc3\x9fe"  # in the body of MESSAGE
REQUIRED = SealRule(name="partners", recipients=("*@example.net", DAN), mode="required")
IF_KNOWN = SealRule(name="all", mode="opportunistic")


class AtHand:
    """Finds keys that are kept; known when the desk's clock is there."""

    discovery: Discovery

    async def find(self, *arguments: Any) -> Any:
        return await self.discovery.find(*arguments)


class Gate:
    """A desk with rules, and the keys that it knows."""

    def __init__(
        self, *rules: SealRule, accounts: MemoryAccounts | None = None, policy: Any = None, **settings: Any
    ) -> None:  # fmt: skip
        self.keys, self.dns, at_hand = MemoryKeys(), MemoryResolver(), AtHand()
        self.desk = Desk(
            sealing=SealSettings(rules=rules, **settings), finder=self, at_hand=at_hand, at=NOW.timestamp(),
            accounts=accounts, policy=policy,
        )  # fmt: skip
        self.discovery = Discovery(self.keys, self.desk.clock, self.dns, Web(), DiscoverySettings())
        known = DiscoverySettings(discovery=("pinned", "imported", "autocrypt"))
        at_hand.discovery = Discovery(self.keys, self.desk.clock, self.dns, Web(), known)

    async def find(self, *arguments: Any) -> Any:
        return await self.discovery.find(*arguments)

    async def knows(self, *people: Person) -> None:
        for person in people:
            await self.keys.put(KeptKey(key=msgspec.structs.replace(person.key, source="imported"), first_seen=NOW))

    @property
    def entries(self) -> list[tuple[NewEntry, bytes]]:
        return list(self.desk.spool.entries.values())

    @property
    def told(self) -> list[dict[str, Any]]:
        """What the events say was sealed."""
        return [each for event in self.desk.recorder.events for each in event.details.get("seal", ())]

    def is_nothing_kept(self) -> bool:
        return not self.entries and all(content.is_discarded for content in self.desk.spool.contents)


async def test_what_a_rule_requires_is_encrypted_and_told_without_content() -> None:
    gate = Gate(REQUIRED)
    await gate.knows(pgp(BOB))
    client = await logged_in(gate.desk)
    assert (await submit(client, MESSAGE, BOB)).startswith("250 2.0.0")
    ((entry, octets),) = gate.entries
    assert SECRET not in octets
    assert b"Subject: [...]" in octets
    assert b"Cardiff" not in octets + entry.prefix
    assert entry.prefix.startswith(b"Received: ")
    assert b"Message-ID" not in entry.prefix  # it is in the message, where the encryption protects it
    assert entry.octets == len(entry.prefix) + len(octets)
    assert entry.envelope.ret == "HDRS"
    opened = open_(octets, [pgp(BOB).secret], [], NOW)
    assert opened.text is not None
    assert SECRET in opened.text
    assert gate.told == [
        {"entry": entry.id, "recipients": [BOB], "rule": "partners", "kind": "openpgp", "signed": False,
         "keys": [pgp(BOB).key.fingerprint]}
    ]  # fmt: skip
    assert b"Cardiff" not in msgspec.json.encode(gate.desk.recorder.events)


async def test_fields_that_the_server_adds_are_protected_too() -> None:
    gate = Gate(REQUIRED)
    await gate.knows(pgp(BOB))
    client = await logged_in(gate.desk)
    bare = MESSAGE.replace(b"Message-ID: <1@example.org>\r\n", b"")
    assert (await submit(client, bare, BOB)).startswith("250")
    ((entry, octets),) = gate.entries
    added = f"Message-ID: <{entry.id.lower()}@mx.example.org>\r\n".encode()
    assert octets.count(added) == 1
    assert added not in entry.prefix
    opened = open_(octets, [pgp(BOB).secret], [], NOW)
    assert opened.text is not None
    assert added in opened.text
    assert opened.verdict.unprotected == ()


async def test_without_a_key_the_recipient_is_refused_and_told_what_to_do() -> None:
    gate = Gate(REQUIRED)
    client = await logged_in(gate.desk)
    reply = await submit(client, MESSAGE, BOB)
    assert reply == (
        "550 5.7.5 Mail for bob@example.net must be encrypted, and there is no key for it that can be used: "
        "ask for its OpenPGP key or S/MIME certificate and have your postmaster import it"
    )
    assert gate.is_nothing_kept()


async def test_an_expired_key_is_no_key_and_the_sender_is_told_so() -> None:
    gate = Gate(REQUIRED)
    await gate.knows(smime(BOB))
    gate.desk.clock.at += 400 * 86400
    client = await logged_in(gate.desk)
    reply = await submit(client, MESSAGE, BOB)
    assert reply.startswith("550 5.7.5")
    assert reply.endswith("its key has expired; ask its owner for a new one and have your postmaster import it")


async def test_a_revoked_key_is_no_key_and_the_sender_is_told_so() -> None:
    gate = Gate(REQUIRED)
    _, material = revoked()
    key = msgspec.structs.replace(pgp(BOB).key, material=material, source="imported")
    await gate.keys.put(KeptKey(key=key, first_seen=NOW))
    client = await logged_in(gate.desk)
    reply = await submit(client, MESSAGE, BOB)
    assert reply.startswith("550 5.7.5")
    assert "its owner has revoked the key; ask for a new one" in reply


async def test_a_changed_key_is_not_used_until_somebody_trusts_it() -> None:
    gate = Gate(REQUIRED)
    await gate.knows(pgp(BOB))
    other = pgp_person(pgp_key(BOB), BOB)
    for kept in placed(msgspec.structs.replace(other.key, source="wkd"), await gate.keys.find(BOB), NOW):
        await gate.keys.put(kept)
    client = await logged_in(gate.desk)
    assert (await submit(client, MESSAGE, BOB)).startswith("250")
    assert gate.told[0]["keys"] == [pgp(BOB).key.fingerprint]
    assert "changed" in gate.told[0]["warnings"][0]
    await gate.keys.remove(BOB, pgp(BOB).key.fingerprint)
    reply = await submit(client, MESSAGE, BOB)
    assert reply.endswith("its key has changed; compare the new one with its owner and have your postmaster trust it")
    await gate.keys.trust(BOB, other.key.fingerprint, NOW)
    assert (await submit(client, MESSAGE, BOB)).startswith("250")
    assert gate.told[-1]["keys"] == [other.key.fingerprint]


@pytest.mark.parametrize("rule", [REQUIRED, IF_KNOWN], ids=lambda rule: rule.mode)
async def test_a_look_up_without_an_answer_is_put_off_and_never_in_clear(rule: SealRule) -> None:
    """Whoever can make a look-up fail would else get the mail in clear."""
    gate = Gate(rule)
    gate.dns.fail("openpgpkey.example.net", "A")
    client = await logged_in(gate.desk)
    reply = await submit(client, MESSAGE, BOB)
    assert reply == "451 4.7.5 The encryption key of a recipient cannot be looked up now, try again later"
    assert gate.is_nothing_kept()


async def test_recipients_with_and_without_a_key_get_entries_of_their_own_in_one_commit() -> None:
    gate = Gate(IF_KNOWN)
    await gate.knows(pgp(BOB), smime(DAN))
    client = await logged_in(gate.desk)
    assert (await submit(client, MESSAGE, BOB, EVE, DAN)).startswith("250")
    by_recipient = {str(entry.envelope.recipients[0].path): (entry, octets) for entry, octets in gate.entries}
    assert set(by_recipient) == {BOB, EVE, DAN}
    assert by_recipient[EVE][1] == MESSAGE
    assert by_recipient[EVE][0].envelope.ret == ""
    for person, address in ((pgp(BOB), BOB), (smime(DAN), DAN)):
        entry, octets = by_recipient[address]
        assert SECRET not in octets
        assert entry.destinations == (address.partition("@")[2],)
        assert open_(octets, [person.secret], [], NOW).text is not None
    assert len({entry.id for entry, _ in gate.entries}) == 3
    assert gate.told[0]["clear"].startswith("WKD: the domain has no web server")
    events = gate.desk.recorder.of("smtp.message")
    assert sorted(event.id for event in events) == sorted(entry.id for entry, _ in gate.entries)
    assert {event.message for event in events[1:]} == {events[0].id}


async def test_a_disk_without_room_for_all_parts_keeps_none() -> None:
    gate = Gate(IF_KNOWN)
    await gate.knows(pgp(BOB))
    client = await logged_in(gate.desk)
    gate.desk.spool.fails = SpoolError("broken")
    assert (await submit(client, MESSAGE, BOB, EVE)).startswith("451 4.3.0")
    assert gate.is_nothing_kept()


async def test_a_key_that_is_worth_nothing_at_the_last_moment_keeps_nothing_in_clear() -> None:
    gate = Gate(REQUIRED)
    await gate.knows(smime(BOB))
    client = await logged_in(gate.desk)
    real = gate.desk.seal_work.seal_pieces

    def later(*arguments: Any) -> Any:
        *rest, options = arguments
        return real(*rest, msgspec.structs.replace(options, now=NOW + timedelta(days=4000)))

    gate.desk.seal_work.seal_pieces = later  # type: ignore[method-assign]
    assert await submit(client, MESSAGE, BOB) == (
        "451 4.7.5 The message could not be encrypted now, so nothing was sent; try again later"
    )
    assert gate.is_nothing_kept()


async def test_what_is_encrypted_already_is_left_as_it_is() -> None:
    gate = Gate(REQUIRED)
    await gate.knows(pgp(BOB))
    client = await logged_in(gate.desk)
    message = sealed_to(smime(BOB))
    assert (await submit(client, message, BOB)).startswith("250")
    ((_, octets),) = gate.entries
    assert octets == message
    assert gate.told == []


async def test_the_first_rule_that_fits_counts() -> None:
    rules = (
        SealRule(name="not eve", recipients=(EVE,), mode="off"),
        SealRule(name="smime only", recipients=(DAN,), mode="required", kind="smime"),
        SealRule(name="not from bob", senders=("bob@example.org",), mode="off"),
        REQUIRED,
    )
    gate = Gate(*rules)
    await gate.knows(pgp(DAN))
    ada = await logged_in(gate.desk)
    assert (await submit(ada, MESSAGE, EVE)).startswith("250")
    assert (await submit(ada, MESSAGE, DAN)).startswith("550 5.7.5")  # there is a key, of the other kind
    assert (await submit(ada, MESSAGE, BOB)).startswith("550 5.7.5")


async def test_a_rule_about_the_header_decides_when_the_message_is_there() -> None:
    marked = SealRule(name="marked", header=HeaderMatch(name="subject", contains="[secure]"), mode="required")
    gate = Gate(marked)
    client = await logged_in(gate.desk)
    assert (await submit(client, MESSAGE, BOB)).startswith("250")
    secure = MESSAGE.replace(b"The offer", b"[SECURE] The offer")
    assert (await submit(client, secure, BOB)).startswith("550 5.7.5 Mail for bob@example.net must be encrypted")
    await gate.knows(pgp(BOB))
    assert (await submit(client, secure, BOB)).startswith("250")
    assert SECRET in gate.entries[0][1]
    assert SECRET not in gate.entries[1][1]


async def test_what_the_domain_signs_can_be_checked() -> None:
    rule = msgspec.structs.replace(REQUIRED, sign=True)
    gate = Gate(rule, signers={"example.org": (pgp("ada@example.org").signing, smime("ada@example.org").signing)})
    await gate.knows(pgp(BOB), smime(DAN))
    client = await logged_in(gate.desk)
    assert (await submit(client, MESSAGE, BOB, DAN)).startswith("250")
    known = [pgp("ada@example.org").known(), anchor()]
    for (_, octets), person in zip(gate.entries, (pgp(BOB), smime(DAN)), strict=True):
        assert open_(octets, [person.secret], known, NOW).verdict.signature == "good"
    assert [each["signed"] for each in gate.told] == [True, True]


async def test_what_an_expired_key_has_to_sign_is_put_off() -> None:
    rule = msgspec.structs.replace(REQUIRED, sign=True)
    old = msgspec.structs.replace(pgp("ada@example.org").signing, valid_until=NOW - timedelta(days=1))
    gate = Gate(rule, signers={"example.org": (old,)})
    await gate.knows(pgp(BOB))
    assert (await submit(await logged_in(gate.desk), MESSAGE, BOB)).startswith("451 4.7.5")
    assert gate.is_nothing_kept()


async def test_a_large_message_is_sealed_too() -> None:
    gate = Gate(REQUIRED)
    await gate.knows(pgp(BOB))
    client = await logged_in(gate.desk)
    large = MESSAGE.replace(b"AAECAwQ=\r\n", b"QUJDREVGR0hJ\r\n" * (LARGE_OCTETS // 14 + 1))
    assert (await submit(client, large, BOB)).startswith("250")
    opened = open_(gate.entries[0][1], [pgp(BOB).secret], [], NOW)
    assert opened.text is not None
    assert SECRET in opened.text
    await gate.desk.seal_work.close()


async def test_for_our_own_domains_nobody_else_is_asked_for_a_key() -> None:
    """Colleagues could not write to each other while the DNS was away."""
    gate = Gate(IF_KNOWN)
    gate.dns.fail("openpgpkey.example.org", "A")
    client = await logged_in(gate.desk)
    assert (await submit(client, MESSAGE, "bob@example.org")).startswith("250")
    await gate.knows(pgp("bob@example.org"))
    assert (await submit(client, MESSAGE, "bob@example.org")).startswith("250")
    assert [SECRET in octets for _, octets in gate.entries] == [True, False]
    assert gate.dns.asked == []


async def test_an_account_with_a_key_of_its_own_satisfies_a_rule() -> None:
    gate = Gate(SealRule(name="all", mode="required"), accounts=_wants(pgp("ada@example.org")))
    client = await logged_in(gate.desk)
    assert (await submit(client, MESSAGE, "bob@example.org")).startswith("550 5.7.5")
    assert (await submit(client, MESSAGE, "ada@example.org")).startswith("250")
    assert gate.told[0]["rule"] == "account"


async def test_strangers_mail_is_none_of_the_rules_business() -> None:
    gate = Gate(IF_KNOWN, msgspec.structs.replace(REQUIRED, recipients=("*",)))
    client = await stranger(gate.desk)
    assert (await taken(client, "ada@example.org")).startswith("250")
    assert SECRET in gate.entries[0][1]


async def taken(client: Client, *recipients: str) -> str:
    await client.line("MAIL FROM:<bob@example.net>")
    for recipient in recipients:
        reply = await client.line(f"RCPT TO:<{recipient}>")
        if not reply.startswith("250"):
            return reply
    await client.line("DATA")
    return "\n".join(await client.say(MESSAGE.replace(b"\r\n.", b"\r\n..") + b".\r\n"))


def _wants(person: Person, *, until: float | None = None) -> MemoryAccounts:
    """The usual accounts, of which ada wants her mail encrypted."""
    own = OwnKey(person.key.kind, person.key.fingerprint, person.key.material, until)
    found = MemoryAccounts(*standard_accounts())
    ada = found.find("ada@example.org")
    assert isinstance(ada, Account)
    found.put(msgspec.structs.replace(ada, seal=own))
    return found


@pytest.mark.parametrize("person", [pgp("ada@example.org"), smime("ada@example.org")], ids=lambda each: each.key.kind)
async def test_incoming_mail_is_encrypted_to_the_accounts_own_key_before_it_is_spooled(person: Person) -> None:
    gate = Gate(accounts=_wants(person))
    client = await stranger(gate.desk)
    assert (await taken(client, "ada+shop@example.org")).startswith("250")
    ((_, octets),) = gate.entries
    assert SECRET not in octets
    assert b"Subject: The offer to Cardiff" in octets  # she wants to find it
    assert gate.told[0]["rule"] == "account"
    opened = open_(octets, [person.secret], [], NOW)
    assert opened.text is not None
    assert SECRET in opened.text


async def test_others_of_the_same_message_get_it_as_it_came() -> None:
    gate = Gate(accounts=_wants(pgp("ada@example.org")))
    client = await stranger(gate.desk)
    assert (await taken(client, "ada@example.org", "bob@example.org")).startswith("250")
    by_recipient = {str(entry.envelope.recipients[0].path): octets for entry, octets in gate.entries}
    assert SECRET not in by_recipient["ada@example.org"]
    assert by_recipient["bob@example.org"] == MESSAGE


async def test_an_account_whose_key_has_ended_gets_mail_later_and_not_in_clear() -> None:
    gate = Gate(accounts=_wants(pgp("ada@example.org"), until=NOW.timestamp() - 1))
    client = await stranger(gate.desk)
    assert (await taken(client, "ada@example.org")).startswith("451 4.3.0")
    assert (await taken(client, "bob@example.org")).startswith("250")
