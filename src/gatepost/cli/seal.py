"""`gatepost seal`: a message on standard input, encrypted and signed on standard output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatepost.cli import output
from gatepost.cli.errors import USAGE, CommandError
from gatepost.cli.options import single
from gatepost.cli.sealing_keys import KeyFiles, PassphraseFile, PrivateFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.seal.model import SealedMessage

app = single()


@app.command()
def seal(
    recipients: Annotated[list[str] | None, typer.Argument(metavar="[TO]...", help="Whom it is for.")] = None,
    key: KeyFiles = None,
    private: PrivateFiles = None,
    passphrase_file: PassphraseFile = None,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Do not sign.")] = False,
    sign_only: Annotated[bool, typer.Option("--sign-only", help="Sign, and leave it readable for everybody.")] = False,
    show_subject: Annotated[bool, typer.Option("--show-subject", help="Leave the subject readable outside.")] = False,
    cbc: Annotated[bool, typer.Option("--cbc", help="S/MIME for old programs: AES-CBC; needs a signature.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Look no key up; take those that are kept.")] = False,
    into: Annotated[
        Path | None, typer.Option("--into", metavar="FOLDER", help="Write each message to a file of its own there.")
    ] = None,
) -> None:
    """Encrypt the message on standard input, for TO or else for whom its To, Cc and Bcc name. It is signed with the
    private key that carries the address in From, where there is one."""
    if sign_only:
        if recipients or key or unsigned or show_subject or cbc or into is not None:
            raise CommandError(
                "--sign-only makes one message for everybody; of the rest it takes the private keys", USAGE
            )
        sys.stdout.buffer.write(signed(sys.stdin.buffer.read(), private, passphrase_file))
        return
    found = sealed(
        sys.stdin.buffer.read(), recipients, key, private, passphrase_file, unsigned, show_subject, cbc, offline
    )
    if into is not None:
        _write(found, into)
        return
    if len(found) > 1:
        sets = "; ".join(", ".join(each.recipients) for each in found)
        raise CommandError(
            f"this makes {len(found)} messages, since keys differ or somebody is hidden ({sets}); "
            'use --into FOLDER, or send it with "gatepost sendmail --seal"',
            USAGE,
        )
    sys.stdout.buffer.write(found[0].octets)


def sealed(
    message: bytes,
    recipients: Sequence[str] | None,
    keys: Sequence[Path] | None = None,
    private: Sequence[Path] | None = None,
    passphrase_file: Path | None = None,
    unsigned: bool = False,
    show_subject: bool = False,
    cbc: bool = False,
    offline: bool = False,
) -> tuple[SealedMessage, ...]:
    """The message for each set of recipients. Raises CommandError; then nothing is sealed for anybody."""
    from gatepost.cli import sealing_keys
    from gatepost.seal.model import Refused, SealOptions
    from gatepost.seal.sealing import seal as seal_message

    addresses = list(dict.fromkeys(recipients or _addresses(message, b"to", b"cc", b"bcc")))
    if not addresses:
        raise CommandError("there are no recipients; name them, or in To, Cc or Bcc of the message", USAGE)
    found = sealing_keys.recipient_keys(addresses, keys, asks=not offline)
    signers = []
    if not unsigned:
        authors = _addresses(message, b"from")
        secrets = sealing_keys.secrets(private, passphrase_file)
        signers = sealing_keys.signing_keys(authors[0], secrets) if len(authors) == 1 else []
        kinds = {each.kind for each in signers}
        if missing := {each.kind for each in found.values()} - kinds:
            output.note(f"not signed ({', '.join(sorted(missing))}): there is no private key for the address in From")
    options = SealOptions(
        now=sealing_keys.now(), hide_subject=not show_subject, cipher="aes-256-cbc" if cbc else "aes-256-gcm"
    )
    result = seal_message(message, found, signers, options)
    if isinstance(result, Refused):
        raise CommandError(f"nothing was sealed: {result.reason}")
    return result.messages


def signed(message: bytes, private: Sequence[Path] | None = None, passphrase_file: Path | None = None) -> bytes:
    """The message signed by its author. Raises CommandError where that cannot be done."""
    from gatepost.cli import sealing_keys
    from gatepost.seal.model import Refused, SealOptions
    from gatepost.seal.signing import chosen_signer, sign

    authors = _addresses(message, b"from")
    if len(authors) != 1:
        raise CommandError(f"nothing was signed: From names {len(authors)} authors, and it has to be one", USAGE)
    secrets = sealing_keys.secrets(private, passphrase_file)
    signer = chosen_signer(sealing_keys.signing_keys(authors[0], secrets))
    if signer is None:
        place = sealing_keys.folder() / "private"
        raise CommandError(
            f"nothing was signed: there is no private key of {authors[0]}; put it into {place}, or name it (--private)"
        )
    result = sign(message, signer, SealOptions(now=sealing_keys.now()))
    if isinstance(result, Refused):
        raise CommandError(f"nothing was signed: {result.reason}")
    return result


def _addresses(message: bytes, *names: bytes) -> list[str]:
    from gatepost.mail.header_address import HeaderAddressError, parse_address_list
    from gatepost.seal.cms.names import address_key
    from gatepost.seal.mime import canonical, parse

    header = parse(canonical(message)).header
    found: list[str] = []
    for name in names:
        for value in header.values(name):
            try:
                found += [address_key(str(mailbox.path)) for mailbox in parse_address_list(value).mailboxes]
            except HeaderAddressError as error:
                raise CommandError(f"the field {name.decode().title()} cannot be understood: {error}") from error
    return found


def _write(found: Sequence[SealedMessage], into: Path) -> None:
    into.mkdir(exist_ok=True)
    rows = []
    for number, message in enumerate(found, 1):
        path = into / f"{number}.eml"
        path.write_bytes(message.octets)
        rows.append({
            "file": str(path), "for": list(message.recipients), "kind": message.kind, "signed": message.is_signed,
            "keys": list(message.keys),
        })  # fmt: skip
    output.rows(rows, ["file", "for", "kind", "signed"], "Nothing was sealed.")
