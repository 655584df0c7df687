"""`gatepost key publish` and `unpublish`: keys of our own addresses, for everybody to find."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatepost.cli import output
from gatepost.cli.errors import CommandError
from gatepost.cli.options import AsJson, ConfigFile

if TYPE_CHECKING:
    from gatepost.config.model import Config
    from gatepost.seal.model import Kind
    from gatepost.seal.port import PublishedKey

Own = Annotated[str, typer.Argument(metavar="ADDRESS", help="An address in one of our domains.")]


def publish(
    address: Own,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Its public key: OpenPGP, or an S/MIME certificate.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let others find the key of ADDRESS: in the key directory of its domain, and in DNS once "gatepost dns records"
    was put there. It takes the place of an earlier one of the same kind."""
    from gatepost.cli.key_home import server_keys
    from gatepost.cli.sealing_keys import now, read_public
    from gatepost.cli.session import key_of_ours
    from gatepost.seal.key_names import KeyPlaces, wkd_hash
    from gatepost.seal.keys import check_key
    from gatepost.seal.model import Refused
    from gatepost.seal.port import PublishedKey

    found = read_public(file)
    if len(found) != 1:
        raise CommandError(f"{file} holds {len(found)} keys; one is published at a time")
    with server_keys() as home:
        assert home.config is not None
        own = key_of_ours(home.config, address)
        key = check_key(found[0], own, now())
        if isinstance(key, Refused):
            raise CommandError(f"{file}: not published: {key.reason}")
        shown = PublishedKey(
            address=key.address, kind=key.kind, fingerprint=key.fingerprint, material=key.material,
            wkd_hash=wkd_hash(key.address.rpartition("@")[0]), since=now(), valid_until=key.valid_until,
        )  # fmt: skip
        with home.recording("key publish", address=key.address, fingerprint=key.fingerprint, kind=key.kind):
            home.do(lambda store: store.publish(shown))
        _advise(home.config, shown)
    places = KeyPlaces(key.address)
    where = places.advanced_url if key.kind == "openpgp" else f"{places.smimea} SMIMEA"
    output.done(f"The key {key.fingerprint} of {key.address} is published: {where}", **_row(shown), url=where)


def unpublish(
    address: Own,
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="pgp, smime or any.")] = "any",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the key of ADDRESS no more. What others have kept of it, they may go on using; a key that was lost has to be
    revoked."""
    from gatepost.cli.key import kinds_of
    from gatepost.cli.key_home import server_keys
    from gatepost.cli.session import key_of_any
    from gatepost.seal.cms.names import address_key

    kinds = kinds_of(kind)
    own = address_key(key_of_any(address))
    with server_keys() as home, home.recording("key unpublish", address=own, kind=kind):
        gone = sum(home.do(lambda store, each=each: store.unpublish(own, each)) for each in kinds)  # type: ignore[misc]
        if not gone:
            raise CommandError(f'no such key of {own} is published; "gatepost key list --published" shows all')
    output.done(f"{own} has {gone} published key{'' if gone == 1 else 's'} less.", address=own, removed=gone)


def list_published(kinds: Sequence[Kind]) -> None:
    """Prints them."""
    from gatepost.cli.key_home import server_keys

    with server_keys() as home:
        rows = [_row(each) for each in home.do(lambda store: store.published()) if each.kind in kinds]
    output.rows(rows, ("address", "kind", "fingerprint", "valid_until"), "No key is published.")


def _advise(config: Config, key: PublishedKey) -> None:
    """What is still to be done so that others find it."""
    domain = key.address.rpartition("@")[2]
    if key.kind == "smime":
        output.note(f'others find it once its SMIMEA record is in DNS: "gatepost dns records {domain}" prints it')
    elif not any(listener.service == "web" for listener in config.listeners):
        output.note('others find it once there is a listener with service = "web", reached as '
                    f"https://openpgpkey.{domain}/")  # fmt: skip


def _row(key: PublishedKey) -> dict[str, Any]:
    from gatepost.cli.moments import shown_time

    until = None if key.valid_until is None else shown_time(key.valid_until.timestamp())
    return {
        "address": key.address, "kind": key.kind, "fingerprint": key.fingerprint,
        "since": shown_time(key.since.timestamp()), "valid_until": until,
    }  # fmt: skip
