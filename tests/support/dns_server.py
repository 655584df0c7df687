"""A small DNS server on loopback for tests, UDP and TCP on one port, that knows one zone and can be made to misbehave.

    server = DnsServer({"b.example": {"MX": ["10 mx.b.example."], "TXT": ["v=spf1 -all"]}})
    async with server: ...        # in the running event loop
    with server.in_thread(): ...  # for tests that start other processes
    DnsSettings(resolvers=(server.address,))

Names are looked up in lower case. An alias is {"CNAME": ["other.example."]} and is followed inside the zone; a
"*.b.example" answers for names below b.example that have no entry. Whatever is not in the zone is NXDOMAIN.
`zone` may be changed at any time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import Enum, auto
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Zone = Mapping[str, Mapping[str, Sequence[str]]]


class Behaviour(Enum):
    """What the server does with a query instead of answering it well."""

    ANSWER = auto()
    SERVFAIL = auto()
    REFUSED = auto()
    SILENCE = auto()
    TRUNCATE = auto()  # UDP says TC and nothing else; TCP answers
    WRONG_ID = auto()  # an answer with another ID comes first, then none
    WRONG_QUESTION = auto()  # an answer to another question comes, then none
    STRAYS_FIRST = auto()  # three answers with another ID and false records, then the true one
    FLOOD = auto()  # very many answers with another ID; TCP answers
    GARBAGE = auto()  # the ID and the question are right, the rest is noise
    NO_EDNS = auto()  # FORMERR for a query with EDNS, an answer for one without


class DnsServer:
    """Answers from `zone`; `queries` lists what was asked: (name, type, "udp" or "tcp")."""

    def __init__(self, zone: Zone, *, ttl: int = 300, negative_ttl: int = 60, authenticated: bool = False) -> None:
        self.zone = dict(zone)
        self.ttl = ttl
        self.negative_ttl = negative_ttl
        self.authenticated = authenticated  # sets the AD bit for those who ask for it
        self.queries: list[tuple[str, str, str]] = []
        self.last_query: dns.message.Message | None = None
        self.port = 0
        self._behaviours: dict[str, Behaviour] = {}
        self._held: list[Callable[[], None]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._asked = asyncio.Condition()

    @property
    def address(self) -> str:
        """As `DnsSettings.resolvers` wants it."""
        return f"127.0.0.1:{self.port}"

    def behave(self, behaviour: Behaviour, name: str = "") -> None:
        """From now on, for `name` or for every name that has no behaviour of its own."""
        self._behaviours[name] = behaviour

    def hold(self) -> None:
        """Keep answers back until `release`."""
        self._held = []

    def release(self) -> None:
        """Send what was kept back, and answer at once from now on."""
        held, self._held = self._held or [], None
        for send in held:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(send)

    async def asked(self, count: int) -> None:
        """Returns when `count` queries have come (in the server's own loop)."""
        async with self._asked:
            await self._asked.wait_for(lambda: len(self.queries) >= count)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        for _ in range(20):  # the port that TCP got may be taken for UDP
            self._tcp = await asyncio.start_server(self._serve_connection, "127.0.0.1", self.port)
            self.port = self._tcp.sockets[0].getsockname()[1]
            try:
                self._udp, _ = await self._loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), local_addr=("127.0.0.1", self.port)
                )
            except OSError:
                self._tcp.close()
                self.port = 0
                continue
            return self
        raise OSError("no port that is free for both UDP and TCP")

    async def __aexit__(self, *_: object) -> None:
        assert self._udp is not None
        assert self._tcp is not None
        self._udp.close()
        self._tcp.close()
        await asyncio.sleep(0)

    @contextmanager
    def in_thread(self) -> Iterator[Self]:
        """Serve from a thread of its own."""
        started = threading.Event()
        stop = asyncio.Event()

        async def serve() -> None:
            async with self:
                started.set()
                await stop.wait()

        thread = threading.Thread(target=lambda: asyncio.run(serve()), name="dns server", daemon=True)
        thread.start()
        assert started.wait(10)
        try:
            yield self
        finally:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(stop.set)
            thread.join(10)

    def replies(self, octets: bytes, transport: str) -> list[bytes]:
        """What goes back for one query."""
        query = dns.message.from_wire(octets)
        self.last_query = query
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        self.queries.append((name, dns.rdatatype.to_text(query.question[0].rdtype), transport))
        behaviour = self._behaviours.get(name, self._behaviours.get("", Behaviour.ANSWER))
        if transport == "tcp" and behaviour in (Behaviour.TRUNCATE, Behaviour.FLOOD):
            behaviour = Behaviour.ANSWER
        return self._misbehave(query, behaviour)

    def _misbehave(self, query: dns.message.Message, behaviour: Behaviour) -> list[bytes]:
        reply = dns.message.make_response(query, recursion_available=True)
        match behaviour:
            case Behaviour.SILENCE:
                return []
            case Behaviour.SERVFAIL | Behaviour.REFUSED:
                reply.set_rcode(dns.rcode.from_text(behaviour.name))
                return [reply.to_wire()]
            case Behaviour.TRUNCATE:
                reply.flags |= dns.flags.TC
                return [reply.to_wire()]
            case Behaviour.NO_EDNS if query.edns >= 0:
                reply.set_rcode(dns.rcode.FORMERR)
                reply.use_edns(False)
                return [reply.to_wire()]
            case Behaviour.GARBAGE:
                question = dns.message.make_response(query)
                question.use_edns(False)
                wire = bytearray(question.to_wire())
                wire[6:8] = b"\x00\x05"  # five answers are said to follow
                return [bytes(wire) + b"\xc0\xff\x00\x01\x00"]
        truth = self._answer(query, reply)
        match behaviour:
            case Behaviour.WRONG_ID:
                return [_with_other_id(truth)]
            case Behaviour.WRONG_QUESTION:
                other = dns.message.make_query("other.example", "A", id=query.id)
                return [self._answer(other, dns.message.make_response(other))]
            case Behaviour.STRAYS_FIRST:
                return [_with_other_id(truth)] * 3 + [truth]
            case Behaviour.FLOOD:
                return [_with_other_id(truth)] * 50
        return [truth]

    def _answer(self, query: dns.message.Message, reply: dns.message.Message) -> bytes:
        asked = query.question[0]
        name, kind = asked.name, dns.rdatatype.to_text(asked.rdtype)
        for _ in range(20):
            types = self._types_at(name)
            if types is None:
                reply.set_rcode(dns.rcode.NXDOMAIN)
                break
            if kind in types:
                reply.answer.append(self._rrset(name, kind, types[kind]))
                break
            if "CNAME" not in types:
                break
            alias = self._rrset(name, "CNAME", types["CNAME"])
            reply.answer.append(alias)
            name = alias[0].target
        if not any(rrset.rdtype == asked.rdtype for rrset in reply.answer):
            soa = f"ns.example. hostmaster.example. 1 7200 900 1209600 {self.negative_ttl}"
            reply.authority.append(self._rrset(dns.name.root, "SOA", [soa]))
        if self.authenticated and query.flags & dns.flags.AD:
            reply.flags |= dns.flags.AD
        return reply.to_wire(max_size=65535)

    def _types_at(self, name: dns.name.Name) -> Mapping[str, Sequence[str]] | None:
        """The records at `name` by type, {} where only names below it exist, None where nothing does."""
        text = name.to_text(omit_final_dot=True).lower()
        if text in self.zone:
            return self.zone[text]
        if any(other.endswith("." + text) for other in self.zone):
            return {}
        labels = text.split(".")
        for start in range(1, len(labels)):
            wildcard = ".".join(["*", *labels[start:]])
            if wildcard in self.zone:
                return self.zone[wildcard]
        return None

    def _rrset(self, name: dns.name.Name, kind: str, texts: Sequence[str]) -> dns.rrset.RRset:
        if kind == "TXT":
            texts = [text if text.startswith('"') else _quoted(text) for text in texts]
        rdatas = [dns.rdata.from_text("IN", kind, text, origin=dns.name.root, relativize=False) for text in texts]
        return dns.rrset.from_rdata_list(name, self.ttl, rdatas)

    def send_or_hold(self, send: Callable[[], None]) -> None:
        """Send now, or at `release`."""
        if self._held is None:
            send()
        else:
            self._held.append(send)

    async def tell_askers(self) -> None:
        """Wake those who wait in `asked`."""
        async with self._asked:
            self._asked.notify_all()

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                for reply in self.replies(await reader.readexactly(length), "tcp"):
                    framed = len(reply).to_bytes(2, "big") + reply
                    self.send_or_hold(lambda octets=framed: writer.write(octets))  # type: ignore[misc]
                await self.tell_askers()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


_ELSEWHERE: list[tuple[DnsServer, AbstractContextManager[DnsServer]]] = []


def resolver_for_everybody() -> str:
    """The address of a DNS, one in each test process, in which the domains of tests have a mail host whose address
    cannot be had now: what they send is taken, and mail for them waits."""
    if not _ELSEWHERE:
        host, records = "mx.elsewhere.test", {"MX": ["10 mx.elsewhere.test."]}
        names = ("example.net", "example.com", "example.org", "example")
        server = DnsServer({name: records for top in names for name in (top, f"*.{top}")})
        server.behave(Behaviour.SERVFAIL, host)
        serving = server.in_thread()
        serving.__enter__()  # for as long as the process lives
        _ELSEWHERE.append((server, serving))
    return _ELSEWHERE[0][0].address


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        replies = self._server.replies(data, "udp")

        def send() -> None:
            for reply in replies:
                self._transport.sendto(reply, addr)

        self._server.send_or_hold(send)
        task = asyncio.get_running_loop().create_task(self._server.tell_askers())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _with_other_id(reply: bytes) -> bytes:
    return bytes([reply[0] ^ 0x55]) + reply[1:]


def _quoted(text: str) -> str:
    """A TXT record in master-file form, in strings of at most 255 octets."""
    octets = text.encode()
    pieces = [octets[start : start + 255] for start in range(0, len(octets), 255)] or [b""]
    escaped = ["".join(chr(o) if 0x20 <= o < 0x7F and o not in b'"\\' else f"\\{o:03d}" for o in p) for p in pieces]
    return " ".join(f'"{piece}"' for piece in escaped)
