"""Addresses in header fields: what is read, what is refused, and that nothing else ever happens."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.mail.header_address import MAX_MAILBOXES, MAX_VALUE_OCTETS, HeaderAddressError, parse_address_list

# The value, and what is in it: `name <path>` or the path alone; a phrase that is an address is shown as `!path`.
READ = [
    ("ada@example.org", ["ada@example.org"]),
    ("Ada <ada@example.org>", ["Ada <ada@example.org>"]),
    ("<ada@example.org>", ["ada@example.org"]),
    ("Ada King Lovelace <Ada@Example.ORG>", ["Ada King Lovelace <Ada@example.org>"]),
    ('"Lovelace, Ada" <ada@example.org>', ["Lovelace, Ada <ada@example.org>"]),
    ('"a \\"quoted\\" name" <ada@example.org>', ['a "quoted" name <ada@example.org>']),
    ('"boss@example.net" <ada@example.org>', ["boss@example.net <ada@example.org>"]),
    ("John Q. Public <j@example.org>", ["John Q. Public <j@example.org>"]),  # obsolete phrase, much written
    ("a@example.org, b@example.net", ["a@example.org", "b@example.net"]),
    (" , a@example.org,, b@example.net,", ["a@example.org", "b@example.net"]),
    ("ada@example.org (Ada)", ["ada@example.org"]),
    ("(one (two (three) \\) ) four)ada@example.org(five)", ["ada@example.org"]),
    ("Ada (the first) <ada@example.org> (of all)", ["Ada <ada@example.org>"]),
    ("ada(at)@(home)example.org", ["ada@example.org"]),
    ("ada . king @ example . org", ["ada.king@example.org"]),
    ('"ada king"@example.org', ['"ada king"@example.org']),
    ('"ada"@example.org', ["ada@example.org"]),
    ('"ada".king@example.org', ["ada.king@example.org"]),
    ('"<boss@example.net>"@example.org', ['"<boss@example.net>"@example.org']),
    ("<@relay.example,@other.example:ada@example.org>", ["ada@example.org"]),
    ("ada@[192.0.2.1]", ["ada@[192.0.2.1]"]),
    ("ada@[IPv6:2001:db8::1]", ["ada@[IPv6:2001:db8::1]"]),
    ("Friends: a@example.org, B <b@example.net>;", ["a@example.org", "B <b@example.net>"]),
    ("Friends: a@example.org;, c@example.com", ["a@example.org", "c@example.com"]),
    ("Friends: a@example.org", ["a@example.org"]),
    ("=?utf-8?q?Boss_=3Cboss=40example.net=3E?= <ada@example.org>",
     ["=?utf-8?q?Boss_=3Cboss=40example.net=3E?= <ada@example.org>"]),
    ("=?utf-8?q?boss?=@example.net", ["=?utf-8?q?boss?=@example.net"]),
    ("Jürgen <jürgen@bücher.example>", ["Jürgen <jürgen@bücher.example>"]),
    ("boss@example.net <ada@example.org>", ["boss@example.net <ada@example.org>", "!boss@example.net"]),
    ("boss@example.net: ada@example.org;", ["ada@example.org", "!boss@example.net"]),
    ("a..b@example.org", ['"a..b"@example.org']),  # some telephone networks gave such addresses
]  # fmt: skip


def shown(value: bytes) -> list[str]:
    found = parse_address_list(value)
    mailboxes = [f"{each.name} <{each.path}>" if each.name else str(each.path) for each in found.mailboxes]
    return mailboxes + [f"!{path}" for path in found.in_phrases]


@pytest.mark.parametrize(("value", "expected"), READ)
def test_addresses_are_read(value: str, expected: list[str]) -> None:
    assert shown(value.encode()) == expected


@pytest.mark.parametrize("value", ["root", "<>", "Undisclosed:;", "Ada <root>", "", "Name, Inc. <a@example.org>"])
def test_entries_without_an_address_are_counted(value: str) -> None:
    found = parse_address_list(value.encode())
    assert found.nameless == (1 if value else 0)
    assert len(found.mailboxes) == ("Inc." in value)


@pytest.mark.parametrize(
    "value",
    [
        "ada king@example.org", "ada@example.org bob@example.net", "<ada@example.org> <bob@example.net>",
        "<ada@example.org> bob@example.net", "Ada <ada@example.org> Bob", "Ada <ada@example.org", "ada@example.org>",
        "<a <b@example.org>>", "a@b@example.org", "@example.org", "ada@", "ada@example.org;", "a: b: c@example.org;;",
        ": ada@example.org;", "<a:b@example.org>", '"ada@example.org', "(ada@example.org", "ada@example.org)",
        "ada@[192.0.2.1", "ada@[300.0.0.1]", "ada\\@example.org", "ada@exa mple.org", "ada@-example.org",
        "ada@example.org\x00", "ada@example.org\r\nBcc: x", "(\x00) ada@example.org", '"\r" <ada@example.org>',
        f"{'a' * 65}@example.org", '"a" "b"@example.org', "Ada @ Home Office <ada@example.org>",
    ],
)  # fmt: skip
def test_what_readers_would_understand_in_different_ways_is_refused(value: str) -> None:
    with pytest.raises(HeaderAddressError):
        parse_address_list(value.encode())


def test_octets_that_are_no_utf8_may_stand_in_a_name_and_make_no_address_of_anybody() -> None:
    assert shown(b"J\xfcrgen <ada@example.org>") == ["J\ufffdrgen <ada@example.org>"]
    (mailbox,) = parse_address_list(b"ad\xe1@example.org").mailboxes
    assert mailbox.path.local_part == "ad\ufffd"


def test_lists_are_bounded() -> None:
    assert len(parse_address_list(b"a@b.c," * MAX_MAILBOXES).mailboxes) == MAX_MAILBOXES
    with pytest.raises(HeaderAddressError):
        parse_address_list(b"a@b.c," * (MAX_MAILBOXES + 1))
    with pytest.raises(HeaderAddressError):
        parse_address_list(b" " * (MAX_VALUE_OCTETS + 1))


@pytest.mark.parametrize(
    "piece", ["(", "()", '"a"', "a ", "a.", ",", ";", "<", "\\(", '"\\', "[", "@", ":", "\u00e9", "<>,", "a@b.c,"]
)
def test_the_worst_value_takes_milliseconds(piece: str) -> None:
    value = (piece.encode() * MAX_VALUE_OCTETS)[:MAX_VALUE_OCTETS]
    began = time.process_time()
    with suppress(HeaderAddressError):
        parse_address_list(value)
    assert time.process_time() - began < 0.5  # 10 ms; quadratic work would take minutes


@given(st.binary(max_size=200))
def test_no_octets_raise_anything_else(value: bytes) -> None:
    with suppress(HeaderAddressError):
        parse_address_list(value)


PIECES = st.sampled_from(['"', "(", ")", "<", ">", "@", ",", ":", ";", ".", "\\", "[", "]", " ", "a", "b.c", "é", "\t"])


@given(st.lists(PIECES, max_size=30))
def test_no_arrangement_of_signs_raises_anything_else_and_what_is_read_is_an_address(pieces: list[str]) -> None:
    try:
        found = parse_address_list("".join(pieces).encode())
    except HeaderAddressError:
        return
    for mailbox in found.mailboxes:
        assert mailbox.path.domain
        assert shown(f"<{mailbox.path}>".encode()) == [str(mailbox.path)]
