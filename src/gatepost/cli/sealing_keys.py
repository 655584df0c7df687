"""Keys of the person who seals and opens: files in a folder of theirs, or named on the command line, or in the store of
keys that lies in that folder (`key_home`).

The folder is $GATEPOST_KEYS, or `gatepost/keys` in the person's configuration. Public keys lie in it, private ones in
`private` below it. Private keys never leave the machine, and passphrases are read from a file or from a terminal.
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gatepost.cli import output
from gatepost.cli.errors import USAGE, CommandError

if TYPE_CHECKING:
    from gatepost.seal.model import KnownKey, RecipientKey, Secret, SigningKey

MAX_KEY_FILE_OCTETS: Final = 1024 * 1024
_SUFFIXES: Final = frozenset({".asc", ".pgp", ".gpg", ".pem", ".crt", ".cer", ".der", ".p12", ".pfx", ".key"})

KeyFiles = Annotated[
    list[Path] | None,
    typer.Option("--key", metavar="FILE", help="A public key or certificate; more than once for more."),
]
PrivateFiles = Annotated[
    list[Path] | None,
    typer.Option("--private", metavar="FILE", help="A private key (PEM with its certificate, or PKCS #12)."),
]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", metavar="FILE", help="Its first line unlocks the private keys.")
]


def now() -> datetime:
    """The time of day, UTC."""
    return datetime.now(UTC)


def folder() -> Path:
    """Where the person's keys lie."""
    named = os.environ.get("GATEPOST_KEYS")
    return Path(named) if named else Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "gatepost/keys")


def public_files(named: Sequence[Path] | None) -> list[tuple[Path, bytes]]:
    """The public keys to choose from: those named first, then those of the folder."""
    return [(path, _read(path)) for path in (*(named or ()), *_in(folder()))]


def read_public(path: Path) -> tuple[bytes, ...]:
    """Each public key in a file. Raises CommandError."""
    from gatepost.seal.keys import split_keys

    try:
        return split_keys(_read(path))
    except ValueError as error:
        raise CommandError(f"{path}: this is no public key: {error}") from None


class KeysUnknown(CommandError):
    """Whether somebody has a key could not be found out; later it may."""


def recipient_keys(
    recipients: Iterable[str], named: Sequence[Path] | None, *, asks: bool = True
) -> dict[str, RecipientKey]:
    """A key for each of `recipients`: of the files that are named, of those in the folder, else kept or looked up.

    asks: False to look nothing up. Raises CommandError, which says for all of them what is missing and why; KeysUnknown
    where another try may help.
    """
    from gatepost.seal.keys import check_key
    from gatepost.seal.model import Refused

    files = public_files(named)
    found: dict[str, RecipientKey] = {}
    missing: dict[str, list[str]] = {}
    for recipient in recipients:
        reasons = []
        for path, octets in files:
            key = check_key(octets, recipient, now())
            if not isinstance(key, Refused):
                found[recipient] = key
                break
            if key.code not in ("no_address", "malformed", "secret"):
                reasons.append(f"{path}: {key.reason}")
        else:
            missing[recipient] = reasons
    if missing:
        found |= _discovered(missing, asks)
    return found


def _discovered(missing: dict[str, list[str]], asks: bool) -> dict[str, RecipientKey]:
    """Keys that are in no file. missing: by address, what is wrong with those that are."""
    from gatepost.cli.key_home import own_keys
    from gatepost.seal.discovery import KINDS, KeyFound, KeyUnknown

    found: dict[str, RecipientKey] = {}
    faults: list[str] = []
    is_unknown = False
    with own_keys() as home:
        for recipient, reasons in missing.items():
            outcome = home.find(recipient, KINDS, asks=asks)
            if isinstance(outcome, KeyFound):
                found[recipient] = outcome.key
                for warning in outcome.warnings:
                    output.note(f"warning: {warning}")
                continue
            is_unknown = is_unknown or isinstance(outcome, KeyUnknown)
            what = "it could not be found out whether there is a" if isinstance(outcome, KeyUnknown) else "there is no"
            advice = f'put it into {folder()}, or name its file (--key); "gatepost key import FILE" keeps it'
            faults.append(f"{what} key for {recipient}; {advice}")
            faults += [f"  {reason}" for reason in (*reasons, *outcome.reasons)]
    if faults:
        raise (KeysUnknown if is_unknown else CommandError)("\n".join(["nothing was sealed:", *faults]))
    return found


def secrets(named: Sequence[Path] | None, passphrase_file: Path | None) -> list[Secret]:
    """The private keys: those named, else all of the folder. Raises CommandError for a file that others can read."""
    from gatepost.seal.keys import kind_of
    from gatepost.seal.model import Secret

    found: list[Secret] = []
    for path in named or _in(folder() / "private"):
        _check_rights(path)
        octets = _read(path)
        is_smime = kind_of(octets) == "smime" or b"PRIVATE KEY-----" in octets or path.suffix in (".p12", ".pfx")
        is_openpgp = b"BEGIN PGP" in octets or not is_smime
        found.append(Secret(kind="openpgp" if is_openpgp else "smime", material=octets))
    return [_unlocked(secret, passphrase_file) for secret in found]


def signing_keys(author: str, found: Sequence[Secret]) -> list[SigningKey]:
    """Those of `found` that may sign for `author`."""
    from gatepost.seal.model import SigningKey

    keys = []
    for secret in found:
        fingerprint, addresses = _of(secret)
        if author in addresses:
            keys.append(
                SigningKey(
                    kind=secret.kind, address=author, fingerprint=fingerprint, material=secret.material,
                    passphrase=secret.passphrase, certificates=secret.certificates,
                )
            )  # fmt: skip
    return keys


def known_keys(named: Sequence[Path] | None, authorities: Sequence[Path] | None) -> list[KnownKey]:
    """What signatures are checked with."""
    from gatepost.seal.keys import kind_of
    from gatepost.seal.model import KnownKey

    known = [
        KnownKey(kind=kind_of(octets), material=octets, trusted_because=f"you keep it in {path}")
        for path, octets in public_files(named)
    ]
    known += _kept()
    for path in authorities or ():
        because = f"the authority in {path} says so"
        known.append(KnownKey(kind="smime", material=_read(path), is_anchor=True, trusted_because=because))
    return known


def _kept() -> list[KnownKey]:
    """Those of the person's own store. Who is believed: somebody said so, or their domain does."""
    from gatepost.cli.key_home import own_keys
    from gatepost.seal.model import KnownKey
    from gatepost.store.sqlite.keys import FILE_NAME

    if not (folder() / FILE_NAME).exists():
        return []
    because: dict[str, str] = {
        "pinned": "you said that it is right", "imported": "you imported it",
        "wkd": "the key directory of its domain shows it", "openpgpkey": "the DNS of its domain shows it",
        "smimea": "the DNS of its domain shows it",
    }  # fmt: skip
    with own_keys() as home:
        rows = home.do(lambda store: store.list())
    return [
        KnownKey(
            kind=each.key.kind, material=each.key.material, source=each.key.source,
            trusted_because=because.get(each.key.source, "") if each.state == "used" else "",
        )
        for each in rows
        if each.state != "withdrawn"
    ]  # fmt: skip


def _in(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())
    except FileNotFoundError:
        return []


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        octets = file.read(MAX_KEY_FILE_OCTETS + 1)
    if len(octets) > MAX_KEY_FILE_OCTETS:
        raise CommandError(f"{path}: larger than {MAX_KEY_FILE_OCTETS} octets, which no key is", USAGE)
    return octets


def _check_rights(path: Path) -> None:
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CommandError(f'{path}: others can read this private key; run "chmod 600 {path}"')


def _of(secret: Secret) -> tuple[str, tuple[str, ...]]:
    """The fingerprint and the addresses of a private key; of one that stays locked, none."""
    from gatepost.seal.cms.names import addresses, fingerprint
    from gatepost.seal.openpgp_keys import addresses_of, components_of
    from gatepost.seal.openpgp_library import OpenPgpError
    from gatepost.seal.smime_keys import load_private

    try:
        if secret.kind == "openpgp":
            return components_of(secret.material)[0].packet.fingerprint or "", addresses_of(secret.material)
        own = load_private(secret.material, secret.passphrase, secret.certificates).certificates[0]
    except (OpenPgpError, ValueError):
        return "", ()
    return fingerprint(own), addresses(own)


def _unlocked(secret: Secret, passphrase_file: Path | None) -> Secret:
    import msgspec

    if passphrase_file is not None:
        _check_rights(passphrase_file)
        lines = _read(passphrase_file).decode("utf-8", "replace").splitlines()
        return msgspec.structs.replace(secret, passphrase=lines[0] if lines else "") if _is_locked(secret) else secret
    if not _is_locked(secret) or not sys.stderr.isatty():
        return secret
    return msgspec.structs.replace(secret, passphrase=getpass.getpass(f"Passphrase of the {secret.kind} key: "))


def _is_locked(secret: Secret) -> bool:
    from gatepost.seal.openpgp import is_locked
    from gatepost.seal.smime_keys import KeyLocked, load_private

    if secret.kind == "openpgp":
        return is_locked(secret.material)
    try:
        load_private(secret.material, None, secret.certificates)
    except KeyLocked:
        return True
    except ValueError:
        return False
    return False
