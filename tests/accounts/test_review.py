from __future__ import annotations

import pytest
from tests.accounts.memory import MemoryAccounts, RemoteAccounts

from gatepost.accounts.directory import Directory
from gatepost.accounts.model import Account, Alias, Domain, Found, MailingList
from gatepost.accounts.review import review
from gatepost.mail.address import Path

ADA = Account("ada@example.org")
RELAYED = Domain("gate.example", relay_to="smtp://192.0.2.9")
POSTMASTER = Path("ada", "example.org")


async def concerns(
    *items: Found, postmaster: Path | None = POSTMASTER, kind: type[MemoryAccounts] = MemoryAccounts
) -> list[str]:
    store = kind(*items)
    domains = {"example.org": Domain("example.org"), "gate.example": RELAYED}
    return await review(Directory(domains, store, "mx.example.org", postmaster), store)


@pytest.mark.parametrize("kind", [MemoryAccounts, RemoteAccounts])
async def test_a_house_in_order_raises_no_concern(kind: type[MemoryAccounts]) -> None:
    club = MailingList(
        "club@example.org", ("ada@example.org", "eve@far.example", "x@gate.example"), ("ada@example.org",)
    )
    help_alias = Alias("help@example.org", ("Ada+x@example.org", "postmaster@example.org", "club@example.org"))
    assert await concerns(ADA, club, help_alias, kind=kind) == []


@pytest.mark.parametrize(
    ("items", "postmaster", "concern"),
    [
        ((), Path("ops", "far.example"), "domain example.org: it has no account, alias or list"),
        ((ADA,), None, "postmaster: it is not set"),
        ((ADA,), Path("bob", "example.org"), "postmaster = bob@example.org: nobody has that address"),
        ((ADA,), Path("postmaster", "example.org"), "postmaster = postmaster@example.org: nobody has that address"),
        ((ADA, Account("x@old.example")), POSTMASTER, "account x@old.example: old.example is none of our domains"),
        (
            (ADA, Alias("a@example.org", ("gone@example.org",))),
            POSTMASTER,
            "target gone@example.org does not exist",
        ),
        (
            (ADA, MailingList("c@example.org", ("gone@example.org",), ("ada@example.org",))),
            POSTMASTER,
            "list c@example.org: gone@example.org does not exist",
        ),
        (
            (ADA, MailingList("c@example.org", ("ada@example.org",), ("gone@example.org",))),
            POSTMASTER,
            "list c@example.org: gone@example.org does not exist",
        ),
        ((ADA, MailingList("c@example.org", ("ada@example.org",), ())), POSTMASTER, "it has no owner"),
        ((ADA, Alias("a@example.org", ("no address",))), POSTMASTER, "its target no address does not exist"),
    ],
)
async def test_what_leads_nowhere_is_named_with_what_to_do(
    items: tuple[Found, ...], postmaster: Path | None, concern: str
) -> None:
    found = await concerns(*items, postmaster=postmaster)
    assert len(found) == 1
    assert concern in found[0]
    assert any(word in found[0] for word in ("add", "set", "give", "correct"))
