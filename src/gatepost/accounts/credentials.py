"""Passwords into what is kept of them: an argon2id hash, and a SCRAM verifier for clients that never show theirs.

All credentials of one account share the salt and the iterations of their verifiers: SCRAM names one salt before the
client shows anything, and any of the account's passwords has to fit it. Not here: whether a login succeeds
(`accounts.authentication`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

import msgspec
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from gatepost.accounts.model import Account, Credential, ScramVerifier
from gatepost.protocol.sasl.mechanism import MAX_PASSWORD_OCTETS
from gatepost.protocol.sasl.saslprep import SaslprepError, saslprep
from gatepost.protocol.sasl.scram import HASH_OCTETS, Keys, derive_keys

ITERATIONS: Final = 10_000  # RFC 7677 §4 asks for 4096 or more; this is 2 ms, and a phone still takes it in its stride
SALT_OCTETS: Final = 16
ARGON2_KIB: Final = 19 * 1024
ARGON2_PASSES: Final = 2
MIN_CHARACTERS: Final = 10
MIN_DIFFERENT: Final = 4  # "aaaaaaaaaa" is as good as none

APP_PASSWORD_GROUPS: Final = 5
APP_PASSWORD_GROUP: Final = 4
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # 32 that nobody misreads: 5 bits each, 100 in all
MAX_NAME_CHARACTERS: Final = 64

_HASHER: Final = PasswordHasher(time_cost=ARGON2_PASSES, memory_cost=ARGON2_KIB, parallelism=1, type=Type.ID)


class PasswordError(ValueError):
    """This cannot be a password (or the name of one); the message says why and what to do, without quoting it."""


class Hashing:
    """The two expensive computations of a login. A test counts them."""

    def derive(self, password: str, salt: bytes, iterations: int) -> Keys:
        """The SCRAM keys of a prepared password: 2 ms at 10,000 iterations, without the GIL."""
        return derive_keys(password, salt, iterations)

    def verify(self, encoded: str, password: str) -> bool:
        """Whether a prepared password has that argon2 hash: 17 ms, without the GIL."""
        try:
            return _HASHER.verify(encoded, password)
        except (VerificationError, InvalidHashError):
            return False


def make_credential(
    password: str, *, salt: bytes, now: float, name: str = "", ends: float | None = None, iterations: int = ITERATIONS
) -> Credential:
    """What is kept of `password` (prepared). salt: the account's, or 16 fresh octets. It takes about 20 ms."""
    keys = derive_keys(password, salt, iterations)
    verifier = ScramVerifier(salt, iterations, keys.stored_key, keys.server_key)
    return Credential(name=name, argon2=_HASHER.hash(password), scram=verifier, created=now, ends=ends)


def prepare_password(password: str, address: str = "") -> str:
    """A new password, checked and in the form that is hashed. address: whose it will be; it may not be that.

    Raises PasswordError with advice.
    """
    try:
        prepared = saslprep(password, stored=True)
    except SaslprepError as error:
        raise PasswordError(f"this password will not work everywhere: {error}; choose another one") from error
    if not prepared:
        raise PasswordError("the password is empty; choose one, or give the account an app password only")
    if len(prepared) < MIN_CHARACTERS:
        raise PasswordError(
            f"the password has {len(prepared)} characters, {MIN_CHARACTERS} or more are wanted: "
            "three unusual words are easy to remember and hard to guess"
        )
    if len(prepared.encode()) > MAX_PASSWORD_OCTETS:
        raise PasswordError(
            f"the password has {len(prepared.encode())} octets, at most {MAX_PASSWORD_OCTETS} are taken"
        )
    if len(set(prepared)) < MIN_DIFFERENT:
        raise PasswordError("the password repeats the same few characters; choose one that nobody tries first")
    if address and prepared.casefold() in (address.casefold(), address.rpartition("@")[0].casefold()):
        raise PasswordError("the password is the address itself; that is what is tried first: choose another one")
    return prepared


def new_app_password() -> str:
    """A password for one program: five groups of four characters, 100 random bits ("k3vp-0w8r-...")."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(APP_PASSWORD_GROUP)) for _ in range(APP_PASSWORD_GROUPS))
    return "-".join(groups)


def with_password(account: Account, password: str, now: float) -> Account:
    """`account` with `password` (as typed) as its own; app passwords stay. Raises PasswordError."""
    others = tuple(credential for credential in account.credentials if credential.name)
    salt, iterations = _salt_of(others)
    prepared = prepare_password(password, account.address)
    own = make_credential(prepared, salt=salt, now=now, iterations=iterations)
    return msgspec.structs.replace(account, credentials=(own, *others))


def with_app_password(account: Account, name: str, now: float, ends: float | None = None) -> tuple[Account, str]:
    """`account` with one more app password, and the password, which is shown this once.

    name: what it is for ("phone"), unique in the account. ends: seconds since 1970, None for never. Raises
    PasswordError for a name that is empty, too long or taken, and for an end that has passed.
    """
    if not name.strip() or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise PasswordError(f"an app password needs a name of 1 to {MAX_NAME_CHARACTERS} characters, like phone")
    if any(credential.name == name for credential in account.credentials):
        raise PasswordError(
            f"{account.address} has an app password {name!r} already; remove it first, or name this one"
        )
    if ends is not None and ends <= now:
        raise PasswordError(f"the end of the app password {name!r} has passed already")
    password = new_app_password()
    salt, iterations = _salt_of(account.credentials)
    credential = make_credential(password, salt=salt, now=now, name=name, ends=ends, iterations=iterations)
    return msgspec.structs.replace(account, credentials=(*account.credentials, credential)), password


def without_app_password(account: Account, name: str) -> Account | None:
    """`account` without the app password `name`, None when it has none of that name."""
    left = tuple(credential for credential in account.credentials if not credential.name or credential.name != name)
    return None if len(left) == len(account.credentials) else msgspec.structs.replace(account, credentials=left)


def fake_credential(secret: bytes, login: str) -> Credential:
    """What an unknown login shows and costs: a salt that stays the same, and hashes that no password has.

    secret: known to all processes and nobody else, so that an address cannot be told from an account by its salt.
    """
    salt, stored_key, server_key = (
        hmac.digest(secret, what + login.encode("utf-8", "surrogatepass"), "sha256")
        for what in (b"salt\0", b"stored\0", b"server\0")
    )
    verifier = ScramVerifier(salt[:SALT_OCTETS], ITERATIONS, stored_key, server_key)
    return Credential(name="", argon2=_unmatched_argon2(salt, stored_key), scram=verifier, created=0.0)


def _unmatched_argon2(salt: bytes, digest: bytes) -> str:
    """An encoded hash of nothing: to check a password against it takes as long as against a real one."""
    salt_text = base64.b64encode(hashlib.sha256(salt).digest()[:SALT_OCTETS]).decode().rstrip("=")
    digest_text = base64.b64encode(digest[:HASH_OCTETS]).decode().rstrip("=")
    return f"$argon2id$v=19$m={ARGON2_KIB},t={ARGON2_PASSES},p=1${salt_text}${digest_text}"


def _salt_of(credentials: tuple[Credential, ...]) -> tuple[bytes, int]:
    if credentials:
        return credentials[0].scram.salt, credentials[0].scram.iterations
    return secrets.token_bytes(SALT_OCTETS), ITERATIONS
