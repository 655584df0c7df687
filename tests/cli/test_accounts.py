"""Accounts, aliases and lists at the command line: what is kept, what is recorded, what is refused and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cli.conftest import Command

from gatepost.accounts.model import Account, Alias, MailingList
from gatepost.store.sqlite.accounts import SqliteAccounts

GOOD = "three unusual words\n"


def kept(folder: Path, address: str) -> Any:
    store = SqliteAccounts(folder / "data" / "accounts.db")
    try:
        return store.find(address)
    finally:
        store.close()


def acts(folder: Path) -> list[dict[str, Any]]:
    """The details of the admin events, in order."""
    lines = [
        line
        for file in sorted((folder / "data" / "audit").glob("*-*-*/*.jsonl"))
        for line in file.read_text().splitlines()
    ]
    events = sorted((json.loads(line) for line in lines), key=lambda event: event["time"])
    return [event["details"] for event in events if event["kind"] == "admin"]


def test_an_account_is_added_shown_changed_and_removed(gatepost: Command, folder: Path) -> None:
    words = "account add Ada@Example.ORG --password-stdin --quota 1GB --send-as @example.org --role admin"
    ran = gatepost(*words.split(), stdin=GOOD)
    assert (ran.code, ran.out, ran.err) == (0, "ada@example.org is added.\n", "")
    account = kept(folder, "ada@example.org")
    assert isinstance(account, Account)
    assert (account.quota, account.send_as, account.role) == (10**9, ("@example.org",), "admin")
    (credential,) = account.credentials

    shown = gatepost("account", "show", "ada@example.org", "--json").json
    assert (shown["address"], shown["password"], shown["quota"], shown["aliases"]) == (
        "ada@example.org",
        True,
        10**9,
        [],
    )
    assert "argon2" not in str(shown)

    assert gatepost("account", "passwd", "ada@example.org", "--password-stdin", stdin="other unusual words").code == 0
    assert kept(folder, "ada@example.org").credentials[0].argon2 != credential.argon2
    assert gatepost("account", "remove", "ada@example.org").code == 0
    assert kept(folder, "ada@example.org") is None


def test_only_what_is_named_is_changed_and_all_of_it_can_be_taken_back(gatepost: Command, folder: Path) -> None:
    words = "account add ada@example.org --password-stdin --quota 1GB --send-as @example.org"
    gatepost(*words.split(), stdin=GOOD)
    before = kept(folder, "ada@example.org")
    ran = gatepost("account", "set", "Ada@Example.ORG", "--role", "auditor")
    assert (ran.code, ran.out, ran.err) == (0, "ada@example.org is changed.\n", "")
    assert kept(folder, "ada@example.org") == msgspec.structs.replace(before, role="auditor")
    words = "account set ada@example.org --quota 2GB --send-as office@example.org --send-as Shop@example.org --json"
    assert gatepost(*words.split()).json["send_as"] == ["office@example.org", "shop@example.org"]
    after = kept(folder, "ada@example.org")
    assert (after.quota, after.role, after.credentials) == (2 * 10**9, "auditor", before.credentials)
    gatepost(*["account", "set", "ada@example.org", "--quota", "none", "--send-as", "none", "--role", "none"])
    assert kept(folder, "ada@example.org") == msgspec.structs.replace(before, quota=None, send_as=(), role="")
    assert [{name: value for name, value in act.items() if name != "by"} for act in acts(folder)[1:]] == [
        {"act": "account set", "account": "ada@example.org", "role": "auditor"},
        {"act": "account set", "account": "ada@example.org", "quota": 2 * 10**9,
         "send_as": ["office@example.org", "shop@example.org"]},
        {"act": "account set", "account": "ada@example.org", "quota": "none", "send_as": "none", "role": "none"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("ada@example.org", 2, "say what to change"),
        ("nobody@example.org --quota 1GB", 1, "is no account"),
        ("ada@example.org --quota 0", 2, 'write "none" for no limit'),
        ("ada@example.org --send-as none --send-as office@example.org", 2, 'either "none" or addresses'),
        ("ada@example.org --role boss", 2, "boss"),
    ],
)
def test_a_change_that_cannot_be_meant_changes_nothing(
    gatepost: Command, folder: Path, words: str, code: int, said: str
) -> None:
    gatepost("account", "add", "ada@example.org", "--no-password", "--quota", "1GB")
    before = kept(folder, "ada@example.org")
    ran = gatepost("account", "set", *words.split())
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert kept(folder, "ada@example.org") == before
    assert len(acts(folder)) == 1


def test_every_act_is_on_the_record_with_who_did_it_and_without_the_password(
    gatepost: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "grace")
    gatepost("account", "add", "ada@example.org", "--password-stdin", stdin=GOOD)
    gatepost("account", "app-password", "add", "ada@example.org", "phone")
    gatepost("alias", "add", "info@example.org", "ada@example.org")
    gatepost("list", "add", "team@example.org", "ada@example.org", "--owner", "ada@example.org")
    gatepost("account", "list")  # only looks
    recorded = acts(folder)
    assert [act["act"] for act in recorded] == ["account add", "account app-password add", "alias add", "list add"]
    assert all(act["by"] == "grace" for act in recorded)
    assert recorded[2] == {
        "act": "alias add",
        "by": "grace",
        "alias": "info@example.org",
        "targets": ["ada@example.org"],
    }
    assert "unusual" not in str(recorded)


def test_what_cannot_be_recorded_is_not_done(gatepost: Command, folder: Path) -> None:
    gatepost("account", "list")
    audit = folder / "data" / "audit"
    for path in audit.iterdir():
        path.rmdir()
    audit.rmdir()
    audit.write_text("not a folder")
    ran = gatepost("account", "add", "ada@example.org", "--password-stdin", stdin=GOOD)
    assert ran.code == 1
    assert "audit" in ran.err
    assert kept(folder, "ada@example.org") is None


REFUSED = [
    (
        "account add ada@far.example --password-stdin",
        GOOD,
        1,
        'far.example is not one of our domains (example.org, example.net); add [domain."far.example"] to',
    ),
    ("account add ada --password-stdin", GOOD, 2, "'ada' is not an address"),
    ("account add ada@example.org --password-stdin", "short\n", 1, "10 or more are wanted"),
    ("account add ada@example.org --password-stdin", "", 2, "standard input is empty"),
    ("account add ada@example.org", "", 2, "use --password-stdin"),
    ("account add bob@example.org --password-stdin", GOOD, 1, "gatepost account passwd bob@example.org"),
    ("account add info@example.org --password-stdin", GOOD, 1, "is an alias already"),
    ("account add team@example.org --password-stdin", GOOD, 1, "is a list already"),
    ("account add ada@example.org --no-password --quota much", "", 2, "--quota: 'much' is not a size"),
    ("account add ada@example.org --no-password --role king", "", 2, "'king'"),
    ("account show no@example.org", "", 1, 'no@example.org is no account; "gatepost account list" shows all'),
    ("account remove info@example.org", "", 1, "not an account"),
    ("account app-password remove bob@example.org tv", "", 1, "no app password 'tv'; there are: none"),
    ("account app-password add bob@example.org tv --for long", "", 2, "--for: 'long' is not a duration"),
    ("alias add bob@example.org x@example.net", "", 1, "is an account or a list already"),
    ("alias add x@example.org x@example.org", "", 1, "cannot stand for itself"),
    ("alias add x@far.example bob@example.org", "", 1, "not one of our domains"),
    (
        "alias remove info@example.org eve@example.org",
        "",
        1,
        "does not stand for eve@example.org; it stands for bob@example.org",
    ),
    ("alias remove bob@example.org", "", 1, "not an alias"),
    ("list remove team@example.org eve@example.org", "", 1, "eve@example.org: no member of team@example.org"),
    ("list show info@example.org", "", 1, "not a list"),
    ("list add team@example.org team@example.org", "", 1, "its own member"),
]


@pytest.mark.parametrize(("words", "stdin", "code", "said"), REFUSED)
def test_a_refusal_says_what_was_found_and_what_to_do_and_changes_nothing(
    gatepost: Command, folder: Path, words: str, stdin: str, code: int, said: str
) -> None:
    gatepost("account", "add", "bob@example.org", "--no-password")
    gatepost("alias", "add", "info@example.org", "bob@example.org")
    gatepost("list", "add", "team@example.org", "bob@example.org")
    before = acts(folder)
    ran = gatepost(*words.split(), stdin=stdin)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert acts(folder) == before


def test_an_app_password_is_shown_once_and_ends(gatepost: Command, folder: Path) -> None:
    gatepost("account", "add", "ada@example.org", "--no-password")
    made = gatepost("account", "app-password", "add", "ada@example.org", "phone", "--for", "30d", "--json").json
    assert len(made["password"]) >= 20
    assert made["password"] not in str(acts(folder))
    (listed,) = gatepost("account", "app-password", "list", "ada@example.org", "--json").json
    assert (listed["name"], listed["ends"]) == ("phone", made["ends"])
    assert gatepost("account", "app-password", "remove", "ada@example.org", "phone").code == 0
    assert gatepost("account", "app-password", "list", "ada@example.org", "--json").json == []


def test_an_alias_gains_and_loses_targets_and_dead_ones_are_noted(gatepost: Command, folder: Path) -> None:
    gatepost("account", "add", "ada@example.org", "--no-password")
    ran = gatepost("alias", "add", "Info@example.org", "ada@example.org", "eve@example.org", "x@far.example")
    assert ran.code == 0
    assert "eve@example.org does not exist yet" in ran.err
    assert "ada@example.org does not" not in ran.err
    gatepost("alias", "add", "info@example.org", "bob@far.example")
    found = kept(folder, "info@example.org")
    assert found == Alias(
        "info@example.org", ("ada@example.org", "eve@example.org", "x@far.example", "bob@far.example")
    )
    gatepost("alias", "remove", "info@example.org", "eve@example.org", "x@far.example")
    assert kept(folder, "info@example.org").targets == ("ada@example.org", "bob@far.example")
    gatepost("alias", "add", "@example.org", "ada@example.org")
    assert [row["address"] for row in gatepost("alias", "list", "--json").json] == ["@example.org", "info@example.org"]
    removed = gatepost("account", "remove", "ada@example.org")
    assert "@example.org, info@example.org still leads to ada@example.org" in removed.err
    gatepost("alias", "remove", "info@example.org")
    assert kept(folder, "info@example.org") is None


def test_a_list_gains_and_loses_members_and_keeps_what_is_not_said(gatepost: Command, folder: Path) -> None:
    gatepost("account", "add", "ada@example.org", "--no-password")
    ran = gatepost("list", "add", "team@example.org", "ada@example.org", "x@far.example", "--post", "owners")
    assert "it has no owner" in ran.err.replace("team@example.org has", "it has")
    gatepost("list", "add", "team@example.org", "y@far.example", "--owner", "ada@example.org")
    expected = MailingList(
        "team@example.org", ("ada@example.org", "x@far.example", "y@far.example"), ("ada@example.org",), "owners"
    )
    assert kept(folder, "team@example.org") == expected
    gatepost("list", "remove", "team@example.org", "x@far.example")
    shown = gatepost("list", "show", "team@example.org", "--json").json
    assert shown["members"] == ["ada@example.org", "y@far.example"]
    assert [row["address"] for row in gatepost("list", "list", "--json").json] == ["team@example.org"]
    gatepost("list", "remove", "team@example.org")
    assert kept(folder, "team@example.org") is None


def test_an_account_of_a_relayed_domain_is_told_that_its_mail_goes_on(gatepost: Command) -> None:
    ran = gatepost("account", "add", "ada@example.net", "--no-password")
    assert "mail for ada@example.net goes on to smtp://192.0.2.5:25" in ran.err
