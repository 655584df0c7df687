"""`DnsResolver`: the look-up as a whole. Names that need no DNS, the cache, one question for many askers, retries and
fail-over within one time limit. Encoding is in `codec`, sockets in `transport`."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from ipaddress import ip_address
from typing import Final

from gatepost.net.dns import codec
from gatepost.net.dns.cache import DnsCache, Key
from gatepost.net.dns.servers import Server, ServerList, parse_server, system_servers
from gatepost.net.dns.settings import DnsSettings
from gatepost.net.dns.transport import FloodedWithStrays, ask_tcp, ask_udp
from gatepost.ports.clock import Clock
from gatepost.ports.resolver import Answer, Outcome

MAX_LOOKUPS: Final = 256  # at once: each holds a socket
FIRST_WAIT_SECONDS: Final = 2.0  # for one resolver; doubles in each round
LOCALHOST: Final = {"A": "127.0.0.1", "AAAA": "::1"}


class DnsResolver:
    """The port's `Resolver` over UDP and TCP; belongs to the event loop that uses it first.

    Invariant: for each name and type at most one question is under way, however many wait for it.
    """

    def __init__(self, settings: DnsSettings, clock: Clock) -> None:
        """Raises ValueError for a resolver that is no address. Opens nothing."""
        configured = tuple(parse_server(text) for text in settings.resolvers)
        self._servers = ServerList(configured or system_servers())
        self._settings = settings
        self._clock = clock
        self._cache = DnsCache()
        self.unanswered = 0  # look-ups that no resolver said anything to, since one last did
        self._under_way: dict[Key, asyncio.Task[Answer]] = {}
        self._places = asyncio.Semaphore(MAX_LOOKUPS)

    def cached(self, name: str, rdtype: str) -> Answer | None:
        """The answer if no question is needed for it. A failure is remembered for a few seconds, too."""
        key = _key(name, rdtype)
        return self._cache.get(key, self._clock.monotonic()) or _known_without_asking(*key)

    async def query(self, name: str, rdtype: str) -> Answer:
        """The answer, at the latest after `settings.timeout` seconds; what goes wrong is an outcome, never raised."""
        key = _key(name, rdtype)
        known = self.cached(*key)
        if known is not None:
            return known
        task = self._under_way.get(key)
        if task is None:
            try:
                asked = codec.question(*key)
            except ValueError as error:
                return Answer(Outcome.NO_NAME, name=key[0], error=str(error))
            except LookupError as error:
                return Answer(Outcome.FAILED, name=key[0], error=str(error))
            task = asyncio.create_task(self._look_up(key, asked), name=f"dns {key[1]} {key[0]}")
            self._under_way[key] = task
        # One asker that gives up must not take the answer away from the others.
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Empty the cache."""
        self._cache.clear()

    async def aclose(self) -> None:
        """End the questions under way; those who wait for them are cancelled."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_up(self, key: Key, asked: codec.Question) -> Answer:
        try:
            try:
                answer = await self._ask_in_time(asked)
            except Exception as error:  # the port promises an outcome
                answer = Answer(Outcome.FAILED, error=f"{type(error).__name__}: {error}")
            self._cache.put(key, answer, self._clock.monotonic())
            return answer
        finally:
            del self._under_way[key]

    async def _ask_in_time(self, asked: codec.Question) -> Answer:
        failures: dict[Server, str] = {}
        try:
            async with asyncio.timeout(self._settings.timeout), self._places:
                return await self._ask_all(asked, failures)
        except TimeoutError:
            self.unanswered += 1
            return _failed(failures, f"no answer within {self._settings.timeout:g} s")

    async def _ask_all(self, asked: codec.Question, failures: dict[Server, str]) -> Answer:
        """The first usable answer: round after round over the resolvers that may still give one."""
        hopeful = self._servers.in_order(self._clock.monotonic())
        has_spoken = False
        # Each is asked at least once, however short the limit and long the list.
        wait = min(FIRST_WAIT_SECONDS, self._settings.timeout / (2 * len(hopeful)))
        while hopeful:
            for server in tuple(hopeful):
                try:
                    async with asyncio.timeout(wait):
                        answer = await self._ask(server, asked)
                except TimeoutError:
                    failures[server] = "silent"
                    self._servers.kept_silent(server, self._clock.monotonic())
                    continue
                except (OSError, codec.MalformedReply) as error:
                    answer = Answer(Outcome.FAILED, error=str(error))
                else:
                    has_spoken, self.unanswered = True, 0
                    self._servers.answered(server)
                if answer.outcome is not Outcome.FAILED:
                    return answer
                failures[server] = answer.error
                hopeful.remove(server)  # it has spoken: the same question would only be a burden
            wait *= 2
        self.unanswered += not has_spoken
        return _failed(failures)

    async def _ask(self, server: Server, asked: codec.Question) -> Answer:
        """What one resolver says, over TCP where UDP has no room, without EDNS where it knows none."""
        validating = self._settings.validating
        reply = b""
        for edns in (True, False):
            query = codec.encode(asked, secrets.randbits(16), edns=edns, validating=validating)
            belongs = partial(codec.answers, query=query)
            try:
                reply = await ask_udp(server, query, belongs)
                over_tcp = codec.is_truncated(reply)
            except FloodedWithStrays:
                over_tcp = True
            if over_tcp:
                reply = await ask_tcp(server, query, belongs)
            if not codec.wants_plain(reply):
                break
        return codec.decode(reply, asked, validating=validating)


def _key(name: str, rdtype: str) -> Key:
    return name.removesuffix(".").lower(), rdtype.upper()


def _known_without_asking(name: str, rdtype: str) -> Answer | None:
    """Names that a client must not send out: localhost (RFC 6761 §6.3), addresses, the empty name."""
    if name == "localhost" or name.endswith(".localhost"):
        if rdtype in LOCALHOST:
            return Answer(Outcome.FOUND, (LOCALHOST[rdtype],), name)
        return Answer(Outcome.NO_DATA, name=name)
    if not name:
        return Answer(Outcome.NO_NAME, error="the empty name")
    if ":" in name or name[-1].isdecimal():
        try:
            ip_address(name)
        except ValueError:
            return None
        return Answer(Outcome.NO_NAME, name=name, error="an address, not a name")
    return None


def _failed(failures: dict[Server, str], why: str = "") -> Answer:
    told = "; ".join(f"{server}: {failure}" for server, failure in failures.items())
    return Answer(Outcome.FAILED, error=": ".join(part for part in (why, told) if part))
