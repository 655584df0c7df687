"""A server's intake on fakes: a wire that a test types on, and everything behind it in memory."""

from __future__ import annotations

import asyncio
import re
import textwrap
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tests.accounts.memory import MemoryAccounts
from tests.support.clock import HandClock
from tests.support.memory_resolver import MemoryResolver
from tests.support.memory_standing import MemoryStanding

from gatepost.accounts.authentication import Authenticator
from gatepost.accounts.credentials import with_password
from gatepost.accounts.directory import Directory
from gatepost.accounts.model import Account, Alias, Domain, Found, MailingList
from gatepost.audit.event import Event, RecordError
from gatepost.gate.asking import MailHosts
from gatepost.gate.callouts import Callouts
from gatepost.gate.departures import Departures
from gatepost.gate.door import Door
from gatepost.gate.grants import Grants
from gatepost.gate.parts import GateParts
from gatepost.gate.probes import Probes
from gatepost.gate.sealing import KeyFinder, Sealer
from gatepost.intake.cut_through import Passage
from gatepost.intake.parts import IntakeParts
from gatepost.intake.session import SmtpSession
from gatepost.intake.settings import IntakeSettings, ListenerSettings
from gatepost.mail.address import parse_mailbox
from gatepost.mail.ids import make_id
from gatepost.mail.network import NetworkSet
from gatepost.policy.check import Check, CheckSettings
from gatepost.policy.checks import recipient_exists, sender_callout
from gatepost.policy.engine import Policy
from gatepost.policy.registry import CHECKS
from gatepost.ports.wire import Peer, PeerCertificate, PeerTls
from gatepost.seal.discovery import KeyOutcome, NoKey
from gatepost.seal.model import Kind
from gatepost.seal.rules import SealSettings
from gatepost.seal.work import SealWork
from gatepost.spool.model import Entry, NewEntry, Settlement
from gatepost.spool.port import Content, SpoolError, SpoolFullError
from gatepost.standing.grants import GrantSettings

PASSWORD = "correct horse battery"
ID = re.compile(r" \([0-9A-HJKMNP-TV-Z]{26}\)")


class MemoryContent:
    def __init__(self, room: int) -> None:
        self.pieces: list[bytes] = []
        self.is_finished = self.is_discarded = False
        self._room = room

    @property
    def octets(self) -> int:
        return sum(len(piece) for piece in self.pieces)

    def write(self, octets: bytes) -> None:
        if self.octets + len(octets) > self._room:
            raise SpoolFullError("no room")
        self.pieces.append(octets)

    def finish(self) -> None:
        self.is_finished = True

    def discard(self) -> None:
        self.is_discarded = True

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


class MemorySpool:
    """Keeps entries in a dict; `room` and `fails` are for bad days."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[NewEntry, bytes]] = {}
        self.contents: list[MemoryContent] = []
        self.room = 1 << 40
        self.fails: SpoolError | None = None
        self.hold: asyncio.Event | None = None

    def new_content(self, *, for_sealing: bool = False) -> MemoryContent:
        self.contents.append(MemoryContent(self.room))
        return self.contents[-1]

    async def add(self, entry: NewEntry, content: Content) -> None:
        assert isinstance(content, MemoryContent)
        assert content.is_finished
        if self.hold is not None:
            await self.hold.wait()
        if self.fails is not None:
            raise self.fails
        self.entries[entry.id] = (entry, b"".join(content.pieces))

    async def add_all(self, new: Sequence[tuple[NewEntry, Content]]) -> None:
        before = dict(self.entries)
        try:
            for entry, content in new:
                await self.add(entry, content)
        except SpoolError:
            self.entries = before
            raise

    async def lease(
        self, now: float, limit: int, exclude: Collection[str] = (), per_destination: int = 50
    ) -> list[Entry]:
        raise NotImplementedError

    async def settle(self, settlements: Sequence[Settlement], new: Sequence[tuple[NewEntry, Content]] = ()) -> None:
        raise NotImplementedError

    def read(self, entry_id: str) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def next_due(self, exclude: Collection[str] = ()) -> float | None:
        return None

    async def change(self, entry_id: str, action: str, now: float) -> bool:
        assert action in ("drop", "quarantine-drop")
        return self.entries.pop(entry_id, None) is not None

    async def close(self) -> None:
        pass

    @property
    def only(self) -> tuple[NewEntry, bytes]:
        """The one entry there is."""
        (entry,) = self.entries.values()
        return entry


class ListRecorder:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.fails = False

    def record(self, event: Event) -> None:
        if self.fails:
            raise RecordError("the disk is full")
        self.events.append(event)

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


class CountingIds:
    def __init__(self) -> None:
        self._last = 0

    def new(self) -> str:
        self._last += 1
        return make_id(1_764_000_000_000, self._last)


class FakeTimer:
    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due, self.callback, self.is_cancelled = due, callback, False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeWire:
    """What the driver writes is in `written`; TLS starts when the test says so."""

    def __init__(self, peer: Peer, clock: HandClock, tls: PeerTls | None, has_certificate: bool) -> None:
        self.peer = peer
        self.tls = tls
        self.written: list[bytes] = []
        self.is_closed = self.is_paused = self.is_upgrading = False
        self._clock = clock
        self._has_certificate = has_certificate
        self.timers: list[FakeTimer] = []

    @property
    def can_start_tls(self) -> bool:
        return self._has_certificate and self.tls is None

    def write(self, octets: bytes) -> None:
        assert not self.is_upgrading, "nothing may be written while TLS is being started"
        if not self.is_closed:
            self.written.append(octets)

    async def drained(self) -> None:
        pass

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def start_tls(self, ready: bytes) -> None:
        self.write(ready)
        self.is_upgrading = True

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def call_later(self, seconds: float, callback: Callable[[], None]) -> FakeTimer:
        self.timers.append(FakeTimer(self._clock.at + seconds, callback))
        return self.timers[-1]

    def take(self) -> bytes:
        octets = b"".join(self.written)
        self.written.clear()
        return octets


class _NobodyHasAKey:
    async def find(self, address: str, kinds: Sequence[Kind] = ()) -> KeyOutcome:
        return NoKey(address, ("nobody has a key",))


NOBODY_HAS_A_KEY: Final = _NobodyHasAKey()


class Desk:
    """One server: example.org with ada, bob, an alias, a list and the catch-all domain catch.example; inner.example,
    through.example and passed.example have their mail elsewhere, the latter two by cut-through.

    checks: a test's own, behind those that there are. hosts: the mail hosts of others, where there are some to ask.
    passage: how mail is passed on before it is accepted. routed: a domain that has a route. sealing, finder: what is
    encrypted, and to which keys. at: the time of day.
    """

    def __init__(
        self,
        *,
        policy: dict[str, CheckSettings] | None = None,
        checks: Sequence[Check] = (),
        trusted: Sequence[str] = (),
        relay_networks: Sequence[str] = (),
        accounts: MemoryAccounts | None = None,
        settings: IntakeSettings | None = None,
        grants: GrantSettings | None = None,
        standing: MemoryStanding | None = None,
        hosts: MailHosts | None = None,
        passage: Passage | None = None,
        routed: str = "",
        sealing: SealSettings | None = None,
        finder: KeyFinder = NOBODY_HAS_A_KEY,
        at_hand: KeyFinder | None = None,
        at: float | None = None,
    ) -> None:
        self.clock = HandClock() if at is None else HandClock(at)
        self.recorder = ListRecorder()
        self.spool = MemorySpool()
        self.standing = standing or MemoryStanding()
        self.accounts = accounts or MemoryAccounts(*standard_accounts())
        self.notified = 0
        names = ("example.org", "catch.example", "inner.example")
        domains = {name: Domain(name) for name in names}
        domains["inner.example"] = Domain("inner.example", "smtp://192.0.2.99:25")
        for name in ("through.example", "passed.example"):
            domains[name] = Domain(name, "smtp://192.0.2.98:25", cut_through=True)
        self.executor = ThreadPoolExecutor(1)
        self.seal_work = SealWork()
        rules = Policy((*CHECKS, *checks), policy)
        ids = CountingIds()
        self.resolver = MemoryResolver(every_domain_has_mx=True)
        self.alerts: list[tuple[str, str]] = []
        self.door = Door(
            rules,
            self.standing,
            self.recorder,
            self.clock,
            ids,
            trusted=NetworkSet(trusted),
            resolver=self.resolver,
            report=lambda what, problem: self.alerts.append((what, problem)),
        )
        directory = Directory(domains, self.accounts, "mx.example.org", parse_mailbox("ada@example.org"))
        is_gateway = self.door.gateways.knows
        self.grants = Grants(
            grants or GrantSettings(), self.standing, directory, self.recorder, self.clock, ids, is_gateway
        )
        gate = GateParts(
            hostname="mx.example.org",
            policy=rules,
            directory=directory,
            authenticator=Authenticator(self.accounts, self.executor, self.clock, b"secret"),
            standing=self.standing,
            departures=Departures(self.standing, self.clock),
            recorder=self.recorder,
            clock=self.clock,
            ids=ids,
            secret=b"secret",
            trusted=NetworkSet(trusted),
            relay_networks=NetworkSet(relay_networks),
            bans=self.door.bans,
            access=self.door.access,
            gateways=self.door.gateways,
            floods=self.door.floods,
            shedding=self.door.shedding,
            present=self.door.expelling.present,
            grants=self.grants,
            resolver=self.resolver,
            is_routed=lambda domain: domain == routed,
            probes=self._probes(hosts, rules) if hosts else None,
            callouts=self._callouts(hosts, rules) if hosts else None,
            seal_work=self.seal_work,
            sealer=Sealer(
                sealing or SealSettings(),
                finder,
                self.seal_work,
                self.clock,
                at_hand=at_hand,
                is_ours=directory.is_ours,
            ),
        )
        self.parts = IntakeParts(
            gate=gate,
            spool=self.spool,
            settings=settings or IntakeSettings(auth_delay=0.0),
            notify=self._notify,
            recipient_limits={"mx": 100, "submission": 1000, "submissions": 1000},
            passage=passage,
        )

    def _probes(self, hosts: MailHosts, rules: Policy) -> Probes:
        settings = rules.settings_of(recipient_exists.CHECK)
        assert isinstance(settings, recipient_exists.Settings)
        report = lambda problem: self.alerts.append((recipient_exists.NAME, problem))  # noqa: E731
        return Probes(hosts, self.standing, self.clock, settings, report)

    def _callouts(self, hosts: MailHosts, rules: Policy) -> Callouts:
        settings = rules.settings_of(sender_callout.CHECK)
        assert isinstance(settings, sender_callout.Settings)
        return Callouts(hosts, self.standing, self.clock, settings)

    def _notify(self) -> None:
        self.notified += 1

    def connect(
        self,
        service: str = "mx",
        ip: str = "192.0.2.7",
        *,
        tls: bool = False,
        certificate: bool = True,
        xclient: bool = False,
        user: str = "",
        shows: PeerCertificate | None = None,
    ) -> Client:
        """shows: the client certificate; the connection has TLS then."""
        peer = Peer(ip, 40112 if ip else 0, service, user=user)
        has_tls = tls or shows is not None
        state = PeerTls("TLSv1.3", "TLS_AES_256_GCM_SHA384", b"end point", certificate=shows) if has_tls else None
        wire = FakeWire(peer, self.clock, state, certificate)
        session = SmtpSession(wire, self.parts, ListenerSettings(xclient=xclient))
        client = Client(self, session, wire)
        session.connection_made()
        return client

    def close(self) -> None:
        self.executor.shutdown(wait=False)


class Client:
    """The peer's side: says octets, reads replies (IDs taken out)."""

    def __init__(self, desk: Desk, session: SmtpSession, wire: FakeWire) -> None:
        self.desk, self.session, self.wire = desk, session, wire

    async def say(self, octets: bytes) -> list[str]:
        """Send octets and read the lines that come back."""
        self.session.data_received(octets)
        return await self.read()

    async def read(self) -> list[str]:
        """The lines that were written, when the session waits for nothing but us."""
        while (task := self.session._task) is not None:
            await asyncio.wait([task], timeout=5)
        return ID.sub("", self.wire.take().decode("ascii")).splitlines()

    async def waits(self) -> float:
        """For how many seconds the answer is held back; then the time has passed."""
        for _ in range(1000):
            due = [
                timer for timer in self.wire.timers if not timer.is_cancelled and timer.callback.__name__ == "<lambda>"
            ]
            if due:
                seconds = due[-1].due - self.desk.clock.at
                self.desk.clock.at = due[-1].due
                due[-1].is_cancelled = True
                due[-1].callback()
                return seconds
            await asyncio.sleep(0.001)
        raise AssertionError("the answer is not held back")

    async def line(self, text: str) -> str:
        """Send a line; the reply's lines joined by a newline."""
        return "\n".join(await self.say(text.encode() + b"\r\n"))

    async def start_tls(self, shows: PeerCertificate | None = None) -> None:
        """The handshake that STARTTLS asked for succeeds. shows: the client certificate."""
        assert self.wire.is_upgrading
        self.wire.is_upgrading = False
        self.wire.tls = PeerTls("TLSv1.3", "TLS_AES_256_GCM_SHA384", b"end point", certificate=shows)
        self.session.tls_started()

    def hang_up(self, reason: str = "") -> None:
        self.wire.is_closed = True
        self.session.connection_lost(reason)


async def talk(transcript: str, desk: Desk | None = None, **peer: Any) -> Desk:
    """Play a transcript: `C:` lines are sent, `S:` lines must come back, in this order.

    `S: 250-...` lines are compared one by one; `S: 250*` takes a whole reply that begins so; `(TLS)` is a handshake.
    """
    desk = desk or Desk()
    client = desk.connect(**peer)
    waiting = await client.read()
    for raw in textwrap.dedent(transcript).strip().splitlines():
        side, _, text = raw.partition(" ")
        if side == "C:":
            assert waiting == [], f"before {raw!r} the server said also {waiting}"
            waiting = await client.say(text.encode() + b"\r\n")
        elif side == "S:":
            assert waiting, f"{raw!r} was expected, and nothing came"
            if text.endswith("*"):
                assert waiting[0].startswith(text[:-1]), f"{raw!r} was expected, and {waiting[0]!r} came"
                while waiting.pop(0)[3:4] == "-":
                    pass
            else:
                assert waiting.pop(0) == text
        elif raw == "(TLS)":
            await client.start_tls()
        else:
            raise AssertionError(f"not a line of a transcript: {raw!r}")
    assert waiting == []
    client.hang_up()
    return desk


_ACCOUNTS: list[Found] = []


def standard_accounts() -> list[Found]:
    """Made once: a password hash takes 20 ms."""
    if not _ACCOUNTS:
        _ACCOUNTS.extend(
            [
                with_password(Account("ada@example.org"), PASSWORD, 0.0),
                with_password(Account("bob@example.org"), PASSWORD, 0.0),
                Alias("info@example.org", ("ada@example.org", "bob@example.org")),
                Alias("@catch.example", ("ada@example.org",)),
                MailingList("team@example.org", ("ada@example.org", "far@example.net"), ("bob@example.org",)),
            ]
        )
    return list(_ACCOUNTS)
