from __future__ import annotations

import re

import pytest

from gatepost.accounts.credentials import (
    Hashing,
    PasswordError,
    fake_credential,
    make_credential,
    new_app_password,
    prepare_password,
    with_app_password,
    with_password,
    without_app_password,
)
from gatepost.accounts.model import Account

ADA = Account("ada@example.org")
NOW = 1_764_000_000.0
PASSWORD = "three unusual words"


def test_a_credential_holds_both_forms_of_the_password_and_never_the_password() -> None:
    credential = make_credential(PASSWORD, salt=b"0123456789abcdef", now=NOW, name="phone", ends=NOW + 1)
    assert credential.argon2.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert Hashing().verify(credential.argon2, PASSWORD)
    assert not Hashing().verify(credential.argon2, PASSWORD + "x")
    keys = Hashing().derive(PASSWORD, credential.scram.salt, credential.scram.iterations)
    assert (keys.stored_key, keys.server_key) == (credential.scram.stored_key, credential.scram.server_key)
    assert credential.scram.iterations >= 4096
    assert (credential.name, credential.created, credential.ends) == ("phone", NOW, NOW + 1)
    assert PASSWORD not in repr(credential)


@pytest.mark.parametrize("encoded", ["", "$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$AAAA$", "plain text"])
def test_a_damaged_hash_fits_no_password_and_does_not_raise(encoded: str) -> None:
    assert not Hashing().verify(encoded, PASSWORD)


@pytest.mark.parametrize(
    ("password", "advice"),
    [
        ("", "is empty"),
        ("\u00ad\u00ad", "is empty"),
        ("short", "has 5 characters, 10 or more"),
        ("a" * 1025, "has 1025 octets"),
        ("ababababababab", "repeats"),
        ("ada@example.org", "is the address itself"),
        ("ADA@Example.ORG", "is the address itself"),
        ("tab\tin the middle", "control character"),
        ("smile \U0001f600 at me", "emoji"),
    ],
)
def test_a_password_that_protects_nothing_is_refused_with_advice(password: str, advice: str) -> None:
    with pytest.raises(PasswordError, match=advice) as raised:
        prepare_password(password, ADA.address)
    assert not password.strip("\u00ad") or password not in str(raised.value)


def test_a_long_local_part_is_no_password_either() -> None:
    with pytest.raises(PasswordError, match="address itself"):
        prepare_password("Augusta.Ada.King", "augusta.ada.king@example.org")


def test_a_password_is_kept_in_one_form_however_it_was_typed() -> None:
    assert prepare_password("unü\u0308blich\u00a0genug") == prepare_password("unu\u0308\u0308blich genug")


def test_a_password_of_its_own_replaces_the_old_one_and_leaves_app_passwords() -> None:
    account, _ = with_app_password(with_password(ADA, PASSWORD, NOW), "phone", NOW)
    changed = with_password(account, "another good password", NOW + 5)
    assert [credential.name for credential in changed.credentials] == ["", "phone"]
    assert changed.credentials[1] == account.credentials[1]
    assert Hashing().verify(changed.credentials[0].argon2, "another good password")
    assert not Hashing().verify(changed.credentials[0].argon2, PASSWORD)


def test_all_passwords_of_an_account_share_the_salt_that_scram_shows() -> None:
    account = with_password(ADA, PASSWORD, NOW)
    account, _ = with_app_password(account, "phone", NOW)
    account, _ = with_app_password(account, "laptop", NOW)
    account = with_password(account, "another good password", NOW)
    assert len({(c.scram.salt, c.scram.iterations) for c in account.credentials}) == 1
    other = with_password(Account("bob@example.org"), PASSWORD, NOW)
    assert other.credentials[0].scram.salt != account.credentials[0].scram.salt


def test_app_passwords_can_be_read_aloud_and_never_come_twice() -> None:
    made = {new_app_password() for _ in range(200)}
    assert len(made) == 200
    assert all(re.fullmatch(r"[0-9a-hjkmnp-tv-z]{4}(-[0-9a-hjkmnp-tv-z]{4}){4}", password) for password in made)
    assert len({character for password in made for character in password} - {"-"}) == 32
    assert all(prepare_password(password) == password for password in made)


def test_an_app_password_is_shown_once_and_works() -> None:
    account, password = with_app_password(ADA, "phone", NOW, ends=NOW + 100)
    assert account.credentials[0].ends == NOW + 100
    assert Hashing().verify(account.credentials[0].argon2, password)
    assert password not in repr(account)


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\nb"])
def test_an_app_password_needs_a_name_that_can_be_listed(name: str) -> None:
    with pytest.raises(PasswordError, match="needs a name"):
        with_app_password(ADA, name, NOW)


def test_an_app_password_of_a_taken_name_or_a_past_end_is_refused() -> None:
    account, _ = with_app_password(ADA, "phone", NOW)
    with pytest.raises(PasswordError, match="already"):
        with_app_password(account, "phone", NOW)
    with pytest.raises(PasswordError, match="has passed"):
        with_app_password(account, "laptop", NOW, ends=NOW)


def test_an_app_password_is_removed_by_name_and_the_own_password_never() -> None:
    account, _ = with_app_password(with_password(ADA, PASSWORD, NOW), "phone", NOW)
    left = without_app_password(account, "phone")
    assert left is not None
    assert [credential.name for credential in left.credentials] == [""]
    assert without_app_password(account, "laptop") is None
    assert without_app_password(account, "") is None


def test_a_fake_credential_is_stable_and_looks_like_a_real_one() -> None:
    real = make_credential(PASSWORD, salt=b"0123456789abcdef", now=NOW)
    fake = fake_credential(b"s" * 32, "nobody@example.org")
    assert fake == fake_credential(b"s" * 32, "nobody@example.org")
    assert fake.scram.salt != fake_credential(b"s" * 32, "other@example.org").scram.salt
    assert fake.scram.salt != fake_credential(b"t" * 32, "nobody@example.org").scram.salt
    assert len(fake.scram.salt) == len(real.scram.salt)
    assert fake.scram.iterations == real.scram.iterations
    assert [len(part) for part in fake.argon2.split("$")] == [len(part) for part in real.argon2.split("$")]
    assert fake.argon2.split("$")[:4] == real.argon2.split("$")[:4]


def test_the_hash_of_nobody_is_computed_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    # A hash that is refused before it is computed would tell by time that nobody is there.
    import argon2.low_level

    fake = fake_credential(b"s" * 32, "nobody@example.org")
    with pytest.raises(argon2.exceptions.VerifyMismatchError):  # not InvalidHashError
        argon2.low_level.verify_secret(fake.argon2.encode(), b"any password", argon2.Type.ID)
