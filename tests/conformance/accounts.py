"""What every AccountStore does. An engine's test module subclasses this and gives `store`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import TypeVar

import pytest

from gatepost.accounts.model import Account, Alias, Credential, Found, MailingList, ScramVerifier
from gatepost.accounts.port import AccountsError, AccountStore

T = TypeVar("T")

CREDENTIAL = Credential(
    name="phone",
    argon2="$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
    scram=ScramVerifier(salt=b"\x00\xffsalt", iterations=10000, stored_key=b"\x80" * 32, server_key=b"\x01" * 32),
    created=1_764_000_000.25,
    ends=1_790_000_000.0,
)
ADA = Account(
    "ada@example.org",
    (CREDENTIAL,),
    quota=10**9,
    send_as=("@example.net", "info@example.com"),
    role="admin",
    created=1.5,
)
HELP = Alias("help@example.org", ("ada@example.org", "Bob@Far.example"))
CLUB = MailingList("club@example.net", ("ada@example.org", "eve@far.example"), ("ada@example.org",), post="anyone")


async def now(answer: T | Awaitable[T]) -> T:
    return await answer if inspect.isawaitable(answer) else answer


class AccountStoreConformance:
    """The suite."""

    @pytest.mark.parametrize(
        "item", [ADA, HELP, CLUB, Alias("@example.org", ("ada@example.org",))], ids=lambda i: i.address
    )
    async def test_what_was_put_is_found_whole(self, store: AccountStore, item: Found) -> None:
        store.put(item)
        assert await now(store.find(item.address)) == item

    async def test_what_was_never_put_is_not_found(self, store: AccountStore) -> None:
        assert await now(store.find("nobody@example.org")) is None
        assert store.remove("nobody@example.org") is False

    async def test_only_the_exact_key_is_found(self, store: AccountStore) -> None:
        store.put(ADA)
        for other in ("ada+x@example.org", "ADA@example.org", "ada@example.net", "@example.org", "ada"):
            assert await now(store.find(other)) is None

    async def test_a_put_replaces_and_a_look_up_afterwards_sees_it(self, store: AccountStore) -> None:
        store.put(ADA)
        assert await now(store.find(ADA.address)) == ADA
        changed = Account(ADA.address, quota=5)
        store.put(changed)
        assert await now(store.find(ADA.address)) == changed

    async def test_an_address_once_looked_up_in_vain_is_found_when_it_was_added(self, store: AccountStore) -> None:
        assert await now(store.find(ADA.address)) is None
        store.put(ADA)
        assert await now(store.find(ADA.address)) == ADA

    async def test_what_was_removed_is_gone_and_its_address_is_free_for_another_kind(self, store: AccountStore) -> None:
        store.put(HELP)
        assert store.remove(HELP.address) is True
        assert await now(store.find(HELP.address)) is None
        assert await now(store.naming("ada@example.org")) == []
        store.put(Account(HELP.address))
        assert await now(store.find(HELP.address)) == Account(HELP.address)

    @pytest.mark.parametrize("first", [Account("x@example.org"), Alias("x@example.org", ("a@b.example",))])
    async def test_an_address_taken_by_another_kind_is_refused_and_stays_what_it_was(
        self, store: AccountStore, first: Found
    ) -> None:
        store.put(first)
        with pytest.raises(AccountsError, match=r"x@example\.org"):
            store.put(MailingList("x@example.org", (), ()))
        assert await now(store.find("x@example.org")) == first

    async def test_naming_knows_the_aliases_of_an_address_however_it_was_typed(self, store: AccountStore) -> None:
        store.put(HELP)
        store.put(Alias("@example.org", ("ADA@EXAMPLE.ORG", "ada@example.org")))
        store.put(Alias("other@example.org", ("bob@example.org",)))
        assert sorted(await now(store.naming("ada@example.org"))) == ["@example.org", "help@example.org"]
        assert await now(store.naming("bob@far.example")) == ["help@example.org"]

    async def test_naming_forgets_the_targets_that_an_alias_no_longer_has(self, store: AccountStore) -> None:
        store.put(HELP)
        store.put(Alias(HELP.address, ("bob@example.org",)))
        assert await now(store.naming("ada@example.org")) == []

    async def test_lists_of_each_kind_are_of_one_domain_or_of_all(self, store: AccountStore) -> None:
        far = Account("zoe@example.net")
        for item in (ADA, far, HELP, CLUB):
            store.put(item)
        assert {a.address for a in store.accounts()} == {ADA.address, far.address}
        assert store.accounts("example.net") == [far]
        assert store.aliases() == [HELP]
        assert store.aliases("example.net") == []
        assert store.lists("example.net") == [CLUB]
        assert store.lists("example.org") == []
