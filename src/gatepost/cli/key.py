"""`gatepost key`: public keys of those we write to, and those of our own that others shall find."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gatepost.cli import key_publishing, output
from gatepost.cli.errors import USAGE, CommandError
from gatepost.cli.key_home import KeyHome, Mine, key_home
from gatepost.cli.options import AsJson, ConfigFile, given, noun

if TYPE_CHECKING:
    from gatepost.seal.model import Kind, RecipientKey
    from gatepost.seal.port import KeptKey

app = noun("Public keys: of those we write to, and those of ours that others shall find.")
app.command("publish")(key_publishing.publish)
app.command("unpublish")(key_publishing.unpublish)

KINDS: Final[dict[str, tuple[Kind, ...]]] = {"any": ("openpgp", "smime"), "pgp": ("openpgp",), "smime": ("smime",)}
COLUMNS: Final = ("address", "kind", "fingerprint", "source", "state", "valid_until")

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="Whose key it is.")]
Fingerprint = Annotated[str, typer.Argument(metavar="[FINGERPRINT]", help="Which key; spaces in it do not matter.")]
OfKind = Annotated[str, typer.Option("--kind", metavar="KIND", help="pgp, smime or any.")]


@app.command("find")
def find(
    address: Address,
    kind: OfKind = "any",
    refresh: Annotated[bool, typer.Option("--refresh", help="Look it up again, whatever is known.")] = False,
    mine: Mine = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The key that mail to ADDRESS would be encrypted to: kept, or looked up. Exits 1 where there is none, or where it
    cannot be found out now."""
    from gatepost.seal.discovery import KeyFound, NoKey

    with key_home(mine=mine) as home:
        found = home.find(address, kinds_of(kind), refresh=refresh)
    if isinstance(found, KeyFound):
        for warning in found.warnings:
            output.note(f"warning: {warning}")
        output.thing({"outcome": "found", **shown(found.key), "warnings": list(found.warnings)})
        return
    outcome = "none" if isinstance(found, NoKey) else "unknown"
    if given.as_json:
        output.thing({"outcome": outcome, "address": found.address, "reasons": list(found.reasons)})
        raise typer.Exit(1)
    head = f"there is no key for {found.address} that may be used:"
    if outcome == "unknown":
        head = f"whether {found.address} has a key could not be found out; try again later:"
    raise CommandError("\n".join([head, *(f"  {reason}" for reason in found.reasons)]))


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="OpenPGP keys, or certificates of S/MIME.")],
    addresses: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="ADDRESS", help="Only for this address; more than once for more."),
    ] = None,
    mine: Mine = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Keep the keys in FILE, each for the addresses that it carries."""
    from gatepost.cli.sealing_keys import now
    from gatepost.cli.session import key_of_any
    from gatepost.seal.keeping import keep

    wanted = [key_of_any(address) for address in addresses or ()]
    good, refused = read_keys(file, wanted)
    if not good:
        raise CommandError("\n".join([f"{file}: nothing was imported:", *(f"  {reason}" for reason in refused)]))
    moment = now()
    with key_home(mine=mine) as home:
        rows = []
        for key in good:
            with home.recording("key import", address=key.address, fingerprint=key.fingerprint):
                known = home.do(lambda store, key=key: keep(store, key, moment))  # type: ignore[misc]
            rows.append(next(each for each in known if each.key.fingerprint == key.fingerprint))
    for reason in refused:
        output.note(f"not imported: {reason}")
    for row in rows:
        if row.state == "waiting":
            output.note(f'warning: {row.key.address} has another key already; "gatepost key trust {row.key.address} '
                        f'{row.key.fingerprint}" puts this one in its place')  # fmt: skip
    output.rows([shown_kept(row) for row in rows], COLUMNS, "Nothing was imported.")


@app.command("list")
def list_keys(
    kind: OfKind = "any",
    published: Annotated[bool, typer.Option("--published", help="Those of ours that others can find.")] = False,
    mine: Mine = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """All keys that are kept."""
    kinds = kinds_of(kind)
    if published:
        key_publishing.list_published(kinds)
        return
    with key_home(mine=mine) as home:
        rows = [shown_kept(each) for each in home.do(lambda store: store.list()) if each.key.kind in kinds]
    output.rows(
        rows, COLUMNS, 'There are no keys; "gatepost key import FILE" keeps one, "gatepost key find" finds one.'
    )


@app.command("show")
def show(
    address: Address,
    fingerprint: Fingerprint = "",
    mine: Mine = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """What is known of the keys of ADDRESS: since when, from where, until when, and why one is not used."""
    with key_home(mine=mine) as home:
        rows = [
            each for each in existing(home, address) if not fingerprint or each.key.fingerprint == hex_of(fingerprint)
        ]
    if not rows:
        raise no_such_key(address, fingerprint)
    if given.as_json:
        output.rows([shown_kept(each) for each in rows], COLUMNS, "")
        return
    for number, each in enumerate(rows):
        if number:
            print()
        output.thing(shown_kept(each))


@app.command("remove")
def remove(
    address: Address,
    fingerprint: Fingerprint = "",
    mine: Mine = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Forget one key of ADDRESS, or all of them, and what was looked up in vain."""
    from gatepost.cli.session import key_of_any

    key = _address(key_of_any(address))
    with (
        key_home(mine=mine) as home,
        home.recording("key remove", address=key, fingerprint=hex_of(fingerprint) or None),
    ):
        gone = home.do(lambda store: store.remove(key, hex_of(fingerprint)))
        if fingerprint and not gone:
            raise no_such_key(key, hex_of(fingerprint))
    output.done(f"{gone} key{'' if gone == 1 else 's'} of {key} removed.", address=key, removed=gone)


@app.command("trust")
def trust(
    address: Address,
    fingerprint: Fingerprint = "",
    mine: Mine = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say that a key is the right one: it is used from now on, and no look-up changes that. Compare the fingerprint
    with its owner before; without FINGERPRINT it is the one key that there is, or the one that waits."""
    from gatepost.cli.sealing_keys import now

    with key_home(mine=mine) as home:
        chosen = _chosen(existing(home, address), address, hex_of(fingerprint))
        key = chosen.key
        with home.recording("key trust", address=key.address, fingerprint=key.fingerprint):
            trusted = home.do(lambda store: store.trust(key.address, key.fingerprint, now()))
    if trusted is None:
        raise CommandError(f"{key.address} has no key {key.fingerprint} any more")
    output.done(f"Mail to {key.address} is encrypted to {key.fingerprint} from now on.", **shown_kept(trusted))


def _chosen(rows: Sequence[KeptKey], address: str, fingerprint: str) -> KeptKey:
    if fingerprint:
        rows = [each for each in rows if each.key.fingerprint == fingerprint]
        if not rows:
            raise no_such_key(address, fingerprint)
    waiting = [each for each in rows if each.state == "waiting"]
    choice = waiting if len(rows) > 1 and len(waiting) == 1 else list(rows)
    if len(choice) != 1:
        known = ", ".join(each.key.fingerprint for each in rows)
        raise CommandError(f"{address} has several keys; name the fingerprint of the right one: {known}", USAGE)
    if choice[0].state == "withdrawn":
        raise CommandError(f"{choice[0].key.fingerprint} cannot be trusted: {choice[0].note}")
    return choice[0]


# --- shared by the verbs -------------------------------------------------------------------------------------------


def read_keys(file: Path, wanted: Sequence[str]) -> tuple[list[RecipientKey], list[str]]:
    """The keys in `file` that may be used, each for every address that it carries (or those `wanted`), and why others
    may not."""
    import msgspec

    from gatepost.cli.sealing_keys import now, read_public
    from gatepost.seal.keys import addresses_of, check_key
    from gatepost.seal.model import Refused

    good: list[RecipientKey] = []
    refused: list[str] = []
    for octets in read_public(file):
        carried = addresses_of(octets)
        for address in wanted or carried or ("",):
            if not address:
                refused.append("a key that carries no address")
                continue
            found = check_key(octets, address, now())
            if isinstance(found, Refused):
                refused.append(found.reason)
            else:
                good.append(msgspec.structs.replace(found, source="imported", found_at=now()))
    return good, refused


def no_such_key(address: str, fingerprint: str) -> CommandError:
    return CommandError(f'{address} has no key {fingerprint}; "gatepost key show {address}" shows those it has')


def kinds_of(word: str) -> tuple[Kind, ...]:
    """Raises CommandError for another word."""
    if word not in KINDS:
        raise CommandError(f"--kind: {word!r} is none of {', '.join(KINDS)}", USAGE)
    return KINDS[word]


def hex_of(fingerprint: str) -> str:
    """A fingerprint as it is kept, of one that was copied from a letter or a card."""
    return "".join(fingerprint.split()).replace(":", "").lower().removeprefix("0x")


def kept_keys(home: KeyHome, address: str) -> tuple[KeptKey, ...]:
    """What is kept for an address as it is kept."""
    return home.do(lambda store: store.find(address))


def existing(home: KeyHome, address: str) -> tuple[KeptKey, ...]:
    """The keys of an address. Raises CommandError where there are none."""
    from gatepost.cli.session import key_of_any

    key = _address(key_of_any(address))
    rows = kept_keys(home, key)
    if not rows:
        raise CommandError(f'there is no key of {key}; "gatepost key find {key}" looks one up')
    return rows


def _address(text: str) -> str:
    from gatepost.seal.cms.names import address_key

    return address_key(text)


def shown(key: RecipientKey) -> dict[str, Any]:
    """A key as commands show it."""
    return {
        "address": key.address, "kind": key.kind, "fingerprint": key.fingerprint, "algorithm": key.algorithm,
        "user_id": key.user_id, "source": key.source, "valid_until": _time(key.valid_until),
        "found_at": _time(key.found_at), "cached_until": _time(key.cached_until),
    }  # fmt: skip


def shown_kept(kept: KeptKey) -> dict[str, Any]:
    return {**shown(kept.key), "state": kept.state, "first_seen": _time(kept.first_seen), "note": kept.note or None}


def _time(moment: Any) -> str | None:
    from gatepost.cli.moments import shown_time

    return None if moment is None else shown_time(moment.timestamp())
