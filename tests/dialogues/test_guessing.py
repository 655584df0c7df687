"""Dialogues of password guessers: fast, slow, over many accounts, from many addresses; and of the users beside them."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from tests.support.desk import PASSWORD, Client, Desk

from gatepost.gate.gather_attempts import attempts
from gatepost.intake.settings import IntakeSettings
from gatepost.mail.units import Quota
from gatepost.policy.checks import auth_attempts
from gatepost.policy.facts import AuthFacts

DAY = 86400.0
ADA, BOB = "ada@example.org", "bob@example.org"
WRONG = "535 5.7.8 Authentication credentials invalid"
RIGHT = "235 2.7.0 Authentication successful"


def plain(name: str, password: str) -> str:
    return "AUTH PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode()).decode()


class Hashes:
    """Stands before the authenticator, and counts how often a password is looked at."""

    def __init__(self, desk: Desk) -> None:
        self.looked_at = 0
        authenticator = desk.parts.gate.authenticator
        password = authenticator.password

        async def counting(name: str, given: str) -> Any:
            self.looked_at += 1
            return await password(name, given)

        authenticator.password = counting  # type: ignore[method-assign]


def desk_with(trusted: tuple[str, ...] = (), delay: float = 0.0, **settings: Any) -> Desk:
    given = {"per_session": 1000, **settings}
    return Desk(
        policy={"auth.attempts": auth_attempts.Settings(**given)},
        trusted=trusted,
        settings=IntakeSettings(auth_delay=delay),
    )


async def opened(desk: Desk, ip: str = "192.0.2.7") -> Client:
    client = desk.connect(service="submission", ip=ip, tls=True)
    await client.read()
    await client.line("EHLO client.example.net")
    return client


async def tries(desk: Desk, name: str, password: str = "guess guess guess", ip: str = "192.0.2.7") -> str:
    """One login over a connection of its own."""
    client = desk.connect(service="submission", ip=ip, tls=True)
    greeting = await client.read()
    if not greeting[0].startswith("220"):
        return greeting[0]
    await client.line("EHLO client.example.net")
    said = await client.line(plain(name, password))
    client.hang_up()
    for _ in range(10):  # a ban is laid beside the session
        await asyncio.sleep(0)
    return said


def bans(desk: Desk) -> list[str]:
    return [event.details["network"] for event in desk.recorder.of("ban")]


# --- at speed ------------------------------------------------------------------------------------------------------


async def test_over_the_limit_for_a_name_nothing_is_hashed_and_later_it_is_again() -> None:
    desk = desk_with(per_account=Quota(3, 900.0))
    hashes = Hashes(desk)
    assert [await tries(desk, ADA) for _ in range(3)] == [WRONG] * 3
    assert (await tries(desk, ADA)).startswith("421 4.7.0 ")
    assert (await tries(desk, ADA, PASSWORD)).startswith("421 4.7.0 ")
    assert hashes.looked_at == 3
    desk.clock.at += 301
    assert await tries(desk, ADA, PASSWORD) == RIGHT


@pytest.mark.parametrize(
    "spelling", ["ADA@example.org", "ada@EXAMPLE.ORG", "a\u00adda@example.org", " ada@example.org"]
)
async def test_another_spelling_of_the_name_is_the_same_name(spelling: str) -> None:
    desk = desk_with(per_account=Quota(2, 900.0))
    assert [await tries(desk, ADA), await tries(desk, spelling)] == [WRONG] * 2
    assert (await tries(desk, spelling)).startswith("421 4.7.0 ")


async def test_attempts_side_by_side_get_no_further_than_one_after_the_other() -> None:
    desk = desk_with(per_account=Quota(3, 900.0))
    hashes = Hashes(desk)
    clients = [await opened(desk) for _ in range(10)]
    said = await asyncio.gather(*(client.line(plain(ADA, "guess guess guess")) for client in clients))
    assert sorted(each[:3] for each in said) == ["421"] * 7 + ["535"] * 3
    assert hashes.looked_at == 3


async def test_a_network_over_its_limit_is_banned_with_the_reason_on_record() -> None:
    desk = desk_with(per_prefix=Quota(4, 900.0), ban=7200.0)
    for number in range(4):
        assert await tries(desk, f"user{number}@example.org") == WRONG
    assert (await tries(desk, "user9@example.org")).startswith("421 4.7.0 Too many failed logins from your network")
    assert bans(desk) == ["192.0.2.7"]
    assert (await tries(desk, ADA, PASSWORD)).startswith("421 4.7.0 ")
    assert desk.connect(ip="192.0.2.8").wire.take().startswith(b"220 ")
    desk.clock.at += 7201
    assert await tries(desk, ADA, PASSWORD) == RIGHT


async def test_success_takes_back_itself_and_nothing_else() -> None:
    """Who has one account of ours cannot use it to go on guessing others'."""
    desk = desk_with(per_prefix=Quota(4, 900.0))
    for number in range(3):
        await tries(desk, f"user{number}@example.org")
        assert await tries(desk, BOB, PASSWORD) == RIGHT
    assert await tries(desk, "user4@example.org") == WRONG
    assert (await tries(desk, "user5@example.org")).startswith("421 ")


async def test_logging_in_well_is_never_counted() -> None:
    desk = desk_with(per_account=Quota(2, 900.0), per_prefix=Quota(2, 900.0), names=Quota(2, DAY), spread=Quota(2, DAY))
    assert [await tries(desk, ADA, PASSWORD) for _ in range(8)] == [RIGHT] * 8


async def test_accounts_that_cannot_be_read_are_nobodys_failure() -> None:
    desk = desk_with(per_account=Quota(2, 900.0))
    desk.accounts.broken = True
    assert [(await tries(desk, ADA))[:9] for _ in range(4)] == ["454 4.7.0"] * 4
    desk.accounts.broken = False
    assert [await tries(desk, ADA) for _ in range(2)] == [WRONG] * 2


async def test_without_counters_nothing_is_hashed() -> None:
    desk = desk_with()
    hashes = Hashes(desk)
    client = await opened(desk)
    desk.standing.fail = True
    assert (await client.line(plain(ADA, PASSWORD))).startswith("454 4.7.0 ")
    assert hashes.looked_at == 0


async def test_each_failure_costs_more_time_also_in_the_next_session() -> None:
    desk = desk_with(delay=1.0)
    waits = []
    for _ in range(7):
        client = await opened(desk)
        client.session.data_received(plain(ADA, "guess guess guess").encode() + b"\r\n")
        waits.append(await client.waits())
        assert await client.read() == [WRONG]
        client.hang_up()
    assert [round(each) for each in waits] == [1, 2, 3, 4, 5, 5, 5]


# --- slowly --------------------------------------------------------------------------------------------------------


async def test_one_address_that_tries_many_accounts_slowly_is_banned() -> None:
    desk = desk_with(names=Quota(5, DAY))
    said = []
    for number in range(7):
        said.append((await tries(desk, f"user{number}@example.org"))[:3])
        desk.clock.at += 1800
    assert said == ["535"] * 5 + ["421"] * 2
    assert bans(desk) == ["192.0.2.7"]


async def test_one_name_that_fails_all_day_is_one_name() -> None:
    """A telephone with an old password tries again and again; nobody else there is sent away for it."""
    desk = desk_with(names=Quota(3, DAY))
    for _ in range(40):
        assert await tries(desk, ADA, "the old password") == WRONG
        desk.clock.at += 1800
    assert await tries(desk, BOB, PASSWORD) == RIGHT
    assert bans(desk) == []


async def test_names_that_log_in_in_the_end_were_no_guesses() -> None:
    desk = desk_with(names=Quota(2, DAY))
    for _ in range(4):
        for name in (ADA, BOB):
            assert await tries(desk, name) == WRONG
            assert await tries(desk, name, PASSWORD) == RIGHT
        desk.clock.at += 3600
    assert await tries(desk, "user1@example.org") == WRONG


async def test_many_addresses_that_try_one_account_are_stopped_together() -> None:
    desk = desk_with(spread=Quota(6, DAY))
    said = [(await tries(desk, ADA, ip=f"198.51.{number}.7"))[:3] for number in range(8)]
    assert said == ["535"] * 6 + ["421"] * 2
    assert bans(desk) == []  # each of them did next to nothing
    assert await tries(desk, BOB, PASSWORD, ip="198.51.100.9") == RIGHT


# --- the users beside them -----------------------------------------------------------------------------------------


async def test_a_network_that_the_account_knows_stays_open_while_others_guess_at_it() -> None:
    desk = desk_with(spread=Quota(6, DAY))
    assert await tries(desk, ADA, PASSWORD) == RIGHT
    for number in range(8):
        await tries(desk, ADA, ip=f"198.51.{number}.7")
    assert (await tries(desk, ADA, PASSWORD, ip="203.0.113.7")).startswith("421 ")
    assert await tries(desk, ADA, PASSWORD) == RIGHT


async def test_what_a_user_mistypes_at_home_is_no_attack_on_the_name() -> None:
    desk = desk_with(spread=Quota(2, DAY))
    assert await tries(desk, ADA, PASSWORD) == RIGHT
    for _ in range(5):
        assert await tries(desk, ADA) == WRONG
    assert await tries(desk, ADA, PASSWORD, ip="203.0.113.7") == RIGHT


async def test_a_known_user_is_not_locked_out_by_a_neighbour_nor_is_the_network_banned() -> None:
    desk = desk_with(per_prefix=Quota(3, 900.0))
    assert await tries(desk, ADA, PASSWORD, ip="192.0.2.9") == RIGHT
    for number in range(6):
        await tries(desk, f"user{number}@example.org", ip="192.0.2.66")
    assert (await tries(desk, "user9@example.org", ip="192.0.2.66")).startswith("421 ")
    assert bans(desk) == []
    assert await tries(desk, ADA, PASSWORD, ip="192.0.2.9") == RIGHT


@pytest.mark.parametrize("trusted", [(), ("192.0.2.7/32",)])
async def test_over_the_limit_for_its_name_a_good_client_waits_before_the_hash(trusted: tuple[str, ...]) -> None:
    """A neighbour, or a guest of the web mail, guesses this account: its owner is slow, the guesser no faster."""
    desk = desk_with(trusted, per_account=Quota(3, 900.0), delay=0.0)
    if not trusted:
        assert await tries(desk, ADA, PASSWORD) == RIGHT
    assert [await tries(desk, ADA) for _ in range(3)] == [WRONG] * 3
    hashes = Hashes(desk)
    client = await opened(desk)
    client.session.data_received(plain(ADA, PASSWORD).encode() + b"\r\n")
    assert await client.waits() == 5.0
    assert hashes.looked_at == 0
    assert await client.read() == [RIGHT]


async def test_a_good_network_is_forgotten_after_a_month_without_a_login() -> None:
    desk = desk_with(per_account=Quota(1, 900.0))
    assert await tries(desk, ADA, PASSWORD) == RIGHT
    desk.clock.at += 20 * DAY
    assert await tries(desk, ADA, PASSWORD) == RIGHT  # renewed
    desk.clock.at += 20 * DAY
    facts = AuthFacts(session=(await opened(desk)).session.gate.facts, mechanism="PLAIN", name=ADA)
    assert attempts((await opened(desk)).session.gate, facts).known_good
    desk.clock.at += 31 * DAY
    assert not attempts((await opened(desk)).session.gate, facts).known_good


async def test_asking_counts_nothing() -> None:
    desk = desk_with(per_account=Quota(1, 900.0), names=Quota(1, DAY))
    gate = (await opened(desk)).session.gate
    gate.only_asks = True
    facts = AuthFacts(session=gate.facts, mechanism="PLAIN", name=ADA)
    first = attempts(gate, facts)
    assert [attempts(gate, facts) for _ in range(5)] == [first] * 5
    assert (first.account_wait, first.names_wait, gate.attempt) == (0.0, 0.0, None)
    await tries(desk, ADA)
    assert attempts(gate, facts).account_wait > 0


async def test_no_name_that_was_typed_is_kept_where_it_is_counted() -> None:
    desk = desk_with()
    await tries(desk, "hunter2 is my password")
    assert "hunter2" not in str(vars(desk.standing))


async def test_whoever_leaves_off_after_the_name_is_known_has_used_up_an_attempt() -> None:
    desk = desk_with(per_account=Quota(2, 900.0))
    for _ in range(2):
        client = await opened(desk)
        first = base64.b64encode(b"n,,n=ada@example.org,r=abcdefghijklmnop").decode()
        assert (await client.line(f"AUTH SCRAM-SHA-256 {first}")).startswith("334 ")
        await client.line("*")
        client.hang_up()
    assert (await tries(desk, ADA, PASSWORD)).startswith("421 ")
