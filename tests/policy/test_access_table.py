"""The lines and look-ups of the tables of `client.access`."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policy.access_table import (
    MAX_TOLD,
    AccessList,
    AccessTable,
    hand_over,
    host_name,
    read_list,
    split_entries,
    taken_over,
)

TEXT = """\
# those that write to us
192.0.2.0/24
 198.51.100.7   # the office
2001:db8::/32

mail.example.net
.Dynamic.Example.
.bücher.example
"""


def listed(*lines: str) -> AccessTable:
    found, bad, _ = read_list(lines, "a table")
    assert not bad
    return AccessTable([found])


@pytest.mark.parametrize("ip", ["192.0.2.9", "198.51.100.7", "2001:db8:9::1", "::ffff:192.0.2.9"])
def test_a_table_holds_addresses_and_networks(ip: str) -> None:
    assert listed(*TEXT.splitlines()).address(ip) == "a table"


@pytest.mark.parametrize("ip", ["192.0.3.9", "198.51.100.8", "2001:db9::1", ""])
def test_a_table_holds_no_others(ip: str) -> None:
    assert listed(*TEXT.splitlines()).address(ip) == ""


@pytest.mark.parametrize(
    ("name", "is_in"),
    [
        ("mail.example.net", True),
        ("other.example.net", False),
        ("x.mail.example.net", False),
        ("a.dynamic.example", True),
        ("a.b.dynamic.example", True),
        ("dynamic.example", False),
        ("notdynamic.example", False),
        ("a.xn--bcher-kva.example", True),
        ("example", False),
    ],
)
def test_a_leading_dot_means_every_host_below_the_name_and_not_the_name_itself(name: str, is_in: bool) -> None:
    assert bool(listed(*TEXT.splitlines()).name(name)) == is_in


def test_the_first_list_that_holds_a_peer_is_told() -> None:
    lists = [read_list(lines, origin)[0] for origin, lines in (("one", ["192.0.2.0/25"]), ("two", ["192.0.2.0/24"]))]
    table = AccessTable(lists)
    assert (table.address("192.0.2.1"), table.address("192.0.2.200")) == ("one", "two")
    assert not table.has_names


@pytest.mark.parametrize(
    "line", ["192.0.2.1/24", "192.0.2.300", "192.0.2.0/33", "2001:db8::/129", "a b", "x/y", "-.example", "@", "1.2.3"]
)
def test_a_line_that_is_no_entry_is_named_by_its_number_and_the_others_hold(line: str) -> None:
    found, bad, total = read_list(["192.0.2.1", "", line, "198.51.100.7"], "a table")
    assert [(one.number, total) for one in bad] == [(3, 1)]
    assert line in bad[0].problem
    assert AccessTable([found]).address("198.51.100.7")


def test_of_many_bad_lines_the_first_are_named_and_all_are_counted() -> None:
    _, bad, total = read_list(["no entry"] * 500, "a table")
    assert ([one.number for one in bad], total) == ([*range(1, MAX_TOLD + 1)], 500)


@given(st.lists(st.text(max_size=30)))
def test_no_line_whatsoever_breaks_the_reader(lines: list[str]) -> None:
    found, bad, total = read_list(lines, "a table")
    assert len(bad) == min(total, MAX_TOLD)
    assert all(host_name(name) == name for name in found.names)


def test_a_list_survives_its_way_from_the_process_that_read_it() -> None:
    found, bad, total = read_list([*TEXT.splitlines(), "no entry"], "a table")
    octets = b"".join(bytes(piece) for piece in hand_over(found, bad, total))
    again, handed = taken_over(io.BytesIO(octets).read, "a table")
    assert (again.names, again.networks.columns()) == (found.names, found.networks.columns())
    assert (handed.bad, handed.bad_total) == (bad, 1)
    for broken in (b"", b"Traceback", octets[:-1], octets[:9]):
        with pytest.raises(ValueError, match="handed over"):
            taken_over(io.BytesIO(broken).read, "a table")


def test_a_setting_is_split_into_its_own_entries_and_files() -> None:
    own, files = split_entries(("file:/etc/one", "192.0.2.0/24", "file:/etc/two"))
    assert files == ("/etc/one", "/etc/two")
    assert isinstance(own, AccessList)
    assert AccessTable([own]).address("192.0.2.1") == "the configuration"
    with pytest.raises(ValueError, match="no network"):
        split_entries(("192.0.2.0/99",))
