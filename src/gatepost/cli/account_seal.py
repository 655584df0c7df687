"""`gatepost account seal`: a key that an account wants its incoming mail encrypted to."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatepost.cli import output
from gatepost.cli.account_parts import Address, existing, time_or_none
from gatepost.cli.errors import USAGE, CommandError
from gatepost.cli.options import AsJson, ConfigFile
from gatepost.cli.record import recording
from gatepost.cli.session import accounts

if TYPE_CHECKING:
    from gatepost.accounts.model import Account, OwnKey


def seal(
    address: Address,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Its public key: OpenPGP, or a certificate of S/MIME.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Keep mail as it comes, from now on.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Encrypt the incoming mail of an account to its own public key. What came before stays as it is."""
    import msgspec

    if (file is None) != off:
        raise CommandError("name the file of a public key, or --off", USAGE)
    octets = _read(file) if file is not None else b""  # before this process becomes the server's user
    with accounts() as (settings, store, _):
        account = existing(store, address)
        key = _checked(octets, account.address) if octets else None
        fingerprint = key.fingerprint if key else "none"
        with recording(settings, "account seal", account=account.address, key=fingerprint):
            store.put(msgspec.structs.replace(account, seal=key))
        if key is None:
            output.done(f"The mail of {account.address} is kept as it comes.", address=account.address, seal=None)
            return
        if key.until is not None:
            output.note(f"the key ends on {time_or_none(key.until)}; from then on mail waits until there is a new one")
        output.done(f"The mail of {account.address} is encrypted to {fingerprint}.",
                    address=account.address, seal=shown(account_with(account, key)))  # fmt: skip


def account_with(account: Account, key: OwnKey) -> Account:
    """`account`, whose mail is encrypted to `key`."""
    import msgspec

    return msgspec.structs.replace(account, seal=key)


def shown(account: Account) -> dict[str, Any] | None:
    """The key as commands show it, None where there is none."""
    key = account.seal
    return None if key is None else {"kind": key.kind, "fingerprint": key.fingerprint, "until": time_or_none(key.until)}


def _read(file: Path) -> bytes:
    from gatepost.seal.keys import MAX_KEY_OCTETS

    with file.open("rb") as opened:
        octets = opened.read(MAX_KEY_OCTETS + 1)
    if not octets:
        raise CommandError(f"{file} is empty; give the file of a public key")
    return octets


def _checked(octets: bytes, address: str) -> OwnKey:
    from gatepost.accounts.model import OwnKey
    from gatepost.seal.keys import check_key
    from gatepost.seal.model import Refused

    found = check_key(octets, address, datetime.now(UTC))
    if isinstance(found, Refused):
        raise CommandError(f"nothing was changed: {found.reason}")
    until = found.valid_until.timestamp() if found.valid_until else None
    return OwnKey(found.kind, found.fingerprint, found.material, until)
