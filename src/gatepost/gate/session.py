"""The gate beside one session, SMTP or POP3: what is known of the peer, decisions, and their record.

Not here: what a command does once it is allowed (`intake`, `pickup`), and how somebody logs in (`gate.login`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final, cast

import msgspec
import structlog

from gatepost.accounts.certificates import account_named
from gatepost.accounts.model import Account, Resolution
from gatepost.audit.event import Event, EventClient, Kind, RecordError
from gatepost.gate.gather import GATHERERS
from gatepost.gate.gather_attempts import Counted
from gatepost.gate.gather_client import Arrival, first_facts
from gatepost.gate.gather_harvest import left_to_count
from gatepost.gate.gather_spf import Kept
from gatepost.gate.granted import Granted, look
from gatepost.gate.later import had, then
from gatepost.gate.parts import BanLayer, GateParts
from gatepost.gate.sealing import Choice
from gatepost.gate.shared import Shared
from gatepost.gate.shedding import CONNECTIONS
from gatepost.mail.address import Path
from gatepost.mail.header import HeaderSection
from gatepost.mail.network import NetworkSet, holder_of, is_loopback
from gatepost.mail.reply import Reply
from gatepost.policy.checks.client_connections import FULL
from gatepost.policy.facts import SUBMISSION, Facts, Service, SessionFacts, Stage
from gatepost.policy.findings import Unavailable
from gatepost.policy.verdict import Decision, Evaluated, Needs, Verdict
from gatepost.ports.wire import Peer, PeerCertificate, PeerTls
from gatepost.spool.port import Content
from gatepost.standing.port import Leave, Operation, StandingError

log = structlog.get_logger()

Decided = tuple[Decision, Any]
"""A decision, and the facts it was made from, with what was gathered."""

MAX_RECORDED_VERDICTS = 200  # an event is bounded; a session may greet and log in as often as `command.budget` lets it
_LAYING: Final[set[asyncio.Task[None]]] = set()  # a task that nobody holds may vanish before it has run


@lru_cache(maxsize=8192)
def _listed(trusted: NetworkSet, relay_networks: NetworkSet, ip: str) -> tuple[bool, bool]:
    """Whether `ip` is in each of them; "" (a unix socket) is trusted."""
    return not ip or ip in trusted, ip in relay_networks


class GateSession:
    """One peer. `facts` is what is known of it now; whoever learns more replaces it (`know`).

    id: of the session's event. failures: failed logins so far. known_recipients: accepted
    ones that `recipient.harvest` has not told yet. arrival: what was gathered of the connection.
    attempt: the login that is being tried. granted: the POP-before-SMTP grants at the peer's address, None where there
    can be none. resolved: the forward-path that was looked up last, and what it is here.
    content: of the message that is being decided, None before all of it has come. header: its header section, as it was
    received; body_at: where its body begins in `content`.
    own_keys: by recipient of this transaction, the account and its key where that wants its mail encrypted. shared: by
    recipient that stands for several, who they are; None before that was looked up.
    seal_choices: by recipient, the keys that the message is to be encrypted to.
    spf: the last result, and what it is about.
    only_asks: nothing is counted, gatherers only read (a question what would be decided).
    counted: the keys under which this connection counts, until `end` takes it back.
    expel: ends the session with a reply, as soon as what is under way is answered; None while there is no connection.
    """

    __slots__ = (
        "_client",
        "_is_named_by_proxy",
        "_is_summed",
        "arrival",
        "attempt",
        "body_at",
        "content",
        "counted",
        "evaluated",
        "expel",
        "facts",
        "failures",
        "granted",
        "header",
        "id",
        "known_recipients",
        "only_asks",
        "own_keys",
        "parts",
        "peer",
        "resolved",
        "seal_choices",
        "shared",
        "spf",
        "tls",
    )

    def __init__(self, parts: GateParts, peer: Peer, tls: PeerTls | None) -> None:
        self.parts = parts
        self.peer = peer
        self.tls = tls
        self.id = parts.ids.new()
        self.failures = 0
        self.known_recipients = 0
        self.evaluated: list[Evaluated] = []
        self.arrival: Arrival | Unavailable | None = None
        self.attempt: Counted | None = None
        self.granted: Granted | None = None
        self.only_asks = False
        self.content: Content | None = None
        self.header: HeaderSection | None = None
        self.body_at = 0
        self.expel: Callable[[Reply], None] | None = None
        self.own_keys: dict[str, tuple[str, bytes]] = {}
        self.seal_choices: dict[str, Choice] = {}
        self.shared: dict[str, Shared | None] = {}
        self.resolved: tuple[Path, Resolution] | None = None
        self.spf: Kept | None = None
        self.counted: tuple[str, ...] = ()
        self._is_named_by_proxy = False
        self._is_summed = False
        self._client: EventClient | None = None
        self.facts = self._first_facts()

    def _first_facts(self) -> SessionFacts:
        parts, peer, tls = self.parts, self.peer, self.tls
        is_trusted, may_relay = _listed(parts.trusted, parts.relay_networks, peer.ip)
        # A local program is who the kernel says it is: its user submits under the host's name.
        is_local = bool(peer.user) and peer.service in SUBMISSION
        return SessionFacts(
            login=f"{peer.user}@{parts.hostname}" if is_local else "",
            auth_mechanism="EXTERNAL" if is_local else "",
            service=cast(Service, peer.service),
            hostname=parts.hostname,
            client_ip=peer.ip,
            client_port=peer.port,
            trusted=is_trusted,
            # Behind a proxy "this machine" says nothing about the client.
            is_loopback=not peer.direct and is_loopback(peer.ip),
            # A proxy that could not name its client gives it none of its own rights.
            network_may_relay=may_relay and peer.direct != peer.ip,
            tls_version=tls.version if tls else "",
            tls_cipher=tls.cipher if tls else "",
        )

    def become(self, peer: Peer) -> None:
        """A trusted proxy named the client (XCLIENT): whatever was known of the one before is forgotten."""
        self.peer = peer
        self.arrival = None
        self.granted = None
        self._is_named_by_proxy = True  # so a certificate, also of a later STARTTLS, is the proxy's
        self._client = None
        self.facts = self._first_facts()

    def know(self, **changes: object) -> None:
        """Something more is known of the peer: fields of `SessionFacts`."""
        self.facts = msgspec.structs.replace(self.facts, **changes)

    def tls_started(self, tls: PeerTls) -> None:
        """STARTTLS is done: what was said before is forgotten (RFC 3207 §4.2)."""
        self.tls = tls
        self._client = None
        first = self._first_facts()
        self.facts = msgspec.structs.replace(first, granted=self.facts.granted)

    def recognise(self) -> Any:
        """Unavailable, if the account that the peer's certificate names could not be looked up; else None, and the
        facts say who it is. At once or as an awaitable; after each handshake, before the peer is told what it may use.
        """
        certificate = self.tls.certificate if self.tls else None
        if certificate is None or self.facts.certificate or self._is_named_by_proxy:
            return None
        return had(
            lambda: account_named(self.parts.directory, certificate.addresses),
            lambda account: self._recognised(certificate, account),
        )

    def _recognised(self, certificate: PeerCertificate, account: Account | None) -> None:
        details = {"mechanism": "certificate", "fingerprint": certificate.fingerprint, "subject": certificate.subject}
        if account is None:
            details["reason"] = "no account has an address of the certificate"
        try:
            self.record(self.event("auth", details=details))
        except RecordError as error:
            log.error("certificate not recognised: the record cannot be written", error=str(error))
            return
        if account is not None:
            self.know(certificate=account.address)
        elif self.tls is not None:
            self.tls = msgspec.structs.replace(self.tls, certificate=None)  # nobody's; it has been told

    # --- decisions -----------------------------------------------------------------------------------------------

    def came(self, expel: Callable[[Reply], None]) -> None:
        """The connection stands: a ban that is laid from now on ends it."""
        self.expel = expel
        self.parts.present.add(self)

    def connect(self) -> Decided | Awaitable[Decided]:
        """Whether this peer may start a session."""
        ip, gateways = self.peer.ip, self.parts.gateways
        if gateways is not None and ip and not self.facts.trusted:
            gateways.arrived(ip)
        decided = then(first_facts(self), lambda facts: self.decide(Stage.CONNECT, facts))
        met: Decided | Awaitable[Decided] = then(decided, self._met)
        return met

    def _met(self, decided: Decided) -> Any:
        """A refused peer may be one of a flood: its session is counted in the flood's event, whose ID is told."""
        decision, _ = decided
        verdict = decision.verdict
        if verdict is not None and (summed_in := self._summed(verdict, decision.evaluated[-1])):
            self.id = summed_in
            self._is_summed = True
        # Who cannot be looked up now is asked for again at the greeting.
        if verdict is not None:
            return decided
        waits = self.recognise()
        if self.parts.grants is not None:
            waits = look(self) if waits is None else then(waits, lambda _: look(self))
        return decided if waits is None else then(waits, lambda _: decided)

    def _summed(self, verdict: Verdict, evaluated: Evaluated) -> str:
        """The ID of the event that counts this refused peer with others, "" if it has its own."""
        floods, shedding, ip = self.parts.floods, self.parts.shedding, self.peer.ip
        if shedding is not None and verdict.reply == FULL:
            return shedding.shed(CONNECTIONS)
        return floods.refused(ip, self.facts.service, verdict.name, evaluated) if floods is not None and ip else ""

    def handshake_failed(self) -> None:
        """There is no session: TLS was to come first, and did not. It may be one of a flood."""
        floods, ip = self.parts.floods, self.peer.ip
        if floods is not None and ip:
            summed_in = floods.refused(ip, self.facts.service, "TLS handshake", None)
            self._is_summed = bool(summed_in)

    def decide(self, stage: Stage, facts: Facts, reached: Needs | None = None) -> Decided | Awaitable[Decided]:
        """The decision for `stage`: at once where every fact is at hand, else as an awaitable.

        reached: how far the engine came before the facts were there that it asked for.
        """
        outcome, facts = self.parts.policy.decide(stage, facts, reached, GATHERERS, self)
        if isinstance(outcome, Needs):
            return self._decide_later(stage, facts, outcome)
        if outcome.verdict is not None and outcome.verdict.ban and not self.only_asks:
            self._ban(outcome.verdict)
        return outcome, facts

    async def _decide_later(self, stage: Stage, facts: Facts, reached: Needs) -> Decided:
        gathered = {name: await value for name, value in reached.waiting.items()}
        decided = self.decide(stage, msgspec.structs.replace(facts, **gathered), reached)
        return decided if isinstance(decided, tuple) else await decided

    def _ban(self, verdict: Verdict) -> None:
        """Keep this peer out from now on; the decision does not wait for it."""
        bans, ip = self.parts.bans, self.peer.ip
        if bans is not None and ip:
            task = asyncio.get_running_loop().create_task(self._lay(bans, holder_of(ip), verdict))
            _LAYING.add(task)
            task.add_done_callback(_LAYING.discard)

    async def _lay(self, bans: BanLayer, network: str, verdict: Verdict) -> None:
        try:
            await bans.lay(network, verdict.ban, f"{verdict.name}: {verdict.reason}", self.id)
        except (StandingError, RecordError) as error:
            log.error("ban not laid", network=network, error=str(error))

    def note(self, decision: Decision) -> None:
        """Keep what a decision about the session itself evaluated, for the session's event."""
        if len(self.evaluated) < MAX_RECORDED_VERDICTS:
            self.evaluated.extend(decision.evaluated)

    def end(self) -> None:
        """The connection is over."""
        self.expel = None
        self.parts.present.discard(self)
        if self.counted:
            leave: list[Operation] = [Leave(key) for key in self.counted]
            self.parts.departures.leave(leave + left_to_count(self))
            self.counted = ()

    # --- the record ----------------------------------------------------------------------------------------------

    def event(self, kind: Kind, **fields: Any) -> Event:
        """An event of this session; the caller records it."""
        facts = self.facts
        if self._client is None:
            self._client = EventClient(self.peer.ip, self.peer.port, tls=facts.tls_version, cipher=facts.tls_cipher)
        return Event(
            kind,
            session=self.id,
            service=facts.service,
            client=self._client,
            helo=facts.helo,
            login=facts.account,
            **fields,
        )

    def record(self, event: Event) -> None:
        """Raises RecordError: then nothing may be accepted."""
        if self._is_summed and event.kind in ("smtp.session", "pop3.session"):
            return  # the flood's event counts it
        self.parts.recorder.record(event)
