from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import TypeVar

import pytest
from tests.accounts.memory import MemoryAccounts, RemoteAccounts

from gatepost.accounts.directory import Directory
from gatepost.accounts.model import Account, Alias, Domain, Found, MailingList, Target
from gatepost.accounts.port import AccountsError
from gatepost.mail.address import NULL_PATH, Path, parse_mailbox

T = TypeVar("T")
HOSTNAME = "mx.example.org"
DOMAINS = {
    "example.org": Domain("example.org"),
    "bücher.example": Domain("bücher.example"),
    "caught.example": Domain("caught.example"),
    "empty.example": Domain("empty.example"),
    "gate.example": Domain("gate.example", relay_to="smtp://192.0.2.9"),
}
ADA = Account("ada@example.org")
BOB = Account("bob@example.org")
ITEMS: tuple[Found, ...] = (
    ADA,
    BOB,
    Account("jörg@xn--bcher-kva.example"),
    Account("carl@caught.example"),
    Account("gus@gate.example"),
    Alias("help@example.org", ("ada@example.org", "Zoe@Far.example")),
    Alias("all@example.org", ("help@example.org", "bob@example.org", "ada@example.org", "Zoe@Far.example")),
    Alias("@caught.example", ("bob@example.org",)),
    Alias("alias@gate.example", ("bob@example.org",)),
    Alias("abuse@empty.example", ("bob@example.org",)),
    Alias("dead@example.org", ("gone@example.org", "ada@example.org")),
    Alias("ring1@example.org", ("ring2@example.org",)),
    Alias("ring2@example.org", ("ring1@example.org",)),
    Alias("tied@example.org", ("ring1@example.org", "tied@example.org", "ada@example.org")),
    MailingList("club@example.org", ("ada@example.org", "eve@far.example"), ("bob@example.org", "ada@example.org")),
    MailingList("orphan@example.org", ("eve@far.example",), ()),
    MailingList("outer@example.org", ("club@example.org", "bob@example.org"), ("carl@caught.example",)),
)
POSTMASTER = Path("Ada", "Example.org")


@pytest.fixture(params=[MemoryAccounts, RemoteAccounts])
def store(request: pytest.FixtureRequest) -> MemoryAccounts:
    made = request.param(*ITEMS)
    assert isinstance(made, MemoryAccounts)
    return made


def directory(store: MemoryAccounts, postmaster: Path | None = POSTMASTER) -> Directory:
    return Directory(DOMAINS, store, HOSTNAME, postmaster)


async def now(answer: T | Awaitable[T]) -> T:
    return await answer if inspect.isawaitable(answer) else answer


def path(text: str) -> Path:
    return parse_mailbox(text) if "@" in text else Path(text, "")


@pytest.mark.parametrize(
    ("text", "kind", "address"),
    [
        ("ada@example.org", "account", "ada@example.org"),
        ("ADA@EXAMPLE.ORG", "account", "ada@example.org"),
        ("ada+news@example.org", "account", "ada@example.org"),
        ("help@example.org", "alias", "help@example.org"),
        ("help+x@example.org", "alias", "help@example.org"),
        ("club@example.org", "list", "club@example.org"),
        ("nobody@example.org", "unknown", "nobody@example.org"),
        ("nobody+ada@example.org", "unknown", "nobody+ada@example.org"),
        ("+ada@example.org", "unknown", "+ada@example.org"),
        ('""@example.org', "unknown", "@example.org"),
        ("jörg@bücher.example", "account", "jörg@xn--bcher-kva.example"),
        ("JÖRG@xn--bcher-kva.example", "account", "jörg@xn--bcher-kva.example"),
        ("x@caught.example", "catch-all", "@caught.example"),
        ("carl@caught.example", "account", "carl@caught.example"),
        ("carl+x@caught.example", "account", "carl@caught.example"),
        ('""@caught.example', "unknown", "@caught.example"),
        ("postmaster@example.org", "role", "postmaster@example.org"),
        ("PostMaster@empty.example", "role", "postmaster@empty.example"),
        ("abuse@caught.example", "role", "abuse@caught.example"),
        ("hostmaster@example.org", "role", "hostmaster@example.org"),
        ("root@example.org", "role", "root@example.org"),
        ("webmaster@example.org", "unknown", "webmaster@example.org"),
        ("abuse@empty.example", "alias", "abuse@empty.example"),
        ("postmaster", "role", "postmaster@mx.example.org"),
        ("root@mx.example.org", "role", "root@mx.example.org"),
        ("ada@mx.example.org", "unknown", "ada@mx.example.org"),
        ("x@gate.example", "relay", "x@gate.example"),
        ("alias@gate.example", "alias", "alias@gate.example"),
        ("gus@gate.example", "relay", "gus@gate.example"),
        ("postmaster@gate.example", "role", "postmaster@gate.example"),
        ("ada@far.example", "foreign", "ada@far.example"),
        ("postmaster@far.example", "foreign", "postmaster@far.example"),
        ("ada@sub.example.org", "foreign", "ada@sub.example.org"),
        ("ada@[192.0.2.1]", "foreign", "ada@[192.0.2.1]"),
        ('"ada@example.org"@far.example', "foreign", "ada@example.org@far.example"),
    ],
)
async def test_what_an_address_means(store: MemoryAccounts, text: str, kind: str, address: str) -> None:
    found = await now(directory(store).resolve(path(text)))
    assert (found.kind, found.address) == (kind, address)
    assert found.is_ours == (kind != "foreign")
    assert (found.account is not None) == (kind == "account")


@pytest.mark.parametrize(
    ("text", "reader"),
    [
        ("ada+news@example.org", "ada@example.org"),
        ("x@caught.example", "bob@example.org"),
        ("alias@gate.example", "bob@example.org"),
        ("abuse@empty.example", "bob@example.org"),
        ("postmaster@example.org", "ada@example.org"),
        ("postmaster", "ada@example.org"),
        ("help@example.org", ""),  # two
        ("dead@example.org", ""),  # one of two, and one who is gone
        ("club@example.org", ""),
        ("ring1@example.org", ""),
        ("gus@gate.example", ""),  # its mail goes on
        ("nobody@example.org", ""),
        ("eve@far.example", ""),
    ],
)
async def test_who_alone_reads_what_comes_for_an_address(store: MemoryAccounts, text: str, reader: str) -> None:
    found = await now(directory(store).sole_reader(path(text)))
    assert (found.address if found is not None else "") == reader


async def test_a_postmaster_that_leads_nowhere_reads_nothing(store: MemoryAccounts) -> None:
    nowhere = directory(store, postmaster=Path("postmaster", "example.org"))
    assert await now(nowhere.sole_reader(path("abuse@example.org"))) is None
    assert await now(directory(store, postmaster=None).sole_reader(path("abuse@example.org"))) is None


async def test_the_null_path_is_no_recipient(store: MemoryAccounts) -> None:
    assert not (await now(directory(store).resolve(NULL_PATH))).is_ours


async def test_without_a_postmaster_roles_are_ours_still_but_a_relayed_domain_has_its_own(
    store: MemoryAccounts,
) -> None:
    where = directory(store, postmaster=None)
    assert (await now(where.resolve(path("postmaster@example.org")))).kind == "role"
    assert (await now(where.resolve(path("postmaster@gate.example")))).kind == "relay"


def test_a_store_at_hand_is_answered_at_once() -> None:
    where = directory(MemoryAccounts(*ITEMS))
    assert not inspect.isawaitable(where.resolve(path("x@caught.example")))
    assert not inspect.isawaitable(where.expand(path("all@example.org")))
    assert not inspect.isawaitable(where.may_send_as(BOB, path("x@caught.example")))


def ends(targets: list[Target]) -> list[tuple[str, str, str | None]]:
    return [(t.kind, str(t.path), str(t.reverse_path) if t.reverse_path else None) for t in targets]


ASIDE = [("aside", "postmaster@mx.example.org", None)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ADA+x@example.org", [("maildrop", "ada@example.org", None)]),
        ("Zoe@Far.example", [("remote", "Zoe@far.example", None)]),
        ("x@gate.example", [("remote", "x@gate.example", None)]),
        ("gus@gate.example", [("remote", "gus@gate.example", None)]),
        ("help@example.org", [("maildrop", "ada@example.org", None), ("remote", "Zoe@far.example", None)]),
        (
            "all@example.org",
            [
                ("maildrop", "ada@example.org", None),
                ("remote", "Zoe@far.example", None),
                ("maildrop", "bob@example.org", None),
            ],
        ),
        ("x@caught.example", [("maildrop", "bob@example.org", None)]),
        ("postmaster", [("maildrop", "ada@example.org", None)]),
        ("abuse@gate.example", [("maildrop", "ada@example.org", None)]),
        ("abuse@empty.example", [("maildrop", "bob@example.org", None)]),
        ("nobody@example.org", []),
        ("dead@example.org", [("unknown", "gone@example.org", None), ("maildrop", "ada@example.org", None)]),
        ("ring1@example.org", []),
        ("tied@example.org", [("maildrop", "ada@example.org", None)]),
        (
            "club@example.org",
            [("maildrop", "ada@example.org", "bob@example.org"), ("remote", "eve@far.example", "bob@example.org")],
        ),
        ("orphan@example.org", [("remote", "eve@far.example", "Ada@Example.org")]),
        (
            "outer@example.org",
            [
                ("maildrop", "ada@example.org", "bob@example.org"),
                ("remote", "eve@far.example", "bob@example.org"),
                ("maildrop", "bob@example.org", "carl@caught.example"),
            ],
        ),
    ],
)
async def test_where_mail_goes_in_the_end(
    store: MemoryAccounts, text: str, expected: list[tuple[str, str, str | None]]
) -> None:
    assert ends(await now(directory(store).expand(path(text)))) == expected


async def test_an_expansion_names_the_way_it_took(store: MemoryAccounts) -> None:
    targets = await now(directory(store).expand(path("all@example.org")))
    assert targets[0].via == ("all@example.org", "help@example.org")
    assert targets[2].via == ("all@example.org",)


@pytest.mark.parametrize(
    ("postmaster", "text", "expected"),
    [
        (None, "root@mx.example.org", ASIDE),
        (None, "postmaster@gate.example", [("remote", "postmaster@gate.example", None)]),
        (Path("gone", "example.org"), "abuse@example.org", ASIDE),  # the setting names nobody
        (Path("postmaster", "example.org"), "postmaster@example.org", ASIDE),  # it names itself
        (Path("postmaster", "example.org"), "root@empty.example", ASIDE),
        (Path("postmaster", "gate.example"), "root@example.org", [("remote", "postmaster@gate.example", None)]),
        (Path("ops", "far.example"), "root@example.org", [("remote", "ops@far.example", None)]),
    ],
)
async def test_mail_for_a_role_always_ends_somewhere(
    store: MemoryAccounts, postmaster: Path | None, text: str, expected: list[tuple[str, str, str | None]]
) -> None:
    assert ends(await now(directory(store, postmaster).expand(path(text)))) == expected


async def test_the_bounces_of_a_list_without_owner_go_to_the_postmaster_of_its_domain(store: MemoryAccounts) -> None:
    targets = await now(directory(store, postmaster=None).expand(path("orphan@example.org")))
    assert ends(targets) == [("remote", "eve@far.example", "postmaster@example.org")]


async def test_a_bounce_to_a_list_goes_to_its_owners_and_not_to_its_members() -> None:
    """A bounce that went to the members told them all what had failed for one of them."""
    store = MemoryAccounts(
        Account("ada@example.org"),
        Account("bob@example.org"),
        MailingList("team@example.org", ("ada@example.org", "eve@far.example"), ("bob@example.org", "zoe@far.example")),
        MailingList("orphan@example.org", ("ada@example.org",), ()),
        Alias("all@example.org", ("ada@example.org", "team@example.org")),
    )
    targets = await now(directory(store).expand(path("team@example.org"), is_notice=True))
    assert ends(targets) == [("maildrop", "bob@example.org", None), ("remote", "zoe@far.example", None)]
    orphan = await now(directory(store, Path("ada", "example.org")).expand(path("orphan@example.org"), is_notice=True))
    assert ends(orphan) == [("maildrop", "ada@example.org", None)]
    behind = await now(directory(store).expand(path("all@example.org"), is_notice=True))
    assert [end[1] for end in ends(behind)] == ["ada@example.org", "bob@example.org", "zoe@far.example"]


async def test_an_endless_expansion_ends_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.accounts.directory.MAX_EXPANDED", 50)
    store = MemoryAccounts(MailingList("big@example.org", tuple(f"m{n}@far.example" for n in range(51)), ()))
    with pytest.raises(AccountsError, match="more than 50"):
        await now(directory(store).expand(path("big@example.org")))


async def test_a_long_chain_of_aliases_is_followed() -> None:
    chain = [Alias(f"a{n}@example.org", (f"a{n + 1}@example.org",)) for n in range(2000)]
    store = MemoryAccounts(*chain, Account("a2000@example.org"))
    assert ends(await now(directory(store).expand(path("a0@example.org")))) == [("maildrop", "a2000@example.org", None)]


async def test_a_stored_address_that_is_none_is_an_error_that_names_who_holds_it() -> None:
    store = MemoryAccounts(Alias("bad@example.org", ("no address",)))
    with pytest.raises(AccountsError, match=r"bad@example\.org names 'no address'"):
        await now(directory(store).expand(path("bad@example.org")))


def test_a_store_that_cannot_be_read_is_an_error_not_an_unknown_user() -> None:
    store = MemoryAccounts(*ITEMS)
    store.broken = True
    with pytest.raises(AccountsError):
        directory(store).resolve(path("ada@example.org"))


SENDER = Account("sam@example.org", send_as=("info@far.example", "@granted.example"))


@pytest.mark.parametrize(
    ("account", "text", "allowed"),
    [
        (ADA, "ada@example.org", True),
        (ADA, "Ada+tag@EXAMPLE.org", True),
        (ADA, "bob@example.org", False),
        (ADA, "adam@example.org", False),
        (ADA, "ada@far.example", False),
        (ADA, "help@example.org", True),
        (ADA, "help+x@example.org", True),
        (ADA, "all@example.org", True),
        (BOB, "help@example.org", False),
        (ADA, "club@example.org", False),  # members do not write as the list
        (BOB, "anything@caught.example", True),
        (BOB, "carl@caught.example", False),  # the catch-all does not take carl's mail
        (BOB, "abuse@caught.example", False),
        (ADA, "anything@caught.example", False),
        (ADA, "postmaster@example.org", True),  # she is the postmaster
        (ADA, "root@mx.example.org", True),
        (ADA, "abuse@empty.example", False),  # an alias of its own has that one
        (ADA, "postmaster@far.example", False),
        (BOB, "postmaster@example.org", False),
        (SENDER, "info@far.example", True),
        (SENDER, "INFO+x@far.example", True),
        (SENDER, "sales@far.example", False),
        (SENDER, "whoever@granted.example", True),
        (SENDER, "whoever@sub.granted.example", False),
        (SENDER, '"x@granted.example"@far.example', False),
        (SENDER, '""@granted.example', False),
    ],
)
async def test_who_may_write_under_which_address(
    store: MemoryAccounts, account: Account, text: str, allowed: bool
) -> None:
    assert await now(directory(store).may_send_as(account, path(text))) is allowed


async def test_the_null_path_is_nobodys_address(store: MemoryAccounts) -> None:
    assert await now(directory(store).may_send_as(ADA, NULL_PATH)) is False


def test_our_domains_are_found_however_they_are_written() -> None:
    where = directory(MemoryAccounts())
    assert where.domain("XN--BCHER-KVA.example") is where.domain("bücher.example") is DOMAINS["bücher.example"]
    assert where.domain("far.example") is None
    assert where.domain("-\u2488.example") is None
