"""What a command works on: the configuration, the data folder as the server's user, and the record of what it did."""

from __future__ import annotations

import getpass
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gatepost.cli.errors import USAGE, CommandError
from gatepost.cli.options import given

if TYPE_CHECKING:
    from gatepost.accounts.directory import Directory
    from gatepost.config.model import Config
    from gatepost.store.data_folder import DataFolder
    from gatepost.store.lmdb.standing import LmdbStanding
    from gatepost.store.sqlite.accounts import SqliteAccounts


def configuration() -> Config:
    """The configuration that the command line, the environment or the usual places name. Raises ConfigError."""
    from gatepost.config.locate import find_config
    from gatepost.config.read import load

    return load(find_config(given.config))


def data_folder(config: Config) -> DataFolder:
    """The data folder, made when it is new; from here on this process is the server's user.

    Raises CommandError, DataError: it belongs to another user, or to another version of Gatepost.
    """
    from gatepost.store import data_folder as layout

    act_as_user(config)
    root = config.data
    if root.exists() and not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        owner = _name_of(root.stat().st_uid)
        raise CommandError(f"{root} belongs to {owner}; run this as root, or as {owner}")
    return layout.prepare(root)


def act_as_user(config: Config) -> None:
    """Root becomes `user`, so that what a command writes belongs to the server. A data folder that is new is given to
    that user. Raises PrivilegeError where we are somebody else and cannot become it."""
    from gatepost.net.privileges import become, user_named
    from gatepost.store.data_folder import make_root

    entry = user_named(config.user)
    if entry is None:
        return
    make_root(config.data)
    if config.data.stat().st_uid == 0 and not any(config.data.iterdir()):
        os.chown(config.data, entry.pw_uid, entry.pw_gid)
    become(entry)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def who() -> str:
    """The login name of the person at the command line, for the record."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


@contextmanager
def accounts() -> Iterator[tuple[Config, SqliteAccounts, Directory]]:
    """The configuration, the store of accounts, and the directory over both. Raises AccountsError."""
    from gatepost.accounts.directory import Directory
    from gatepost.store.sqlite.accounts import SqliteAccounts

    config = configuration()
    store = SqliteAccounts(data_folder(config).accounts)
    try:
        yield config, store, Directory(config.domains, store, config.hostname, config.postmaster)
    finally:
        store.close()


@contextmanager
def standing(config: Config) -> Iterator[LmdbStanding]:
    """What is remembered between sessions, while the server runs or not. Raises StandingError."""
    from gatepost.cli import output
    from gatepost.store.lmdb.standing import LmdbStanding

    store = LmdbStanding(data_folder(config).standing, output.note)
    try:
        yield store
    finally:
        store.close()


def key_of_ours(config: Config, text: str, *, catch_all: bool = False) -> str:
    """The key of an address in one of our domains. Raises CommandError."""
    from gatepost.accounts.addresses import domain_of

    key = key_of_any(text, catch_all=catch_all)
    domain = domain_of(key)
    if domain not in config.domains:
        ours = ", ".join(config.domains) or "none"
        raise CommandError(
            f'{text}: {domain} is not one of our domains ({ours}); add [domain."{domain}"] to {config.file}, '
            "or correct the address"
        )
    return key


def key_of_any(text: str, *, catch_all: bool = False) -> str:
    """The key of an address, ours or not. Raises CommandError (wrong usage)."""
    from gatepost.accounts.addresses import parse_key
    from gatepost.mail.address import AddressError

    try:
        return parse_key(text, catch_all=catch_all)
    except AddressError as error:
        raise CommandError(f"{text!r} is not an address: {error}; write it as ada@example.org", USAGE) from None
