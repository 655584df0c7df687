"""Durations, sizes and rates as operators write them."""

from __future__ import annotations

import pytest

from gatepost.mail.units import Quota, parse_duration, parse_quota, parse_size, show_duration, show_size


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("1.5h", 5400), ("7d", 604800), ("250ms", 0.25), ("2 w", 1209600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "octets"),
    [("50MB", 50_000_000), ("50MiB", 52_428_800), ("1000", 1000), ("1.5 KiB", 1536), ("2GB", 2 * 10**9)],
)
def test_sizes(text: str, octets: int) -> None:
    assert parse_size(text) == octets


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5 minutes", "5mm", "١s", "1e3s"])
def test_what_is_no_duration_is_told_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match='as in "30s" or "5d"'):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "MB", "5mb", "5 XB", "-1", "0x10"])
def test_what_is_no_size_is_told_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match='as in "50MiB"'):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "100", "/1h", "0/1h", "1.5/1h", "100/0s", "100/1"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse_quota(text)


def test_a_rate() -> None:
    assert parse_quota("200/1h") == Quota(200, 3600.0)


def test_for_a_person() -> None:
    assert [show_duration(s) for s in (45, 60, 5400, 7200, 432000, 0)] == ["45s", "1m", "90m", "2h", "5d", "0s"]
    assert [show_size(o) for o in (12, 1536, 52_428_800, 2**31)] == ["12 B", "1.5 KiB", "50 MiB", "2 GiB"]
