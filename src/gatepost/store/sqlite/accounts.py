"""Accounts, aliases and lists in SQLite: several processes read and write one file, `data/accounts.db`.

Workers look up, commands and pages change. What was found is remembered until somebody has committed anything. SQLite
tells that, for two locks and two turns of the interpreter's lock, so it is asked at most every few milliseconds: before
an `alias add` has ended, every process knows of it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import apsw
import msgspec

from gatepost.accounts.addresses import domain_of, parse_key
from gatepost.accounts.model import Account, Alias, Found, MailingList
from gatepost.accounts.port import AccountsError
from gatepost.mail.address import AddressError
from gatepost.store.sqlite.connection import connect, explained, explanation, migrate, transaction

FILE_NAME: Final = "accounts.db"
TRUSTED_SECONDS: Final = 0.005  # what is remembered, before SQLite is asked whether it still holds
MAX_REMEMBERED: Final = 20_000  # addresses; strangers try many that do not exist
SECRET_OCTETS: Final = 32

MIGRATIONS: Final = (
    """
    CREATE TABLE entry (
        address TEXT PRIMARY KEY,  -- a key: lower case, A-labels; "@domain" is a catch-all
        domain TEXT NOT NULL,
        kind TEXT NOT NULL,        -- account, alias, list
        body BLOB NOT NULL         -- the value as JSON
    ) WITHOUT ROWID;
    CREATE INDEX entry_of_domain ON entry (kind, domain);
    CREATE TABLE target (          -- which aliases name an address
        address TEXT NOT NULL,
        alias TEXT NOT NULL REFERENCES entry (address) ON DELETE CASCADE,
        PRIMARY KEY (address, alias)
    ) WITHOUT ROWID;
    CREATE INDEX target_of_alias ON target (alias);
    CREATE TABLE secret (          -- random octets that all processes share and nobody else knows
        name TEXT PRIMARY KEY,
        octets BLOB NOT NULL
    ) WITHOUT ROWID;
    """,
)

_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final[dict[str, Callable[[bytes], Found]]] = {
    "account": msgspec.json.Decoder(Account).decode,
    "alias": msgspec.json.Decoder(Alias).decode,
    "list": msgspec.json.Decoder(MailingList).decode,
}


class SqliteAccounts:
    """An AccountStore in one file. Open it after the fork, use it from one thread.

    monotonic: seconds that only grow. Raises AccountsError wherever the file cannot be read or written, or holds what
    this program did not write.
    """

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._trusted_until = 0.0
        self._remembered: dict[str, Found | None] = {}
        self._version = -1
        with self._explained("opened"):
            self._connection = connect(path)
            try:
                migrate(self._connection, MIGRATIONS, path)
            except BaseException:
                self._connection.close()
                raise

    def find(self, address: str) -> Found | None:
        """What has exactly this key."""
        try:
            if (now := self._monotonic()) >= self._trusted_until or len(self._remembered) >= MAX_REMEMBERED:
                self._trusted_until = now + TRUSTED_SECONDS
                self._forget_what_changed()
            if address in self._remembered:
                return self._remembered[address]
            row = self._connection.execute("SELECT kind, body FROM entry WHERE address = ?", (address,)).fetchone()
        except apsw.Error as error:
            raise AccountsError(explanation(error, self._path, "accounts", "read")) from error
        found = self._decoded(address, *row) if row else None
        self._remembered[address] = found
        return found

    def _forget_what_changed(self) -> None:
        row = self._connection.execute("PRAGMA data_version").fetchone()
        assert row is not None
        if row[0] != self._version or len(self._remembered) >= MAX_REMEMBERED:
            self._version = row[0]
            self._remembered.clear()

    def naming(self, address: str) -> list[str]:
        """The keys of the aliases that have `address` among their targets."""
        with self._explained("read"):
            rows = self._connection.execute("SELECT alias FROM target WHERE address = ? ORDER BY alias", (address,))
            return [alias for (alias,) in rows]

    def accounts(self, domain: str = "") -> list[Account]:
        return [item for item in self._all("account", domain) if isinstance(item, Account)]

    def aliases(self, domain: str = "") -> list[Alias]:
        return [item for item in self._all("alias", domain) if isinstance(item, Alias)]

    def lists(self, domain: str = "") -> list[MailingList]:
        return [item for item in self._all("list", domain) if isinstance(item, MailingList)]

    def put(self, item: Found) -> None:
        """Add or replace, durably. Raises AccountsError when the address is taken by another kind, or is no key."""
        kind = _kind_of(item)
        _check(item)
        targets = {parse_key(target) for target in item.targets} if isinstance(item, Alias) else set()
        with self._explained("written"), self._transaction():
            row = self._connection.execute("SELECT kind FROM entry WHERE address = ?", (item.address,)).fetchone()
            if row is not None and row[0] != kind:
                raise AccountsError(f'{item.address} is an {row[0]} already; "{row[0]} remove {item.address}" frees it')
            self._connection.execute("DELETE FROM target WHERE alias = ?", (item.address,))
            self._connection.execute(
                "INSERT INTO entry (address, domain, kind, body) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (address) DO UPDATE SET body = excluded.body",
                (item.address, domain_of(item.address), kind, _ENCODE(item)),
            )
            self._connection.executemany(
                "INSERT INTO target (address, alias) VALUES (?, ?)", [(target, item.address) for target in targets]
            )

    def remove(self, address: str) -> bool:
        with self._explained("written"), self._transaction():
            self._connection.execute("DELETE FROM entry WHERE address = ?", (address,))
            return self._connection.changes() > 0

    def secret(self, name: str) -> bytes:
        """32 random octets, the same for every process and after a restart; made when first asked for."""
        select = "SELECT octets FROM secret WHERE name = ?"
        with self._explained("read"):
            row = self._connection.execute(select, (name,)).fetchone()
            if row is None:
                with self._transaction():
                    self._connection.execute(
                        "INSERT OR IGNORE INTO secret VALUES (?, ?)", (name, secrets.token_bytes(SECRET_OCTETS))
                    )
                row = self._connection.execute(select, (name,)).fetchone()
            assert row is not None
            return bytes(row[0])

    def close(self) -> None:
        self._connection.close()

    def _all(self, kind: str, domain: str) -> Iterator[Found]:
        query = "SELECT address, kind, body FROM entry WHERE kind = ? AND (? = '' OR domain = ?)"
        with self._explained("read"):
            rows = self._connection.execute(query, (kind, domain, domain)).fetchall()  # short: no reader stays open
        for address, found_kind, body in sorted(rows, key=lambda row: _listed_by(str(row[0]))):
            yield self._decoded(str(address), found_kind, body)

    def _decoded(self, address: str, kind: object, body: object) -> Found:
        try:
            return _DECODE[str(kind)](bytes(body))  # type: ignore[call-overload]
        except (KeyError, TypeError, msgspec.MsgspecError) as error:
            raise AccountsError(
                f"{self._path}: the entry of {address} is damaged ({error}); remove it and add it again"
            ) from error

    def _transaction(self) -> AbstractContextManager[None]:
        self._remembered.clear()  # our own commits do not change what data_version says
        return transaction(self._connection)

    def _explained(self, done: str) -> AbstractContextManager[None]:
        return explained(self._path, "accounts", done, AccountsError)


def _kind_of(item: Found) -> str:
    if isinstance(item, Account):
        return "account"
    return "alias" if isinstance(item, Alias) else "list"


def _check(item: Found) -> None:
    """What is kept has to be readable again: keys are keys, and what they name are addresses."""
    if (key := _key(item.address, catch_all=isinstance(item, Alias))) != item.address:
        raise AccountsError(f"{item.address!r} is not written as a key; {key!r} is")
    match item:
        case Account():
            for entry in item.send_as:
                if (key := _key(entry, catch_all=True)) != entry:
                    raise AccountsError(f"{entry!r} is not written as a key; {key!r} is")
        case Alias():
            if not item.targets:
                raise AccountsError(f"the alias {item.address} needs a target")
            for target in item.targets:
                _key(target)
        case MailingList():
            for address in (*item.members, *item.owners):
                _key(address)


def _key(text: str, *, catch_all: bool = False) -> str:
    try:
        return parse_key(text, catch_all=catch_all)
    except AddressError as error:
        raise AccountsError(f"{text!r} is no address: {error}") from error


def _listed_by(address: str) -> tuple[str, str]:
    """Lists are read by people: by domain, then by name."""
    return (domain_of(address), address)
