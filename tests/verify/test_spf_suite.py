"""SPF against the suite of RFC 7208 (`tests/corpus/spf`): every case, with the DNS warm and cold."""

from __future__ import annotations

import pytest
from tests.verify.spf_zone import Case, ZoneResolver, cases, path_of

from gatepost.verify.spf import Client, check_host

CASES = cases()


def test_the_suite_is_whole() -> None:
    assert len(CASES) == 203


@pytest.mark.parametrize("is_warm", [True, False])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_case_of_the_suite(case: Case, is_warm: bool) -> None:
    client = Client(ip=case.ip, reverse_path=path_of(case.sender), helo=case.helo, hostname="receiver.example.org")
    found = await check_host(ZoneResolver(case.zone, is_warm=is_warm), client)
    assert found.result in case.results, found
    if case.explanation:
        assert found.explanation == ("" if case.explanation == "DEFAULT" else case.explanation)
