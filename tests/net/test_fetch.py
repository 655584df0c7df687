"""Requests over HTTPS: answered by the host that was meant, bounded, and never by what only this machine can reach."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
from tests.support.certificates import Authority
from tests.support.memory_resolver import MemoryResolver

from gatepost.net.fetch import HttpsFetcher, is_public
from gatepost.net.trust import TrustStore
from gatepost.ports.fetch import Fetched, FetchError

HOST = "hooks.example.net"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: one\r\n\r\nok"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Host:
    """A web server that says one thing. heard: each request whole."""

    def __init__(self, authority: Authority, answer: bytes, name: str = HOST) -> None:
        self.heard: list[bytes] = []
        self.port = 0
        self._answer = answer
        self._context = authority.server_context(name)

    async def serve(self, then: Callable[[int], Awaitable[Fetched]]) -> Fetched:
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            return await then(self.port)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        self.heard.append(head + await reader.readexactly(length))
        if self._answer:
            writer.write(self._answer)
            await writer.drain()
        else:
            await asyncio.sleep(60)
        writer.close()


def ask(
    authority: Authority,
    host: Host,
    *,
    resolver: MemoryResolver | None = None,
    private: bool = True,
    url: str = "https://hooks.example.net:{port}/hook?a=b",
    timeout: float = 5.0,
    body: bytes = b"{}",
) -> Fetched:
    async def main() -> Fetched:
        dns = resolver or MemoryResolver()
        if resolver is None:
            dns.put(HOST, "A", "127.0.0.1")
        fetcher = HttpsFetcher(dns, TrustStore(authority.file), private=private)
        return await host.serve(
            lambda port: fetcher.fetch(
                url.format(port=port),
                method="POST",
                body=body,
                headers={"X-B": "two"},
                timeout=timeout,
                max_octets=1000,
            )
        )

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def test_a_request_is_answered(authority: Authority) -> None:
    host = Host(authority, OK)
    answer = ask(authority, host, body=b'{"alert":1}')
    assert (answer.status, answer.body, answer.headers["x-a"]) == (200, b"ok", "one")
    (heard,) = host.heard
    assert heard.startswith(b"POST /hook?a=b HTTP/1.1\r\n")
    assert b"\r\nHost: hooks.example.net:" in heard
    assert b"\r\nX-B: two\r\n" in heard
    assert heard.endswith(b'\r\n\r\n{"alert":1}')


class Moved(Host):
    """Sends whoever asks for the hook to `to`; "{port}" in it is its own."""

    def __init__(self, authority: Authority, to: str) -> None:
        super().__init__(authority, OK)
        self._to = to

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.append(await reader.readuntil(b"\r\n\r\n"))
        if b"/hook" in self.heard[-1]:
            to = self._to.format(port=self.port)
            writer.write(f"HTTP/1.1 301 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode())
        else:
            writer.write(OK)
        await writer.drain()
        writer.close()


def get(authority: Authority, host: Host, *, redirects: int = 0, private: bool = True, own: bool = False) -> Fetched:
    async def main() -> Fetched:
        dns = MemoryResolver()
        dns.put(HOST, "A", "127.0.0.1")
        dns.put("other.example.net", "A", "127.0.0.1")

        async def then(port: int) -> Fetched:
            ours = {("127.0.0.1", port)} if own else ()
            fetcher = HttpsFetcher(dns, TrustStore(authority.file), private=private, own=ours)
            return await fetcher.fetch(f"https://{HOST}:{port}/hook", timeout=5.0, redirects=redirects)

        return await host.serve(then)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def test_redirections_are_followed_as_far_as_allowed(authority: Authority) -> None:
    host = Moved(authority, "/elsewhere?l=ada")
    assert get(authority, host, redirects=1).body == b"ok"
    assert host.heard[1].startswith(b"GET /elsewhere?l=ada HTTP/1.1\r\n")
    assert get(authority, Moved(authority, "/hook/again"), redirects=3).status == 301
    assert get(authority, Moved(authority, "/elsewhere"), redirects=0).status == 301


@pytest.mark.parametrize(
    ("to", "why", "code"),
    [
        ("http://hooks.example.net:{port}/x", "does not begin with https", "url"),
        ("https://ada:secret@hooks.example.net:{port}/x", "password", "url"),
        ("https://nowhere.example.net:{port}/x", "there is no such host", "no_host"),
        ("https://other.example.net:{port}/x", "certificate", "certificate"),
    ],
)
def test_where_a_redirection_leads_is_looked_at_as_a_url_of_its_own(
    authority: Authority, to: str, why: str, code: str
) -> None:
    with pytest.raises(FetchError, match=why) as raised:
        get(authority, Moved(authority, to), redirects=3)
    assert raised.value.code == code


def test_a_redirection_to_this_machine_is_not_followed(authority: Authority) -> None:
    """A public web server could send us to services that trust this machine."""
    dns = MemoryResolver()
    dns.put(HOST, "A", "127.0.0.1")

    class OnlyFirst(HttpsFetcher):
        async def _addresses(self, host: str, port: int = 443) -> list[str]:
            return ["127.0.0.1"] if host == HOST else await super()._addresses(host, port)

    async def then(port: int) -> Fetched:
        fetcher = OnlyFirst(dns, TrustStore(authority.file))
        return await fetcher.fetch(f"https://{HOST}:{port}/hook", timeout=5.0, redirects=3)

    host = Moved(authority, "https://169.254.169.254:{port}/latest")
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        pytest.raises(FetchError, match="not on the public Internet"),
    ):
        runner.run(host.serve(then))
    assert len(host.heard) == 1


def test_our_own_listeners_are_not_asked(authority: Authority) -> None:
    host = Host(authority, OK)
    with pytest.raises(FetchError, match="this very server") as raised:
        get(authority, host, own=True)
    assert (raised.value.code, raised.value.is_final, host.heard) == ("address", True, [])


def test_a_host_where_nobody_listens_is_told_apart_from_one_that_is_slow(authority: Authority) -> None:
    dns = MemoryResolver()
    dns.put(HOST, "A", "127.0.0.1")
    fetcher = HttpsFetcher(dns, TrustStore(authority.file), private=True)
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        with pytest.raises(FetchError) as raised:
            asyncio.run(fetcher.fetch(f"https://{HOST}:{unheard.getsockname()[1]}/", timeout=5.0))
    assert raised.value.code == "refused"
    with pytest.raises(FetchError) as raised:
        ask(authority, Host(authority, b""), timeout=0.3)
    assert raised.value.code == "timeout"


def test_a_redirection_is_an_answer_and_is_not_followed(authority: Authority) -> None:
    host = Host(authority, b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n")
    assert ask(authority, host).status == 302
    assert len(host.heard) == 1


@pytest.mark.parametrize(
    "url",
    ["https://hooks.example.net:{port}/", "https://127.0.0.1:{port}/", "https://[::ffff:127.0.0.1]:{port}/"],
)
def test_what_only_this_machine_can_reach_is_not_asked(authority: Authority, url: str) -> None:
    """Whoever could choose the name would reach services that trust this machine."""
    host = Host(authority, OK)
    with pytest.raises(FetchError, match="not on the public Internet") as raised:
        ask(authority, host, private=False, url=url)
    assert raised.value.is_final
    assert host.heard == []


def test_a_private_address_beside_a_public_one_is_left_out() -> None:
    dns = MemoryResolver()
    dns.put(HOST, "A", "127.0.0.1", "203.0.114.1")
    assert asyncio.run(HttpsFetcher(dns)._addresses(HOST)) == ["203.0.114.1"]


class Fickle(MemoryResolver):
    """Answers with a public address the first time, with loopback from then on."""

    async def query(self, name: str, rdtype: str):  # type: ignore[no-untyped-def]
        answer = await super().query(name, rdtype)
        self.put(name, "A", "192.168.0.1")
        return answer


def test_the_name_is_looked_up_once(authority: Authority) -> None:
    """A name that points elsewhere a moment later leads nowhere else."""
    dns = Fickle()
    dns.put(HOST, "A", "127.0.0.1")
    assert ask(authority, Host(authority, OK), resolver=dns).status == 200
    assert sorted(dns.asked) == [(HOST, "A"), (HOST, "AAAA")]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example.net/", "https://"),
        ("ftp://hooks.example.net/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("https:///hook", "no host"),
        ("https://user:secret@hooks.example.net/", "password"),
        ("https://hooks.example.net/#a", "fragment"),
        ("https://hooks.example.net/a b", "characters"),
        ("https://hooks.example.net/\r\nX: y", "characters"),
        ("https://hooks.example.net:99999/", "not a URL"),
        ("https://[::1/", "not a URL"),
    ],
)
def test_what_is_no_https_url_is_not_asked(authority: Authority, url: str, why: str) -> None:
    host = Host(authority, OK)
    with pytest.raises(FetchError, match=why) as raised:
        ask(authority, host, url=url)
    assert raised.value.is_final
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000, "longer than 1000"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, "longer than 1000"),
        (b"220 mx.example.org ESMTP\r\n", "hooks.example.net: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx", "hooks.example.net: "),
        (b"", "no answer within"),
    ],
)
def test_an_answer_is_bounded_and_must_be_one(authority: Authority, answer: bytes, why: str) -> None:
    with pytest.raises(FetchError, match=why) as raised:
        ask(authority, Host(authority, answer), timeout=0.5)
    assert not raised.value.is_final


def test_a_certificate_for_another_name_is_refused(authority: Authority) -> None:
    host = Host(authority, OK, "other.example.net")
    with pytest.raises(FetchError, match="certificate"):
        ask(authority, host)
    assert host.heard == []


def test_a_certificate_that_nobody_vouches_for_is_refused(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="certificate"):
        ask(authority, Host(Authority(tmp_path), OK))


def test_a_host_that_cannot_be_looked_up_is_told_apart_from_one_that_is_not_there(authority: Authority) -> None:
    dns = MemoryResolver()
    dns.fail(HOST, "A")
    with pytest.raises(FetchError, match="cannot be looked up: SERVFAIL"):
        ask(authority, Host(authority, OK), resolver=dns)
    with pytest.raises(FetchError, match="there is no such host"):
        ask(authority, Host(authority, OK), resolver=MemoryResolver())


@pytest.mark.parametrize(
    ("ip", "public"),
    [
        ("203.0.114.1", True), ("2606:4700::1", True), ("127.0.0.1", False), ("10.1.2.3", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("192.168.1.1", False), ("0.0.0.0", False),
        ("224.0.0.1", False), ("::1", False), ("fe80::1", False), ("fc00::1", False), ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::1", False), ("64:ff9b::7f00:1", False), ("64:ff9b::203.0.114.1", True),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False), ("::7f00:1", False), ("64:ff9b:1::7f00:1", False),
        ("240.0.0.1", False),
    ],
)  # fmt: skip
def test_an_address_is_public_or_not_also_when_it_stands_for_another(ip: str, public: bool) -> None:
    assert is_public(ip) is public
