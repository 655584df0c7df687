"""Requests over HTTPS to hosts that somebody named: `ports.fetch`.

Whoever can choose the name must not reach what only this machine can (SSRF): the name is resolved once, by our own
resolver, addresses that are not on the public Internet are refused, and the connection goes to the very address that
was looked at. https only, no proxies from the environment, no cookies; bounded in time, size and redirections, each of
which is looked at in the same way. Our own listeners are not asked either.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpcore2

from gatepost import __version__
from gatepost.mail.network import is_special, parse_ip
from gatepost.net.trust import TrustStore
from gatepost.ports.fetch import Fetched, FetchError, FetchFault, https_url
from gatepost.ports.resolver import Answer, Outcome, Resolver

MAX_ADDRESSES: Final = 4  # of a host that are tried
AGENT: Final = f"Gatepost/{__version__}"
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address stands in the last 32 bits
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class HttpsFetcher:
    """private: hosts may have loopback and private addresses too; for a URL that the operator wrote, and said so.
    own: (address, port) of our listeners, which are never asked."""

    def __init__(
        self,
        resolver: Resolver,
        trust: TrustStore | None = None,
        *,
        private: bool = False,
        own: Collection[tuple[str, int]] = (),
    ) -> None:
        self._resolver = resolver
        self._trust = trust or TrustStore()
        self._private = private
        self._own = own

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        max_octets: int = 64 * 1024,
        redirects: int = 0,
    ) -> Fetched:
        """See `ports.fetch.Fetcher`."""
        sent = {"User-Agent": AGENT, "Accept-Encoding": "identity", "Connection": "close", **(headers or {})}
        left = redirects if method == "GET" else 0
        try:
            async with asyncio.timeout(timeout):
                while True:
                    answer = await self._ask_once(url, method, body, sent, max_octets)
                    to = answer.headers.get("location", "") if answer.status in _REDIRECTS else ""
                    if not to or left == 0:
                        return answer
                    url, left = urljoin(url, to), left - 1
        except TimeoutError as error:
            raise FetchError(f"{urlsplit(url).hostname}: no answer within {timeout:.0f} s", code="timeout") from error

    async def _ask_once(
        self, url: str, method: str, body: bytes, headers: Mapping[str, str], max_octets: int
    ) -> Fetched:
        """One request. Raises FetchError, TimeoutError."""
        parts = https_url(url)
        where = parts.hostname or ""
        addresses = await self._addresses(where, parts.port or 443)
        try:
            context = await asyncio.to_thread(lambda: self._trust.strict)  # reads the trust store the first time
            return await _ask(url, method, body, headers, context, addresses, max_octets)
        except (httpcore2.TimeoutException, httpcore2.NetworkError) as error:
            raise FetchError(f"{where}: {_reason(error)}", code=_fault(error)) from error
        except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol, ssl.SSLError) as error:
            raise FetchError(f"{where}: the answer is none of HTTP: {_reason(error)}", code="answer") from error
        except OSError as error:
            if isinstance(error, FetchError | TimeoutError):
                raise
            raise FetchError(f"{where}: {_reason(error)}", code=_fault(error)) from error

    async def _addresses(self, host: str, port: int = 443) -> list[str]:
        """Where the host is. Raises FetchError for a host that cannot be found, or is where nobody from outside may
        send us."""
        try:
            found = [str(parse_ip(host))]
        except ValueError:
            found = await self._resolved(host)
        allowed = [address for address in found if self._private or is_public(address)]
        if not allowed:
            raise FetchError(
                f"{host}: its address {found[0]} is not on the public Internet, so it is not asked",
                is_final=True,
                code="address",
            )
        others = [address for address in allowed if (address, port) not in self._own]
        if not others:
            raise FetchError(f"{host}: that is this very server, which is not asked", is_final=True, code="address")
        return others[:MAX_ADDRESSES]

    async def _resolved(self, host: str) -> list[str]:
        answers = await asyncio.gather(self._resolver.query(host, "A"), self._resolver.query(host, "AAAA"))
        found = [record for answer in answers if answer.outcome is Outcome.FOUND for record in answer.records]
        if not found:
            failed = any(answer.outcome is Outcome.FAILED for answer in answers)
            raise FetchError(f"{host}: {_no_address(answers)}", code="lookup" if failed else "no_host")
        return found


def is_public(ip: str) -> bool:
    """Whether `ip` is a host on the public Internet, also when it stands for another one (IPv4-mapped, 6to4, NAT64)."""
    address = parse_ip(ip)
    if isinstance(address, IPv6Address):
        if address.sixtofour is not None:
            return is_public(str(address.sixtofour))
        if address in _NAT64:
            return is_public(str(ip_address(int(address) & 0xFFFFFFFF)))
        if address.teredo is not None or address.is_reserved:  # ::/8 among them: IPv4-compatible, RFC 8215
            return False
    return not is_special(ip) and address.is_global


class _Pinned(httpcore2.AsyncNetworkBackend):
    """Connects to addresses that were looked at, whatever the name says now."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        last: Exception | None = None
        for address in self._addresses:
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                last = error
        assert last is not None  # there is an address
        raise last

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _ask(
    url: str,
    method: str,
    body: bytes,
    headers: Mapping[str, str],
    context: ssl.SSLContext,
    addresses: Sequence[str],
    max_octets: int,
) -> Fetched:
    """One request, and its answer as far as it is bounded."""
    limits = {"connect": 10.0, "read": 30.0, "write": 30.0, "pool": 10.0}
    async with (
        httpcore2.AsyncConnectionPool(ssl_context=context, network_backend=_Pinned(addresses)) as pool,
        pool.stream(
            method, url, headers=list(headers.items()), content=body, extensions={"timeout": limits}
        ) as response,
    ):
        octets = bytearray()
        async for piece in response.aiter_stream():
            octets += piece
            if len(octets) > max_octets:
                raise FetchError(
                    f"{urlsplit(url).hostname}: the answer is longer than {max_octets} octets", code="too_long"
                )
        answered: dict[str, str] = {}
        for name, value in response.headers:
            answered.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        return Fetched(response.status, answered, bytes(octets))


def _no_address(answers: Sequence[Answer]) -> str:
    failed = next((answer.error for answer in answers if answer.outcome is Outcome.FAILED), "")
    return f"its address cannot be looked up: {failed}" if failed else "there is no such host"


def _fault(error: BaseException) -> FetchFault:
    """What kind of fault lies at the bottom of `error`."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, ssl.SSLCertVerificationError):
            return "certificate"
        if isinstance(at, ConnectionRefusedError):
            return "refused"
        if isinstance(at, httpcore2.TimeoutException | TimeoutError):
            return "timeout"
        at = at.__cause__ or at.__context__
    return "network"


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error.__context__
    text = str(error) or (str(cause) if cause is not None else "")
    return text or type(error).__name__
