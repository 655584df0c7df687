"""Who is a gateway: never by volume alone."""

from __future__ import annotations

import pytest
from tests.support.clock import HandClock
from tests.support.memory_standing import MemoryStanding

from gatepost.gate.gateway import DAY, LEAST, MANY_ACCOUNTS, RECENT, Gateways, is_gateway


@pytest.mark.parametrize(
    ("connections", "of_address", "is_private", "accounts", "expected"),
    [
        (1000, 990, True, 0, True),
        (1000, 990, False, MANY_ACCOUNTS, True),
        (1000, 1000, False, 0, False),  # a flood
        (1000, 1000, False, MANY_ACCOUNTS - 1, False),  # a flood by somebody who has an account or two
        (1000, 900, True, 50, False),  # many others come by themselves: an office, a monitoring host
        (1000, 900, False, 50, False),
        (LEAST - 1, LEAST - 1, True, 50, False),  # too early to tell
        (LEAST, LEAST, True, 0, True),
        (0, 0, True, 0, False),
    ],
)
def test_the_signs_of_a_gateway(
    connections: int, of_address: int, is_private: bool, accounts: int, expected: bool
) -> None:
    assert is_gateway(connections, of_address, is_private=is_private, accounts=accounts) == expected


class House:
    """Two workers with one memory."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.standing = MemoryStanding()
        self.alerts: list[str] = []
        self.one, self.other = (Gateways(self.standing, self.clock, self.alerts.append) for _ in range(2))

    def arrive(self, ip: str, times: int, gateways: Gateways | None = None) -> None:
        for _ in range(times):
            (gateways or self.one).arrived(ip)


@pytest.fixture
def house() -> House:
    return House()


async def test_a_private_address_that_everybody_comes_from_is_known_to_all_workers_and_told_once(house: House) -> None:
    for gateways in (house.one, house.other):
        house.arrive("172.17.0.1", LEAST, gateways)
        await gateways.review()
        await gateways.review()
    assert house.other.knows("172.17.0.1")
    assert not house.other.knows("172.17.0.2")
    (alert,) = house.alerts
    assert "172.17.0.1" in alert
    assert "PROXY header" in alert
    assert "proxy_protocol = true" in alert


async def test_a_flood_from_the_internet_does_not_shield_itself(house: House) -> None:
    house.arrive("192.0.2.7", 10 * RECENT)
    house.one.logged_in("192.0.2.7", "ada@example.org")
    await house.one.review()
    assert not house.one.knows("192.0.2.7")
    assert not house.alerts


async def test_good_logins_of_several_accounts_make_a_gateway_of_a_public_address(house: House) -> None:
    house.arrive("192.0.2.7", LEAST)
    for number in range(MANY_ACCOUNTS):
        house.one.logged_in("192.0.2.7", f"user{number}@example.org")
    await house.one.review()
    assert house.one.knows("192.0.2.7")


async def test_logins_of_yesterday_and_of_other_addresses_do_not_count(house: House) -> None:
    for number in range(MANY_ACCOUNTS):
        house.one.logged_in("192.0.2.7", f"user{number}@example.org")
        house.one.logged_in("198.51.100.1", f"user{number}@example.org")
    house.clock.at += DAY
    house.arrive("192.0.2.7", LEAST)
    await house.one.review()
    assert not house.one.knows("192.0.2.7")


async def test_what_was_long_ago_is_forgotten(house: House) -> None:
    house.arrive("172.17.0.1", RECENT)
    house.arrive("192.0.2.7", RECENT // 2)
    await house.one.review()
    assert not house.one.knows("172.17.0.1")
    assert len(house.one._recent) == RECENT
    assert sum(house.one._counts.values()) == RECENT


async def test_a_gateway_that_is_gone_is_one_no_longer_after_a_day_and_one_that_stays_is_told_again(
    house: House,
) -> None:
    house.arrive("172.17.0.1", LEAST)
    await house.one.review()
    house.clock.at += DAY
    assert not house.one.knows("172.17.0.1")
    await house.one.review()
    assert house.one.knows("172.17.0.1")
    assert len(house.alerts) == 2


async def test_memory_of_logins_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.gate.gateway.MAX_ADDRESSES", 10)
    for number in range(100):
        for account in range(40):
            house.one.logged_in(f"192.0.2.{number}", f"user{account}@example.org")
    assert len(house.one._accounts) <= 10
    assert all(len(accounts) <= 16 for accounts in house.one._accounts.values())


async def test_the_addresses_of_one_ipv6_network_are_one_peer(house: House) -> None:
    for number in range(LEAST):
        house.one.arrived(f"fd00::{number:x}")
    await house.one.review()
    assert house.one.knows("fd00::ffff")
