"""Who has proved to be an account: by a password that was shown, or by SCRAM.

A login name is the full address; letter case does not count. Unknown logins cost the same computations and hear the
same answers as wrong passwords. Not here: how often one may try (`auth.attempts`), and the exchange (`protocol.sasl`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from concurrent.futures import Executor
from typing import Final

import msgspec

from gatepost.accounts.addresses import parse_key
from gatepost.accounts.credentials import Hashing, fake_credential
from gatepost.accounts.model import Account, Credential, ScramVerifier
from gatepost.accounts.port import AccountsError, AccountStore
from gatepost.mail.address import AddressError
from gatepost.ports.clock import Clock
from gatepost.protocol.sasl.saslprep import SaslprepError, saslprep

AT_ONCE: Final = 2  # hashes that run at the same time: each takes 19 MiB and a core for 20 ms
MAX_WAITING: Final = 100  # for a hash: the last one waits a second; more is an attack, and honest clients come again
REMEMBERED_FOR: Final = 300.0  # seconds; mail programs log in every few minutes with the same password
MAX_REMEMBERED: Final = 4096
RECORDED_CHARACTERS: Final = 16


class Login(msgspec.Struct, frozen=True):
    """Somebody has logged in. credential: the name of the app password, "" for the account's own password."""

    account: Account
    credential: str = ""


class Denied(msgspec.Struct, frozen=True):
    """Nobody has. name: for the record: the account's address, or a keyed hash of an unknown login, since people type
    passwords there. reason: for the operator; the peer is not told."""

    name: str
    reason: str


class Candidate(msgspec.Struct, frozen=True):
    """What SCRAM compares with. verifiers: for `Exchange.supply`, never empty. name: as in `Denied`. account: None for
    an unknown login, which has a verifier that nothing fits."""

    name: str
    account: Account | None
    credentials: tuple[Credential, ...]

    @property
    def verifiers(self) -> tuple[ScramVerifier, ...]:
        return tuple(credential.scram for credential in self.credentials)


class Authenticator:
    """Checks logins against the accounts of one store.

    Every method raises AccountsError when accounts cannot be read, or when too many logins wait already: the peer
    hears 454 4.7.0, and nobody's failure is counted.
    """

    def __init__(
        self, store: AccountStore, executor: Executor, clock: Clock, secret: bytes, hashing: Hashing | None = None
    ) -> None:
        """executor: runs the hashes, two threads are enough. secret: the same in every process and after a restart."""
        self._store = store
        self._executor = executor
        self._clock = clock
        self._secret = secret
        self._hashing = hashing or Hashing()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        # Successes: keyed hash of login and password -> the argon2 hash that it had, and until when that counts.
        self._remembered: dict[bytes, tuple[str, float]] = {}
        self._memory_key = secrets.token_bytes(32)

    async def password(self, name: str, password: str) -> Login | Denied:
        """Whether `password` logs in as `name`, both as the peer sent them."""
        account = await self._account(name)
        recorded = self._recorded(name, account)
        try:
            prepared = saslprep(password, stored=False)
        except SaslprepError as error:
            return Denied(recorded, f"what was sent can be no password: {error}")
        if account is None or not account.credentials:
            await self._compare(prepared, (fake_credential(self._secret, login_key(name)),))
            return Denied(recorded, "the account has no password" if account else "no such account")
        if login := self._known(account, prepared):
            return login
        matched = await self._compare(prepared, account.credentials, account)
        if isinstance(matched, Login):
            return matched
        if matched is None:
            return Denied(recorded, "the password is wrong")
        if self._has_ended(matched):
            return Denied(recorded, f"the app password {matched.name!r} has ended")
        self._remember(account, prepared, matched)
        return Login(account, matched.name)

    async def candidate(self, name: str) -> Candidate:
        """What a client that says it is `name` has to prove by SCRAM; for unknown logins too."""
        account = await self._account(name)
        usable = [c for c in account.credentials if not self._has_ended(c)] if account else []
        if not usable:
            fake = fake_credential(self._secret, login_key(name))
            return Candidate(self._recorded(name, account), account, (fake,))
        # They share salt and iterations (`credentials`); what came from elsewhere and does not is left out.
        first = usable[0].scram
        fitting = [c for c in usable if (c.scram.salt, c.scram.iterations) == (first.salt, first.iterations)]
        return Candidate(self._recorded(name, account), account, tuple(fitting))

    async def confirm(self, candidate: Candidate, matched: int) -> Login | Denied:
        """SCRAM succeeded with `candidate.verifiers[matched]`: whose login that is, if it still counts now."""
        proved = candidate.credentials[matched]
        if candidate.account is None:
            return Denied(candidate.name, "no such account")
        account = await self._account(candidate.account.address)
        if account is None or proved not in account.credentials or self._has_ended(proved):
            return Denied(candidate.name, "the password was changed or ended while the client logged in")
        return Login(account, proved.name)

    async def recorded_name(self, name: str) -> str:
        """How the record names a login that failed before it was looked up."""
        return self._recorded(name, await self._account(name))

    async def _account(self, name: str) -> Account | None:
        try:
            key = parse_key(saslprep(name, stored=False))
        except (AddressError, SaslprepError):
            return None
        found = self._store.find(key)
        if found is None or isinstance(found, Account):
            return found
        if not isinstance(found, msgspec.Struct):
            found = await found
        return found if isinstance(found, Account) else None

    async def _compare(
        self, password: str, credentials: tuple[Credential, ...], account: Account | None = None
    ) -> Credential | Login | None:
        """The credential that `password` fits. A Login: somebody else has just found the same while this one waited."""
        if self._waiting >= MAX_WAITING:
            raise AccountsError(f"{self._waiting} logins wait to be checked already")
        self._waiting += 1
        try:
            async with self._slots:
                if account and (login := self._known(account, password)):
                    return login
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._executor, matching, self._hashing, password, credentials)
        finally:
            self._waiting -= 1

    def _known(self, account: Account, password: str) -> Login | None:
        """The login of before, if the same credential is there still: changing or removing it takes effect at once."""
        key = self._key(account, password)
        remembered = self._remembered.get(key)
        if remembered is None:
            return None
        argon2, until = remembered
        if self._clock.monotonic() < until:
            for credential in account.credentials:
                if credential.argon2 == argon2 and not self._has_ended(credential):
                    return Login(account, credential.name)
        del self._remembered[key]
        return None

    def _remember(self, account: Account, password: str, credential: Credential) -> None:
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        until = self._clock.monotonic() + REMEMBERED_FOR
        self._remembered[self._key(account, password)] = (credential.argon2, until)

    def _key(self, account: Account, password: str) -> bytes:
        text = f"{account.address}\0{password}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._memory_key, digest_size=32).digest()

    def _has_ended(self, credential: Credential) -> bool:
        return credential.ends is not None and credential.ends <= self._clock.unix()

    def _recorded(self, name: str, account: Account | None) -> str:
        if account is not None:
            return account.address
        octets = b"login\0" + login_key(name).encode("utf-8", "surrogatepass")
        return "unknown:" + hmac.digest(self._secret, octets, "sha256").hex()[:RECORDED_CHARACTERS]


def matching(hashing: Hashing, password: str, credentials: tuple[Credential, ...]) -> Credential | None:
    """The credential whose password is `password` (prepared), None for none.

    The SCRAM keys find it, its argon2 hash confirms it: one of each, however many app passwords there are, so time
    tells neither whether the account exists nor how many it has. (One more of the first for each foreign salt.)
    """
    found = credentials[0]
    is_found = False
    for salt, iterations in {(c.scram.salt, c.scram.iterations): None for c in credentials}:
        stored_key = hashing.derive(password, salt, iterations).stored_key
        for credential in credentials:
            if hmac.compare_digest(credential.scram.stored_key, stored_key):
                found, is_found = credential, True
    return found if hashing.verify(found.argon2, password) and is_found else None


def login_key(name: str) -> str:
    """One form for every way to write a login, also one that is no address: its fake salt must not tell."""
    with contextlib.suppress(SaslprepError):
        name = saslprep(name, stored=False)
    try:
        return parse_key(name)
    except AddressError:
        return name.casefold()
