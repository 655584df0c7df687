"""`gatepost grant`: who may send from where because they read their mail there (POP-before-SMTP)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatepost.cli import output
from gatepost.cli.errors import USAGE, CommandError
from gatepost.cli.moments import shown_time
from gatepost.cli.options import AsJson, ConfigFile, noun
from gatepost.cli.record import recording
from gatepost.cli.session import accounts, key_of_any, standing, who

if TYPE_CHECKING:
    from gatepost.accounts.directory import Directory
    from gatepost.audit.event import Recorder
    from gatepost.config.model import Config
    from gatepost.gate.grants import Grants
    from gatepost.standing.grants import Grant
    from gatepost.store.lmdb.standing import LmdbStanding

app = noun("Grants: addresses that may send as an account because it read its mail there.")


@app.command("list")
def list_grants(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The grants that count now."""
    with accounts() as (settings, _, directory), standing(settings) as store:
        found = [_shown(*each) for each in _grants(settings, store, directory, None).all()]
    if found and not settings.grants.enabled:
        output.note("POP-before-SMTP is switched off, so none of these counts; the server ends them within seconds")
    output.rows(found, ("address", "account", "since", "until", "by"), "There are no grants.")


@app.command("revoke")
def revoke(
    which: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS-OR-ACCOUNT", help="An IP address (of IPv6 the whole /64 is meant), or a mail address."
        ),
    ],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """End all grants at an address, or all of an account, now. The next login over POP3 makes a new one."""
    import asyncio

    wanted = _holder_or_account(which)
    with accounts() as (settings, _, directory), standing(settings) as store:
        there = _grants(settings, store, directory, None).all()
        if not any(wanted in (address, grant.account) for address, grant in there):
            raise CommandError(f'there is no grant for {wanted}; "gatepost grant list" shows those that there are')
        with recording(settings, "grant revoke", grants_of=wanted) as recorder:
            revoked = asyncio.run(_grants(settings, store, directory, recorder).revoke(wanted, who()))
    shown = [_shown(address, grant) for address, grant in revoked]
    told = ", ".join(f"{each['account']} at {each['address']}" for each in shown) or "none was left"
    output.done(f"Ended: {told}.", grants=shown)


def _grants(settings: Config, store: LmdbStanding, directory: Directory, recorder: Recorder | None) -> Grants:
    """recorder: None where they are only looked at."""
    from gatepost.gate.grants import Grants
    from gatepost.net.clock import SystemClock, SystemIds

    return Grants(settings.grants, store, directory, recorder, SystemClock(), SystemIds())


def _holder_or_account(text: str) -> str:
    from gatepost.mail.network import holder_of

    text = text.strip()
    if "@" in text:
        return key_of_any(text)
    try:
        return holder_of(text.removesuffix("/64") if ":" in text else text)
    except ValueError:
        raise CommandError(
            f"{text!r} is neither an IP address nor a mail address; write 192.0.2.7, 2001:db8::/64 or ada@example.org",
            USAGE,
        ) from None


def _shown(address: str, grant: Grant) -> dict[str, Any]:
    return {
        "address": address,
        "account": grant.account,
        "since": shown_time(grant.since),
        "until": shown_time(grant.until),
        "by": grant.by,
        "app_password": grant.credential or None,
        "event": grant.id,
    }
