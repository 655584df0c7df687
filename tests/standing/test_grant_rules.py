"""The rules of POP-before-SMTP grants: who gets one, for how long, and what ends it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gatepost.standing.grants import (
    KEPT_SECONDS,
    NOTHING,
    OVER,
    SHARED_SECONDS,
    Grant,
    GrantSettings,
    Held,
    Outcome,
    SeenLogin,
    after_login,
)

NOW = 1_790_000_000.0
WINDOW = 1800.0
SETTINGS = GrantSettings(enabled=True, window=WINDOW, networks=("192.0.2.0/24",))


def login(account: str = "ada", **changes: Any) -> SeenLogin:
    values: dict[str, Any] = {"id": f"id-{account}", "by": "pop3s", "is_private": True, "proof": "p"}
    return SeenLogin(account, **{**values, **changes})


def after(*logins: SeenLogin, held: Held = NOTHING, at: float = NOW, settings: GrantSettings = SETTINGS) -> Outcome:
    """What the last of `logins` did, each a second after the one before."""
    outcome = Outcome(held)
    for number, each in enumerate(logins):
        outcome = after_login(outcome.held, each, at + number, settings)
    return outcome


def granted(outcome: Outcome, at: float = NOW) -> list[str]:
    return [grant.account for grant in outcome.held.live(at)]


def test_a_good_login_is_granted_its_account_for_the_window() -> None:
    outcome = after(login())
    assert outcome.grant == Grant("ada", "id-ada", NOW, NOW + WINDOW, "pop3s", "", "p")
    assert outcome.is_new
    assert outcome.held.live(NOW + WINDOW - 0.1) == (outcome.grant,)
    assert outcome.held.live(NOW + WINDOW) == ()


def test_a_further_login_prolongs_it_and_it_keeps_its_event() -> None:
    outcome = after(login(), login(id="other", by="pop3", proof="q"))
    assert outcome.grant == Grant("ada", "id-ada", NOW, NOW + 1 + WINDOW, "pop3", "", "q")
    assert not outcome.is_new
    assert len(outcome.held.grants) == 1


def test_a_login_after_its_end_makes_a_new_one_and_the_end_is_told() -> None:
    first = after(login())
    outcome = after(login(id="second"), held=first.held, at=NOW + WINDOW)
    assert outcome.is_new
    assert outcome.grant is not None
    assert outcome.grant.id == "second"
    assert [(each.grant.id, each.why) for each in outcome.ended] == [("id-ada", OVER)]


def test_an_app_password_that_ends_ends_its_grant() -> None:
    assert after(login(ends=NOW + 60)).held.live(NOW + 59) != ()
    assert after(login(ends=NOW + 60)).held.live(NOW + 60) == ()
    assert after(login(ends=NOW + 10 * WINDOW)).held.live(NOW + WINDOW) == ()


def test_the_latest_login_comes_first() -> None:
    assert granted(after(login("ada"), login("bob"), login("carol"), login("ada"))) == ["ada", "carol", "bob"]


@pytest.mark.parametrize("require_tls", [True, False])
def test_a_login_in_clear_is_granted_nothing_and_ends_nothing(require_tls: bool) -> None:
    settings = msgspec.structs.replace(SETTINGS, require_tls=require_tls)
    outcome = after(login("ada"), login("bob", is_private=False), settings=settings)
    assert granted(outcome) == (["ada"] if require_tls else ["bob", "ada"])
    assert outcome.refused == ("the login was not encrypted" if require_tls else "")


def test_an_address_with_one_account_more_than_allowed_is_shared_and_loses_all_grants() -> None:
    outcome = after(login("ada"), login("bob"), login("carol"))
    assert granted(outcome) == ["carol", "bob", "ada"]
    outcome = after(login("dan"), held=outcome.held, at=NOW + 3)
    assert granted(outcome) == []
    assert outcome.grant is None
    assert outcome.refused.startswith("more than 3 accounts logged in from the address within 30m")
    assert {each.grant.account for each in outcome.ended} == {"ada", "bob", "carol"}


def test_accounts_that_took_turns_are_not_together_behind_the_address() -> None:
    settings = msgspec.structs.replace(SETTINGS, max_accounts_per_address=1)
    first = after(login("ada"), settings=settings)
    assert granted(after(login("bob"), held=first.held, at=NOW + WINDOW - 1, settings=settings)) == []
    assert granted(after(login("bob"), held=first.held, at=NOW + WINDOW, settings=settings), NOW + WINDOW) == ["bob"]


def test_a_shared_address_stays_one_for_a_day_though_its_users_log_in_rarely() -> None:
    shared = after(login("ada"), login("bob"), login("carol"), login("dan")).held
    later = NOW + 3 + SHARED_SECONDS
    assert granted(after(login("ada"), held=shared, at=later - 1), later - 1) == []
    assert granted(after(login("ada"), held=shared, at=later), later) == ["ada"]


def test_a_login_in_clear_or_of_a_gateway_counts_for_who_is_behind_the_address() -> None:
    settings = msgspec.structs.replace(SETTINGS, max_accounts_per_address=1)
    assert after(login("ada", is_private=False), login("bob"), settings=settings).refused.startswith("more than 1")
    assert after(login("ada", is_gateway=True), login("bob"), settings=settings).refused.startswith("more than 1")


def test_a_gateway_gets_no_grant_and_loses_those_it_had() -> None:
    outcome = after(login("ada"), login("bob", is_gateway=True))
    assert granted(outcome) == []
    assert "gateway" in outcome.refused
    assert [each.grant.account for each in outcome.ended] == ["ada"]


def test_who_was_seen_is_bounded_whatever_comes() -> None:
    outcome = after(*(login(f"user{number}") for number in range(100)))
    assert len(outcome.held.seen) == SETTINGS.max_accounts_per_address + 1
    assert "user99" in outcome.held.seen


def test_an_end_waits_a_week_to_be_recorded() -> None:
    held = after(login()).held
    assert held.kept_until(NOW, SETTINGS) == NOW + WINDOW + KEPT_SECONDS
    assert NOTHING.kept_until(NOW, SETTINGS) <= NOW
    shared = after(login("ada"), login("bob"), login("carol"), login("dan")).held
    assert shared.kept_until(NOW, SETTINGS) == NOW + 3 + SHARED_SECONDS
