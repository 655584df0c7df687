from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.accounts.addresses import domain_of, key_of, parse_key, path_of, same_or_detail, without_detail
from gatepost.mail.address import AddressError, Path


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Ada@Example.ORG", "ada@example.org"),
        (" ada@example.org ", "ada@example.org"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ADA@XN--BCHER-KVA.EXAMPLE", "ada@xn--bcher-kva.example"),
        ('"ada lovelace"@example.org', "ada lovelace@example.org"),
        ("ada lovelace@example.org", "ada lovelace@example.org"),
        ('"a@b"@example.org', "a@b@example.org"),
        ("Jörg@example.org", "jörg@example.org"),
    ],
)
def test_an_address_has_one_key_however_it_is_written(text: str, key: str) -> None:
    assert parse_key(text) == key
    assert key_of(path_of(key)) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.org",
        "ada@",
        "ada@-x.example",
        'a"b@example.org',
        "a\r\nb@example.org",
        "\udcff@example.org",
        "a@\udcff.example",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_key(text)


def test_a_catch_all_is_taken_only_where_it_may_stand() -> None:
    assert parse_key("@Bücher.example", catch_all=True) == "@xn--bcher-kva.example"
    with pytest.raises(AddressError):
        parse_key("@", catch_all=True)


def test_the_domain_of_a_key_stands_behind_the_last_at() -> None:
    assert domain_of("a@evil.example@example.org") == "example.org"


@pytest.mark.parametrize(
    ("key", "user"),
    [
        ("ada+x@example.org", "ada@example.org"),
        ("ada+x+y@example.org", "ada@example.org"),
        ("ada+@example.org", "ada@example.org"),
        ("ada@example.org", None),
        ("+x@example.org", None),
    ],
)
def test_a_detail_is_what_follows_the_first_plus(key: str, user: str | None) -> None:
    assert without_detail(key) == user
    assert same_or_detail(key, user or key)


def test_a_path_keeps_the_letter_case_that_other_servers_may_need() -> None:
    assert path_of("Bob@Far.example") == Path("Bob", "far.example")


@given(st.text(max_size=20), st.sampled_from(["", "@example.org", "@bücher.example"]), st.booleans())
def test_no_text_raises_anything_else_and_every_key_is_its_own(text: str, domain: str, catch_all: bool) -> None:
    try:
        key = parse_key(text + domain, catch_all=catch_all)
    except AddressError:
        return
    assert parse_key(key, catch_all=catch_all) == key
