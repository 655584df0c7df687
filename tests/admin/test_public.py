"""The key directory, on a real socket with TLS: what it shows, to whom, and that our own look-up finds it there."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.seal import scene
from tests.seal.scene import NOW
from tests.support.certificates import Authority
from tests.support.memory_keys import MemoryKeys
from tests.support.memory_resolver import MemoryResolver

from gatepost.admin.public import PublicParts, public_app
from gatepost.admin.public_serving import MAX_OPEN, serve_public
from gatepost.net.clock import SystemClock
from gatepost.net.fetch import HttpsFetcher
from gatepost.net.trust import TrustStore
from gatepost.ports.fetch import Fetched
from gatepost.seal.discovery import Discovery, KeyFound, NoKey
from gatepost.seal.key_names import KeyPlaces, wkd_hash
from gatepost.seal.port import PublishedKey
from gatepost.seal.settings import DiscoverySettings
from gatepost.store.sqlite.keys import SqliteKeys

ADA = "ada@example.org"
PLACES = KeyPlaces(ADA)
PATH = f"/.well-known/openpgpkey/hu/{wkd_hash('ada')}"
ADVANCED = f"/.well-known/openpgpkey/example.org/hu/{wkd_hash('ada')}"


class Web:
    def __init__(self, port: int, tls: ssl.SSLContext, keys: SqliteKeys) -> None:
        self.port, self.tls, self.keys = port, tls, keys

    async def get(self, path: str, host: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *fields = head.decode().split("\r\n")
        pairs = (each.partition(": ") for each in fields)
        return int(status.split()[1]), {name.lower(): value for name, _, value in pairs}, body


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@asynccontextmanager
async def serving(authority: Authority, folder: Path, *names: str, life: float = 30.0) -> AsyncIterator[Web]:
    keys = SqliteKeys(folder / "keys.db")
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    app = public_app(PublicParts(keys, ("example.org", "example.net")))
    context = authority.server_context(*(names or ("example.org", "openpgpkey.example.org")))
    task = asyncio.create_task(serve_public(sock, app, context, life))
    client = ssl.create_default_context(cafile=str(authority.file))
    client.check_hostname = False
    try:
        yield Web(port, client, keys)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        keys.close()


def shown(address: str = ADA, kind: str = "openpgp") -> PublishedKey:
    person = scene.pgp(address) if kind == "openpgp" else scene.smime(address)
    return PublishedKey(
        address=address, kind=person.key.kind, fingerprint=person.key.fingerprint, material=person.key.material,
        wkd_hash=wkd_hash(address.partition("@")[0]), since=NOW,
    )  # fmt: skip


async def test_a_published_key_is_shown_by_both_methods_and_gone_when_it_is_taken_back(
    authority: Authority, tmp_path: Path
) -> None:
    async with serving(authority, tmp_path) as web:
        assert (await web.get(PATH, "example.org"))[0] == 404
        await web.keys.publish(shown())
        for path, host in ((f"{PATH}?l=ada", "example.org"), (f"{ADVANCED}?l=Ada", "openpgpkey.example.org")):
            status, headers, body = await web.get(path, host)
            assert (status, body) == (200, shown().material)
            assert headers["content-type"] == "application/octet-stream"
            assert headers["access-control-allow-origin"] == "*"
            assert "server" not in headers
        status, _, body = await web.get(PATH, "example.org", "HEAD")
        assert (status, body) == (200, b"")
        await web.keys.unpublish(ADA)
        assert (await web.get(PATH, "example.org"))[0] == 404


NOT_SHOWN = [
    (PATH, "example.net"), (PATH, "openpgpkey.example.org"), (PATH, "127.0.0.1"), (PATH, "evil.example"),
    (ADVANCED, "example.org"), (ADVANCED.replace(".org", ".net"), "openpgpkey.example.net"),
    (ADVANCED, "openpgpkey.example.net"), (PATH + "x", "example.org"), ("/", "example.org"),
    ("/.well-known/openpgpkey/", "example.org"), ("/.well-known/openpgpkey/hu/", "example.org"),
    ("/.well-known/openpgpkey/hu/../../../etc/passwd", "example.org"), ("/healthz", "example.org"),
    ("/metrics", "example.org"), ("/api/grants", "example.org"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "host"), NOT_SHOWN)
async def test_nothing_else_is_shown(authority: Authority, tmp_path: Path, path: str, host: str) -> None:
    async with serving(authority, tmp_path) as web:
        await web.keys.publish(shown())
        await web.keys.publish(shown(kind="smime"))
        status, _, body = await web.get(path, host)
        assert status == 404
        assert shown().material not in body
        assert (await web.get(PATH, "example.org", "POST"))[0] == 405


async def test_the_policy_is_there_for_our_domains_and_no_other(authority: Authority, tmp_path: Path) -> None:
    async with serving(authority, tmp_path) as web:
        path = "/.well-known/openpgpkey/policy"
        assert (await web.get(path, "Example.org:443"))[0::2] == (200, b"")
        assert (await web.get("/.well-known/openpgpkey/example.net/policy", "openpgpkey.example.net"))[0] == 200
        assert (await web.get(path, "example.com"))[0] == 404


async def test_a_store_that_cannot_be_read_is_503_and_not_404(authority: Authority, tmp_path: Path) -> None:
    """404 would tell others for an hour that there is no key."""
    async with serving(authority, tmp_path) as web:
        await web.keys.publish(shown())
        import apsw

        other = apsw.Connection(str(tmp_path / "keys.db"))
        other.execute("DROP TABLE published")
        other.close()
        assert (await web.get(PATH, "example.org"))[0] == 503


class At:
    """The fetcher, with every host's port 443 at another port."""

    def __init__(self, fetcher: HttpsFetcher, port: int) -> None:
        self._fetcher, self._port = fetcher, port

    async def fetch(
        self, url: str, *, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None,
        timeout: float = 30.0, max_octets: int = 64 * 1024, redirects: int = 0,
    ) -> Fetched:  # fmt: skip
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        url = f"{scheme}://{host}:{self._port}{slash}{path}"
        return await self._fetcher.fetch(url, timeout=timeout, max_octets=max_octets, redirects=redirects)


@pytest.mark.parametrize("host", ["openpgpkey.example.org", "example.org"])
async def test_our_own_look_up_finds_the_key_in_the_directory_over_tls(
    authority: Authority, tmp_path: Path, host: str
) -> None:
    dns = MemoryResolver()
    dns.put(host, "A", "127.0.0.1")
    async with serving(authority, tmp_path, host) as web:
        fetcher = At(HttpsFetcher(dns, TrustStore(authority.file), private=True), web.port)
        discovery = Discovery(MemoryKeys(), SystemClock(), dns, fetcher, DiscoverySettings(("wkd",)))
        assert isinstance(await discovery.find(ADA), NoKey)
        await web.keys.publish(shown())
        found = await discovery.find(ADA, refresh=True)
        assert isinstance(found, KeyFound)
        assert (found.key.fingerprint, found.key.source) == (shown().fingerprint, "wkd")
        assert isinstance(await discovery.find("eve@example.org"), NoKey)


async def test_the_guard_keeps_a_look_up_away_from_this_machine(authority: Authority, tmp_path: Path) -> None:
    dns = MemoryResolver()
    dns.put("openpgpkey.example.org", "A", "127.0.0.1")
    async with serving(authority, tmp_path) as web:
        await web.keys.publish(shown())
        fetcher = At(HttpsFetcher(dns, TrustStore(authority.file)), web.port)
        discovery = Discovery(MemoryKeys(), SystemClock(), dns, fetcher, DiscoverySettings(("wkd",)))
        found = await discovery.find(ADA)
    assert isinstance(found, NoKey)
    assert "not on the public Internet" in found.reasons[0]


async def test_slow_strangers_take_their_places_for_a_while_only(authority: Authority, tmp_path: Path) -> None:
    """Connections that ask nothing would keep everybody else out for ever."""
    async with serving(authority, tmp_path, life=1.0) as web:
        await web.keys.publish(shown())
        idle = [await asyncio.open_connection("127.0.0.1", web.port, ssl=web.tls) for _ in range(MAX_OPEN)]
        status, _, _ = await web.get(PATH, "example.org")  # waits until they are cut off
        assert status == 200
        for reader, writer in idle:
            with suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
