"""Whose keys a command works on: the server's, in its data folder, or a person's own, in their folder of keys.

Both are the same kind of database, found with the same rules. A person's look-ups use `[dns]` and `[seal]` of the
configuration where it may be read, and never that of the current folder, which may be a stranger's.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gatepost.cli.options import given

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from gatepost.config.model import Config
    from gatepost.net.dns.settings import DnsSettings
    from gatepost.seal.discovery import KeyOutcome
    from gatepost.seal.model import Kind
    from gatepost.seal.settings import DiscoverySettings
    from gatepost.store.sqlite.keys import SqliteKeys

T = TypeVar("T")

Mine = Annotated[
    bool,
    typer.Option("--mine", help="Your own keys, also where there is a server on this machine.", show_default=False),
]


@dataclass(frozen=True)
class KeyHome:
    """Keys, and how further ones are found. config: of the server whose keys they are, None for a person's."""

    store: SqliteKeys
    dns: DnsSettings
    settings: DiscoverySettings
    config: Config | None = None

    def find(self, address: str, kinds: Sequence[Kind], *, refresh: bool = False, asks: bool = True) -> KeyOutcome:
        """The key of `address`: kept, published here, or looked up (`seal.discovery`). Raises KeyStoreError."""
        import asyncio

        return asyncio.run(self._find(address, kinds, refresh, asks))

    async def _find(self, address: str, kinds: Sequence[Kind], refresh: bool, asks: bool) -> KeyOutcome:
        from gatepost.net.clock import SystemClock
        from gatepost.net.dns.resolver import DnsResolver
        from gatepost.net.fetch import HttpsFetcher
        from gatepost.net.interfaces import own_endpoints
        from gatepost.seal.discovery import Discovery

        clock = SystemClock()
        resolver = DnsResolver(self.dns, clock)
        published = self.store if self.config is not None else None
        listeners = self.config.listeners if self.config is not None else ()
        fetcher = HttpsFetcher(resolver, own=own_endpoints(listeners))
        discovery = Discovery(self.store, clock, resolver, fetcher, self.settings, published)
        try:
            return await discovery.find(address, kinds, refresh=refresh, asks=asks)
        finally:
            await resolver.aclose()

    def do(self, work: Callable[[SqliteKeys], Awaitable[T]]) -> T:
        """What `work` with the store returns."""
        import asyncio

        async def main() -> T:
            return await work(self.store)

        return asyncio.run(main())

    def recording(self, act: str, **details: Any) -> AbstractContextManager[object]:
        """Acts on a server's keys go on its record."""
        if self.config is None:
            return nullcontext()
        from gatepost.cli.record import recording

        return recording(self.config, act, **details)


@contextmanager
def key_home(*, mine: bool = False) -> Iterator[KeyHome]:
    """The server's keys where a configuration is named or found; a person's own with `mine`, where $GATEPOST_KEYS is
    set, and where there is no server. Raises KeyStoreError, ConfigError, CommandError."""
    if mine or not _is_for_server():
        with own_keys() as home:
            yield home
        return
    with server_keys() as home:
        yield home


@contextmanager
def server_keys() -> Iterator[KeyHome]:
    """Those in the data folder."""
    from gatepost.cli.session import configuration, data_folder
    from gatepost.store.sqlite.keys import SqliteKeys

    config = configuration()
    store = SqliteKeys(data_folder(config).keys)
    try:
        yield KeyHome(store, config.dns, config.discovery, config)
    finally:
        store.close()


@contextmanager
def own_keys() -> Iterator[KeyHome]:
    """Those of the person who calls; their folder is made where it is not there."""
    from gatepost.cli.sealing_keys import folder
    from gatepost.store.sqlite.keys import FILE_NAME, SqliteKeys

    place = folder()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    dns, settings = _own_settings()
    store = SqliteKeys(place / FILE_NAME)
    try:
        yield KeyHome(store, dns, settings)
    finally:
        store.close()


def _is_for_server() -> bool:
    if given.config is not None:
        return True
    if os.environ.get("GATEPOST_KEYS"):
        return False
    return _config_file(here=True) is not None


def _own_settings() -> tuple[DnsSettings, DiscoverySettings]:
    from gatepost.config.problem import ConfigError
    from gatepost.config.read import load
    from gatepost.net.dns.settings import DnsSettings
    from gatepost.seal.settings import DiscoverySettings

    file = _config_file(here=False)
    try:
        config = load(file) if file is not None else None
    except (ConfigError, OSError):  # it is the server's, and not everybody may read all of it
        config = None
    return (config.dns, config.discovery) if config is not None else (DnsSettings(), DiscoverySettings())


def _config_file(*, here: bool) -> Path | None:
    from gatepost.config.locate import find_config
    from gatepost.config.problem import ConfigError

    try:
        return find_config(given.config, here=here)
    except ConfigError:
        return None
