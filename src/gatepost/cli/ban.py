"""`gatepost ban`: who is kept out, why and until when."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatepost.cli import output
from gatepost.cli.errors import USAGE, CommandError
from gatepost.cli.moments import shown_time
from gatepost.cli.options import AsJson, ConfigFile, noun
from gatepost.cli.record import recording
from gatepost.cli.session import configuration, data_folder, who

if TYPE_CHECKING:
    from gatepost.audit.event import Recorder
    from gatepost.config.model import Config
    from gatepost.gate.bans import Bans
    from gatepost.policy.findings import Ban
    from gatepost.store.lmdb.standing import LmdbStanding

app = noun("Bans: who may start no session, why, and until when.")

Network = Annotated[
    str, typer.Argument(metavar="NETWORK", help="An address or network; of IPv6 the whole /64 is meant.")
]


@app.command("list")
def list_bans(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The bans that hold now."""
    with _standing(configuration()) as standing:
        found = [_shown(ban) for ban in _bans(configuration(), standing, None).all()]
    output.rows(found, ("network", "until", "by", "reason", "event"), "Nobody is banned.")


@app.command("add")
def add(
    network: Network,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; it is kept and recorded.")],
    duration: Annotated[str, typer.Option("--for", metavar="DURATION", help='How long, as in "30m" or "7d".')] = "1h",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Ban an address or network, from the next connection on. An earlier ban on the same network is replaced."""
    import asyncio

    settings = configuration()
    banned = _network(network)
    seconds = _seconds(duration)
    if not why.strip():
        raise CommandError("--why: the reason is empty; say in a few words why, for whoever reads it next", USAGE)
    with (
        _standing(settings) as standing,
        recording(settings, "ban add", network=banned, seconds=seconds, reason=why) as recorder,
    ):
        bans = _bans(settings, standing, recorder)
        spared = asyncio.run(bans.spared(banned))
        if spared:
            raise CommandError(f"{banned} is not banned: {spared}")
        asyncio.run(bans.lay(banned, seconds, why.strip(), "", who()))
        until = time.time() + seconds
    output.done(f"{banned} is banned until {shown_time(until)}.", network=banned, until=shown_time(until))


@app.command("lift")
def lift(network: Network, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """End a ban now."""
    import asyncio

    settings = configuration()
    banned = _network(network)
    with _standing(settings) as standing:
        if banned not in [ban.network for ban in _bans(settings, standing, None).all()]:
            raise CommandError(f'there is no ban on {banned}; "gatepost ban list" shows those that there are')
        with recording(settings, "ban lift", network=banned) as recorder:
            asyncio.run(_bans(settings, standing, recorder).lift(banned, who()))
    output.done(f"{banned} is not banned any more.", network=banned)


@contextmanager
def _standing(settings: Config) -> Iterator[LmdbStanding]:
    from gatepost.store.lmdb.standing import LmdbStanding

    standing = LmdbStanding(data_folder(settings).standing, output.note)
    try:
        yield standing
    finally:
        standing.close()


def _bans(settings: Config, standing: LmdbStanding, recorder: Recorder | None) -> Bans:
    from gatepost.gate.bans import Bans
    from gatepost.net.clock import SystemClock, SystemIds

    return Bans(standing, recorder, SystemClock(), SystemIds(), settings.trusted)


def _network(text: str) -> str:
    from gatepost.gate.bans import ban_network

    try:
        return ban_network(text.strip())
    except ValueError as error:
        raise CommandError(f"{error}; write an address or a network, as in 192.0.2.7 or 192.0.2.0/24", USAGE) from None


def _seconds(text: str) -> float:
    from gatepost.mail.units import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise CommandError(f"--for: {error}", USAGE) from None
    if seconds <= 0:
        raise CommandError("--for: that is no time at all", USAGE)
    return seconds


def _shown(ban: Ban) -> dict[str, Any]:
    return {
        "network": ban.network,
        "since": shown_time(ban.since),
        "until": shown_time(ban.until),
        "by": ban.by or "detector",
        "reason": ban.reason,
        "event": ban.event or None,
    }
