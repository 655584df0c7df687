"""Maildrops of accounts that want their mail encrypted: what reaches them over an alias or as a notice is, too."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.accounts.memory import MemoryAccounts
from tests.seal.scene import MESSAGE, NOW, Person, pgp, smime
from tests.support.clock import HandClock
from tests.support.desk import NOBODY_HAS_A_KEY
from tests.support.memory_maildrops import MemoryMaildrops

from gatepost.accounts.directory import Directory
from gatepost.accounts.model import Account, Domain, OwnKey
from gatepost.delivery.sealed_maildrops import SealedMaildrops
from gatepost.gate.sealing import Sealer
from gatepost.maildrop.port import Arrival, MaildropError
from gatepost.seal.opening import open_
from gatepost.seal.rules import SealSettings
from gatepost.seal.work import SealWork

ADA, BOB = "ada@example.org", "bob@example.org"


async def pieces(octets: bytes) -> AsyncIterator[bytes]:
    yield octets[:100]
    yield octets[100:]


class Drops:
    """ada wants her mail encrypted, bob does not."""

    def __init__(self, person: Person) -> None:
        own = OwnKey(person.key.kind, person.key.fingerprint, person.key.material)
        self.accounts = MemoryAccounts(Account(ADA, seal=own), Account(BOB))
        self.clock = HandClock(NOW.timestamp())
        self.inner = MemoryMaildrops()
        sealer = Sealer(SealSettings(), NOBODY_HAS_A_KEY, SealWork(), self.clock)
        directory = Directory({"example.org": Domain("example.org")}, self.accounts, "mx.example.org")
        self.store = SealedMaildrops(self.inner, directory, sealer)

    def kept(self, account: str) -> bytes:
        (octets,) = self.inner.kept[account].values()
        return octets


@pytest.mark.parametrize("person", [pgp(ADA), smime(ADA)], ids=lambda person: person.key.kind)
async def test_it_is_encrypted_once_and_others_get_it_as_it_came(person: Person) -> None:
    drops = Drops(person)
    await drops.store.deliver(ADA, "1-0", b"Return-Path: <>\r\n", pieces(MESSAGE))
    await drops.store.deliver(BOB, "1-1", b"Return-Path: <>\r\n", pieces(MESSAGE))
    assert drops.kept(BOB) == b"Return-Path: <>\r\n" + MESSAGE
    sealed = drops.kept(ADA)
    assert sealed.startswith(b"Return-Path: <>\r\n")
    assert b"AAECAwQ=" not in sealed
    assert b"Subject: The offer to Cardiff" in sealed
    opened = open_(sealed, [person.secret], [], NOW)
    assert opened.text is not None
    assert b"AAECAwQ=" in opened.text
    again = Drops(person)
    await again.store.deliver(ADA, "2-0", b"", pieces(sealed))
    assert again.kept(ADA) == sealed


async def test_what_cannot_be_encrypted_waits_and_lies_nowhere_in_clear() -> None:
    drops = Drops(smime(ADA))
    drops.clock.at += 4000 * 86400
    with pytest.raises(MaildropError, match="expired"):
        await drops.store.deliver(ADA, "1-0", b"", pieces(MESSAGE))
    assert not drops.inner.kept.get(ADA)


async def test_of_many_at_once_each_has_its_own_answer() -> None:
    drops = Drops(pgp(ADA))
    ada = drops.accounts.find(ADA)
    assert isinstance(ada, Account)
    assert ada.seal is not None
    drops.accounts.put(msgspec.structs.replace(ada, address="eve@example.org"))  # with a key of somebody else
    arrivals = [Arrival(account, f"1-{n}", b"", MESSAGE) for n, account in enumerate((ADA, "eve@example.org", BOB))]
    places = await drops.store.deliver_all(arrivals)
    assert [isinstance(place, MaildropError) for place in places] == [False, True, False]
    assert b"AAECAwQ=" not in drops.kept(ADA)
    assert drops.kept(BOB) == MESSAGE
    assert not drops.inner.kept.get("eve@example.org")
