"""The measurement of tables: it tells each family's figures, and its networks are found."""

from __future__ import annotations

import random
import re

import pytest
from bench import tables

from gatepost.mail.network import NetworkSet


def test_each_family_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.main(["--networks", "300"]) == 0
    told = capsys.readouterr().out.splitlines()
    form = r"(IPv[46]): (\d+) networks in force after [\d.]+ s, .* \d+ ms at most, \d+ MB, a look-up [\d.]+ us"
    found = [match.groups() for line in told if (match := re.fullmatch(form, line))]
    assert found == [("IPv4", "300"), ("IPv6", "300")]


@pytest.mark.parametrize("make", [tables.ipv4, tables.ipv6])
def test_what_is_measured_are_networks(make: tables.Make) -> None:
    lines = [make(random.Random(seed)) for seed in range(200)]
    held = NetworkSet(lines)
    assert all(line.partition("/")[0] in held for line in lines)
