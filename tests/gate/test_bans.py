"""Bans: laid, found, spared, lifted; by several workers on one memory."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import pytest
from tests.support.clock import HandClock
from tests.support.desk import CountingIds, ListRecorder
from tests.support.memory_standing import MemoryStanding

from gatepost.gate.bans import GOOD, VERSION, Bans, ban_network, gateway_key, remember_admin
from gatepost.mail.network import NetworkSet
from gatepost.policy.findings import Ban
from gatepost.standing.port import Operation, Result

HOUR = 3600.0
EVENT = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


class Later(MemoryStanding):
    """A memory that answers later, as one on another host does."""

    def tally(self, operations: Sequence[Operation], now: float) -> Any:
        return self._later(super().tally(operations, now))

    def recall(self, table: Any, key: str, now: float) -> Any:
        return self._later(super().recall(table, key, now))

    async def _later(self, value: Any) -> Any:
        return value


class House:
    """Two workers that share a memory."""

    def __init__(self, standing: MemoryStanding | None = None, trusted: tuple[str, ...] = ("127.0.0.0/8",)) -> None:
        self.standing = standing or MemoryStanding()
        self.clock = HandClock()
        self.recorder = ListRecorder()
        self.one, self.other = (
            Bans(self.standing, self.recorder, self.clock, ids, NetworkSet(trusted)) for ids in [CountingIds()] * 2
        )

    async def lay(self, network: str, seconds: float = HOUR, by: str = "") -> bool:
        return await self.one.lay(network, seconds, "harvesting", EVENT, by)

    async def find(self, ip: str, bans: Bans | None = None) -> Ban | None:
        results: list[Result] | Awaitable[list[Result]] = self.standing.tally([VERSION], self.clock.unix())
        (version,) = await results if isinstance(results, Awaitable) else results
        assert version is None or isinstance(version, bytes)
        found = (bans or self.other).find(ip, version, self.clock.unix())
        return await found if isinstance(found, Awaitable) else found  # type: ignore[no-any-return]

    def told(self) -> list[dict[str, Any]]:
        return [event.details for event in self.recorder.of("ban")]


@pytest.fixture(params=[MemoryStanding, Later])
def house(request: pytest.FixtureRequest) -> House:
    return House(request.param())


async def test_a_ban_holds_at_every_worker_until_it_ends(house: House) -> None:
    assert await house.find("192.0.2.7") is None
    assert await house.lay("192.0.2.7")
    now = house.clock.unix()
    for bans in (house.one, house.other):
        assert await house.find("192.0.2.7", bans) == Ban("192.0.2.7", "harvesting", now + HOUR, EVENT, since=now)
    assert await house.find("192.0.2.8") is None
    house.clock.at += HOUR
    assert await house.find("192.0.2.7") is None


async def test_a_worker_that_starts_later_knows_the_bans_there_are(house: House) -> None:
    await house.lay("192.0.2.0/24")
    house.standing._notes.clear()  # counters are lost in a power cut, bans are not
    late = Bans(house.standing, house.recorder, house.clock, CountingIds(), NetworkSet())
    assert await house.find("192.0.2.7", late) is not None


@pytest.mark.parametrize(
    ("network", "banned", "free"),
    [
        ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
        ("198.51.96.0/19", "198.51.100.1", "198.51.128.1"),
        ("2001:db8:1:2::9", "2001:db8:1:2:ffff::1", "2001:db8:1:3::9"),
        ("2001:db8::/40", "2001:db8:ff::1", "2001:db8:100::1"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.8"),
    ],
)
async def test_a_ban_covers_its_network_and_no_more(house: House, network: str, banned: str, free: str) -> None:
    await house.find(free)
    assert await house.lay(network)
    assert await house.find(banned) is not None
    assert await house.find(free) is None


async def test_the_narrowest_ban_is_told(house: House) -> None:
    for network in ("192.0.0.0/16", "192.0.2.7", "192.0.2.0/24"):
        await house.lay(network)
    found = await house.find("192.0.2.7")
    assert found is not None
    assert found.network == "192.0.2.7"


async def test_a_lifted_ban_is_gone_and_both_are_on_the_record(house: House) -> None:
    await house.lay("192.0.2.7/32", by="root")
    assert await house.one.lift("192.0.2.7", "ada")
    assert await house.find("192.0.2.7") is None
    assert not await house.one.lift("192.0.2.7", "ada")
    until = house.clock.unix() + HOUR
    assert house.told() == [
        {"what": "laid", "network": "192.0.2.7", "reason": "harvesting", "until": until, "event": EVENT, "by": "root"},
        {"what": "lifted", "network": "192.0.2.7", "by": "ada"},
    ]


async def test_a_detector_shortens_no_ban_and_a_person_may(house: House) -> None:
    await house.lay("192.0.2.7", 10 * HOUR, by="root")
    assert await house.lay("192.0.2.7", HOUR)
    found = await house.find("192.0.2.7")
    assert found is not None
    assert (found.by, found.until) == ("root", house.clock.unix() + 10 * HOUR)
    await house.lay("192.0.2.7", HOUR, by="ada")
    found = await house.find("192.0.2.7")
    assert found is not None
    assert found.until == house.clock.unix() + HOUR


async def test_a_detector_that_meets_a_peer_again_and_again_lays_one_ban(house: House) -> None:
    for _ in range(5):
        assert await house.lay("192.0.2.7")
        house.clock.at += 60
    assert len(house.told()) == 1
    house.clock.at += HOUR / 2
    assert await house.lay("192.0.2.7")
    (ban,) = house.one.all()
    assert ban.until == house.clock.unix() + HOUR


async def test_a_ban_that_cannot_be_laid_is_told_once_an_hour(house: House) -> None:
    for _ in range(5):
        assert not await house.lay("127.0.0.1")
    assert len(house.told()) == 1
    house.clock.at += HOUR
    assert not await house.lay("127.0.0.1")
    assert len(house.told()) == 2


@pytest.mark.parametrize("network", ["127.0.0.1", "127.0.0.0/8", "127.1.0.0/16"])
async def test_trusted_networks_are_never_banned_and_the_attempt_is_on_the_record(house: House, network: str) -> None:
    assert not await house.lay(network)
    assert house.one.all() == []
    (told,) = house.told()
    assert told["what"] == "not laid"
    assert told["spared"] == f"{network} is in `trusted`"


async def test_where_an_administrator_logged_in_from_is_not_banned_for_a_day(house: House) -> None:
    await remember_admin(house.standing, "192.0.2.7", "ada@example.org", house.clock.unix())
    assert not await house.lay("192.0.2.7")
    assert await house.lay("192.0.2.8")
    assert await house.lay("192.0.2.0/24")  # its neighbours are banned
    assert await house.find("192.0.2.7") is None
    assert await house.find("192.0.2.9") is not None
    house.clock.at += 86400
    assert await house.lay("192.0.2.7")


async def test_an_administrator_who_came_by_ipv6_has_the_whole_64(house: House) -> None:
    await remember_admin(house.standing, "2001:db8::1", "ada@example.org", house.clock.unix())
    assert not await house.lay("2001:db8::2")
    assert not await house.lay("2001:db8::/64")


async def test_a_gateway_is_not_banned_also_when_it_is_recognised_later(house: House) -> None:
    assert await house.lay("192.0.2.7")
    await house.standing.remember(GOOD, gateway_key("192.0.2.7"), b"1", house.clock.unix() + HOUR)
    assert await house.find("192.0.2.7") is None
    assert not await house.lay("192.0.2.7", 2 * HOUR)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("2001:DB8:0:0::9", "2001:db8::/64"),
        ("2001:db8::/80", "2001:db8::/64"),
        ("2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_a_network_has_one_form(text: str, network: str) -> None:
    assert ban_network(text) == network


@pytest.mark.parametrize("text", ["0.0.0.0/0", "128.0.0.0/1", "::/0", "192.0.2.7/24", "mail.example.net", ""])
def test_what_is_no_network_or_most_of_the_internet_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host bits|too large|not appear to be"):
        ban_network(text)


async def test_bans_are_listed_by_network(house: House) -> None:
    for network in ("198.51.100.0/24", "2001:db8::/64", "192.0.2.10", "192.0.2.9"):
        await house.lay(network)
    listed = [ban.network for ban in house.one.all()]
    assert listed == ["192.0.2.9", "192.0.2.10", "198.51.100.0/24", "2001:db8::/64"]


async def test_where_nobody_is_banned_a_look_costs_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made at every connection."""
    await house.lay("2001:db8::/64")
    await house.find("192.0.2.7")
    monkeypatch.setattr(type(house.standing), "recall", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr(type(house.standing), "recall_all", lambda *_: pytest.fail("asked for all"))
    assert await house.find("192.0.2.7") is None
