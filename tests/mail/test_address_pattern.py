"""Patterns of addresses, as rules name them."""

from __future__ import annotations

import pytest

from gatepost.mail.address import NULL_PATH, AddressError, Path
from gatepost.mail.address_pattern import matches, parse_pattern


@pytest.mark.parametrize(
    ("text", "address", "expected"),
    [
        ("Bob@Partner.Example", "bob@PARTNER.example", True),
        ("bob@partner.example", "bobby@partner.example", False),
        ("*@partner.example", "bob@partner.example", True),
        ("*@partner.example", "bob@sub.partner.example", False),
        ("*@*.partner.example", "bob@sub.partner.example", True),
        ("*@*.partner.example", "bob@partner.example", False),
        ("*@*.partner.example", "bob@notpartner.example", False),
        ("*@bücher.example", "bob@xn--bcher-kva.example", True),
        ("*@xn--bcher-kva.example", "bob@bücher.example", True),
        ("*", "bob@partner.example", True),
    ],
)
def test_a_pattern_means_these_addresses(text: str, address: str, expected: bool) -> None:
    assert matches(Path(*address.split("@")), [parse_pattern(text)]) is expected


def test_the_null_path_is_meant_by_everybody_only() -> None:
    assert matches(NULL_PATH, ["*"])
    assert not matches(NULL_PATH, ["*@partner.example", "bob@partner.example"])


@pytest.mark.parametrize("text", ["", "partner.example", "b*b@partner.example ", "*@", "ada@*.partner.example", "*@*"])
def test_what_is_no_pattern_is_told(text: str) -> None:
    if text.startswith("b*b"):  # an asterisk may stand in a local part (RFC 5321 §4.1.2): it is an address
        assert parse_pattern(text) == "b*b@partner.example"
        return
    with pytest.raises(AddressError):
        parse_pattern(text)
