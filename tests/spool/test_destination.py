"""Destinations: what attempts are grouped by."""

from __future__ import annotations

import pytest

from gatepost.mail.address import Path
from gatepost.spool.destination import destination, domain_of


@pytest.mark.parametrize(
    ("path", "kept_here", "key"),
    [
        (Path("ada", "example.org"), True, "local"),
        (Path("ada", "example.net"), False, "example.net"),
        (Path("postmaster", ""), False, "local"),
        (Path("ada", "bücher.example"), False, "xn--bcher-kva.example"),
        (Path("ada", "[192.0.2.1]"), False, "[192.0.2.1]"),
        (Path("ada", "local"), False, "local."),  # a foreign domain of that name is not our maildrops
        (Path("ada", "local"), True, "local"),
    ],
)
def test_a_destination_is_local_or_the_domain(path: Path, kept_here: bool, key: str) -> None:
    assert destination(path, kept_here=kept_here) == key


@pytest.mark.parametrize(("key", "domain"), [("example.net", "example.net"), ("local.", "local")])
def test_the_domain_is_read_back(key: str, domain: str) -> None:
    assert domain_of(key) == domain
