from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from tests.accounts.memory import MemoryAccounts, RemoteAccounts
from tests.protocol.sasl.test_scram import scram_client
from tests.support.clock import HandClock

from gatepost.accounts import authentication
from gatepost.accounts.authentication import Authenticator, Denied, Login
from gatepost.accounts.credentials import Hashing, make_credential, with_app_password, with_password
from gatepost.accounts.model import Account, Alias
from gatepost.accounts.port import AccountsError
from gatepost.protocol.sasl.mechanism import Challenge, Failure, NeedsVerifiers, Success
from gatepost.protocol.sasl.scram import Keys
from gatepost.protocol.sasl.scram_server import ScramSha256

SECRET = b"s" * 32
NOW = 1_764_000_000.0
PASSWORD = "three unusual wörds"


class CountingHashing(Hashing):
    """Counts the work; `gate` holds it up until it is set."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def derive(self, password: str, salt: bytes, iterations: int) -> Keys:
        self.gate.wait(20)
        self.calls.append(f"derive {iterations}")
        return super().derive(password, salt, iterations)

    def verify(self, encoded: str, password: str) -> bool:
        self.calls.append(f"verify {encoded.split('$')[3]}")
        return super().verify(encoded, password)


WORK_OF_ONE_LOGIN = ["derive 10000", "verify m=19456,t=2,p=1"]


@pytest.fixture(scope="module")
def ada() -> tuple[Account, str]:
    account = with_password(Account("ada@example.org"), PASSWORD, NOW)
    return with_app_password(account, "phone", NOW, ends=NOW + 1000)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


class House:
    def __init__(self, store: MemoryAccounts, executor: ThreadPoolExecutor) -> None:
        self.store, self.clock, self.hashing = store, HandClock(NOW), CountingHashing()
        self.authenticator = Authenticator(store, executor, self.clock, SECRET, self.hashing)

    def work(self) -> list[str]:
        done, self.hashing.calls = self.hashing.calls, []
        return done


@pytest.fixture(params=[MemoryAccounts, RemoteAccounts])
def house(request: pytest.FixtureRequest, executor: ThreadPoolExecutor, ada: tuple[Account, str]) -> House:
    empty = Account("empty@example.org")
    return House(request.param(ada[0], empty, Alias("help@example.org", ("ada@example.org",))), executor)


@pytest.mark.parametrize(
    "name", ["ada@example.org", "ADA@EXAMPLE.ORG", "ada@example\u00adorg".replace("\u00ad", ".\u00ad")]
)
async def test_the_right_password_logs_in_however_the_address_is_written(
    house: House, ada: tuple[Account, str], name: str
) -> None:
    assert await house.authenticator.password(name, PASSWORD) == Login(ada[0], "")


async def test_a_password_logs_in_however_it_was_encoded(house: House, ada: tuple[Account, str]) -> None:
    assert await house.authenticator.password("ada@example.org", PASSWORD.replace("ö", "o\u0308")) == Login(ada[0], "")


async def test_an_app_password_logs_in_and_is_named(house: House, ada: tuple[Account, str]) -> None:
    assert await house.authenticator.password("ada@example.org", ada[1]) == Login(ada[0], "phone")


async def test_an_app_password_that_has_ended_is_refused_also_when_it_is_remembered(
    house: House, ada: tuple[Account, str]
) -> None:
    house.clock.at = NOW + 900
    assert isinstance(await house.authenticator.password("ada@example.org", ada[1]), Login)
    house.clock.at = NOW + 1000
    denied = await house.authenticator.password("ada@example.org", ada[1])
    assert denied == Denied("ada@example.org", "the app password 'phone' has ended")


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        ("ada@example.org", "wrong password", "the password is wrong"),
        ("ada@example.org", "", "the password is wrong"),
        ("ada@example.org", PASSWORD.upper(), "the password is wrong"),
        ("empty@example.org", PASSWORD, "the account has no password"),
        ("nobody@example.org", PASSWORD, "no such account"),
        ("ada", PASSWORD, "no such account"),
        ("", PASSWORD, "no such account"),
        ("help@example.org", PASSWORD, "no such account"),
        ("ada+x@example.org", PASSWORD, "no such account"),
        ("ada@example.org\0", PASSWORD, "no such account"),
        ("\ud800@example.org", PASSWORD, "no such account"),
        ("ada@example.org", "pass\0word", "what was sent can be no password: it holds a control character (U+0000)"),
        ("nobody@example.org", "pass\0word", "what was sent can be no password: it holds a control character (U+0000)"),
    ],
)
async def test_whoever_has_not_proved_it_is_denied(house: House, name: str, password: str, reason: str) -> None:
    denied = await house.authenticator.password(name, password)
    assert isinstance(denied, Denied)
    assert denied.reason == reason


async def test_every_failure_costs_the_same_work_whoever_it_is(house: House, ada: tuple[Account, str]) -> None:
    for name in ("ada@example.org", "empty@example.org", "nobody@example.org", "help@example.org", "no address", ""):
        await house.authenticator.password(name, "wrong password")
        assert house.work() == WORK_OF_ONE_LOGIN, name
    many = ada[0]
    for number in range(5):
        many, _ = with_app_password(many, f"app {number}", NOW)
    house.store.put(many)
    await house.authenticator.password("ada@example.org", "wrong password")
    assert house.work() == WORK_OF_ONE_LOGIN


async def test_a_verifier_alone_does_not_log_in(house: House, ada: tuple[Account, str]) -> None:
    # Whoever can write only a SCRAM verifier into an account, with another's hash, gets no login by password.
    own = ada[0].credentials[0]
    mixed = msgspec.structs.replace(make_credential("other password", salt=own.scram.salt, now=NOW), argon2=own.argon2)
    house.store.put(msgspec.structs.replace(ada[0], credentials=(mixed,)))
    for password in ("other password", PASSWORD):
        assert isinstance(await house.authenticator.password("ada@example.org", password), Denied)


async def test_a_login_that_comes_again_costs_no_hash_for_some_minutes(house: House, ada: tuple[Account, str]) -> None:
    await house.authenticator.password("ada@example.org", PASSWORD)
    house.work()
    house.clock.at += 299
    assert await house.authenticator.password("Ada@example.org", PASSWORD) == Login(ada[0], "")
    assert house.work() == []
    house.clock.at += 2
    assert await house.authenticator.password("ada@example.org", PASSWORD) == Login(ada[0], "")
    assert house.work() == WORK_OF_ONE_LOGIN


async def test_failures_are_never_remembered(house: House) -> None:
    for _ in range(2):
        await house.authenticator.password("ada@example.org", "wrong password")
        assert house.work() == WORK_OF_ONE_LOGIN


async def test_a_changed_password_counts_at_once(house: House, ada: tuple[Account, str]) -> None:
    await house.authenticator.password("ada@example.org", PASSWORD)
    house.store.put(with_password(ada[0], "another good password", NOW))
    assert isinstance(await house.authenticator.password("ada@example.org", PASSWORD), Denied)
    assert isinstance(await house.authenticator.password("ada@example.org", "another good password"), Login)


async def test_a_removed_account_logs_in_no_more(house: House) -> None:
    await house.authenticator.password("ada@example.org", PASSWORD)
    house.store.remove("ada@example.org")
    assert isinstance(await house.authenticator.password("ada@example.org", PASSWORD), Denied)


async def test_a_remembered_login_has_what_the_account_has_now(house: House, ada: tuple[Account, str]) -> None:
    await house.authenticator.password("ada@example.org", PASSWORD)
    changed = msgspec.structs.replace(ada[0], quota=7)
    house.store.put(changed)
    assert await house.authenticator.password("ada@example.org", PASSWORD) == Login(changed, "")


async def test_what_is_remembered_is_bounded_and_holds_no_password(
    house: House, ada: tuple[Account, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "MAX_REMEMBERED", 1)
    await house.authenticator.password("ada@example.org", PASSWORD)
    await house.authenticator.password("ada@example.org", ada[1])
    remembered = house.authenticator._remembered
    assert len(remembered) == 1
    assert PASSWORD not in repr(remembered)
    assert ada[1] not in repr(remembered)
    assert "ada" not in repr(remembered)


async def test_logins_that_come_together_are_hashed_once(house: House) -> None:
    logins = await asyncio.gather(*(house.authenticator.password("ada@example.org", PASSWORD) for _ in range(12)))
    assert all(isinstance(login, Login) for login in logins)
    assert len(house.work()) <= 2 * len(WORK_OF_ONE_LOGIN)  # two may run before the first is known


async def test_a_flood_of_logins_is_told_to_come_later_and_recovers(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "MAX_WAITING", 3)
    house.hashing.gate.clear()
    flood = [asyncio.create_task(house.authenticator.password(f"x{n}@example.org", "guess")) for n in range(5)]
    _, waiting = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
    while len(waiting) > 3:
        _, waiting = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED, timeout=0.01)
    house.hashing.gate.set()
    answers = await asyncio.gather(*flood, return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["AccountsError"] * 2 + ["Denied"] * 3
    assert isinstance(await house.authenticator.password("ada@example.org", PASSWORD), Login)


async def test_accounts_that_cannot_be_read_are_no_wrong_password(executor: ThreadPoolExecutor) -> None:
    house = House(MemoryAccounts(), executor)
    house.store.broken = True
    for call in (house.authenticator.password("a@example.org", "x"), house.authenticator.candidate("a@example.org")):
        with pytest.raises(AccountsError):
            await call


async def test_the_record_shows_known_accounts_and_hides_what_else_was_typed(house: House) -> None:
    record = house.authenticator.recorded_name
    assert await record("ADA@example.org") == "ada@example.org"
    typed = "my secret password"
    hidden = await record(typed)
    assert typed not in hidden
    assert hidden.startswith("unknown:")
    assert hidden == await record(typed.upper())
    assert hidden != await record("something else")
    denied = await house.authenticator.password(typed, "x")
    assert isinstance(denied, Denied)
    assert denied.name == hidden


async def scram(house: House, name: str, password: str) -> Login | Denied:
    """The whole way of a client that speaks SCRAM."""
    client = scram_client(password, ["SCRAM-SHA-256"], name=name)
    server = ScramSha256("nonce")
    action = server.step(client.get_client_first().encode())
    assert isinstance(action, NeedsVerifiers)
    candidate = await house.authenticator.candidate(action.name)
    action = server.supply(candidate.verifiers)
    assert isinstance(action, Challenge)
    client.set_server_first(action.data.decode())
    action = server.step(client.get_client_final().encode())
    if isinstance(action, Failure):
        return Denied(candidate.name, action.reason)
    assert isinstance(action, Success)
    assert action.matched is not None
    client.set_server_final(action.data.decode())
    return await house.authenticator.confirm(candidate, action.matched)


async def test_scram_logs_in_with_any_password_of_the_account(house: House, ada: tuple[Account, str]) -> None:
    assert await scram(house, "ada@example.org", PASSWORD) == Login(ada[0], "")
    assert await scram(house, "ADA@example.org", ada[1]) == Login(ada[0], "phone")


@pytest.mark.parametrize("name", ["ada@example.org", "empty@example.org", "nobody@example.org", "help@example.org"])
async def test_scram_denies_a_wrong_password_and_nobody_alike(house: House, name: str) -> None:
    denied = await scram(house, name, "wrong password")
    assert isinstance(denied, Denied)
    assert denied.reason == "the name or the password is wrong"


async def test_scram_does_not_take_an_app_password_that_has_ended(house: House, ada: tuple[Account, str]) -> None:
    house.clock.at = NOW + 1000
    assert isinstance(await scram(house, "ada@example.org", ada[1]), Denied)
    assert isinstance(await scram(house, "ada@example.org", PASSWORD), Login)


async def test_a_password_changed_during_the_exchange_does_not_log_in(house: House, ada: tuple[Account, str]) -> None:
    candidate = await house.authenticator.candidate("ada@example.org")
    house.store.put(with_password(ada[0], "another good password", NOW))
    denied = await house.authenticator.confirm(candidate, 0)
    assert isinstance(denied, Denied)
    assert denied.name == "ada@example.org"


async def test_nobody_is_never_confirmed(house: House) -> None:
    candidate = await house.authenticator.candidate("nobody@example.org")
    assert isinstance(await house.authenticator.confirm(candidate, 0), Denied)
    candidate = await house.authenticator.candidate("empty@example.org")
    assert isinstance(await house.authenticator.confirm(candidate, 0), Denied)


async def test_the_salt_of_an_unknown_login_stays_the_same_in_every_process(
    house: House, executor: ThreadPoolExecutor
) -> None:
    other = House(MemoryAccounts(), executor)
    first = await house.authenticator.candidate("nobody@example.org")
    for where, name in ((house, "nobody@example.org"), (other, "NoBody@example.org")):
        assert (await where.authenticator.candidate(name)).verifiers == first.verifiers
    assert (await house.authenticator.candidate("nobody2@example.org")).verifiers != first.verifiers
    real = (await house.authenticator.candidate("ada@example.org")).verifiers[0]
    assert (len(first.verifiers[0].salt), first.verifiers[0].iterations) == (len(real.salt), real.iterations)
