"""`python -m bench.spf`: what one evaluation of SPF costs, by the processor's time, when the cache of the DNS is warm.

Told for each record: microseconds in the best of some rounds, and the terms that ask the DNS. A session that sends on
for the same domain keeps its result and pays nothing of it. `--evaluations N` for longer or shorter rounds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from gatepost.mail.address import Path
from gatepost.mail.spf import SpfResult
from gatepost.net.clock import SystemClock
from gatepost.net.dns.cache import DnsCache
from gatepost.ports.resolver import Answer, Outcome
from gatepost.verify.spf import Client, check_host

ROUNDS: Final = 7
TTL: Final = 3600
PEER: Final = "192.0.2.7"
SENDER: Final = Path("bob", "far.example")

Zone = Mapping[tuple[str, str], tuple[str, ...]]
NETWORKS: Final = " ".join(f"ip4:198.51.{number}.0/24" for number in range(12))
FURTHER: Final[Zone] = {
    ("_spf.one.example", "TXT"): (f"v=spf1 {NETWORKS} ~all",),
    ("_spf.two.example", "TXT"): ("v=spf1 include:_a.two.example include:_b.two.example ~all",),
    ("_a.two.example", "TXT"): (f"v=spf1 {NETWORKS} ~all",),
    ("_b.two.example", "TXT"): ("v=spf1 ip6:2001:db8:1::/48 ip6:2001:db8:2::/48 ~all",),
    ("_spf.three.example", "TXT"): (f"v=spf1 {NETWORKS} ip4:192.0.2.0/24 ~all",),
    ("far.example", "A"): ("198.51.100.1",),
    ("far.example", "MX"): ("10 mx1.far.example", "20 mx2.far.example"),
    ("mx1.far.example", "A"): ("198.51.100.2",),
    ("mx2.far.example", "A"): ("192.0.2.7",),
    ("7.2.0.192.in-addr.far.example", "A"): ("127.0.0.2",),
}


class Row(NamedTuple):
    what: str
    record: str
    result: str


ROWS: Final = (
    Row("one network and -all, a pass", "v=spf1 ip4:192.0.2.0/24 -all", "pass"),
    Row("one network, one include, -all: a pass", "v=spf1 ip4:198.51.100.7 include:_spf.three.example -all", "pass"),
    Row("one network, one include, -all: a fail", "v=spf1 ip4:198.51.100.7 include:_spf.one.example -all", "fail"),
    Row("three includes, five records, 39 networks",
        "v=spf1 include:_spf.one.example include:_spf.two.example include:_spf.three.example -all", "pass"),
    Row("a and mx", "v=spf1 a mx -all", "pass"),
    Row("a macro", "v=spf1 exists:%{ir}.%{v}.%{d} -all", "pass"),
)  # fmt: skip


class WarmResolver:
    """A `Resolver` on the cache that the server has, which knows everything."""

    def __init__(self, zone: Zone) -> None:
        self._clock = SystemClock()
        self._cache = DnsCache()
        for key, records in zone.items():
            answer = Answer(Outcome.FOUND, records, key[0], TTL)
            self._cache.put(key, answer, self._clock.monotonic())

    def cached(self, name: str, rdtype: str) -> Answer | None:
        key = name.removesuffix(".").lower(), rdtype.upper()
        return self._cache.get(key, self._clock.monotonic())

    async def query(self, name: str, rdtype: str) -> Answer:
        raise AssertionError(f"{name} {rdtype} is not in the zone")


def evaluate(resolver: WarmResolver, client: Client) -> SpfResult:
    """As the gate does it where everything is known: without a task."""
    try:
        check_host(resolver, client).send(None)
    except StopIteration as done:
        result: SpfResult = done.value
        return result
    raise AssertionError("it has waited")


def microseconds(run: Callable[[], object], times: int) -> float:
    """Of one run, in the best of some rounds."""
    rounds = []
    for _ in range(ROUNDS):
        before = time.process_time()
        for _ in range(times):
            run()
        rounds.append((time.process_time() - before) / times)
    return min(rounds) * 1e6


def main(words: list[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.spf", description="Evaluations of SPF, measured.")
    parser.add_argument("--evaluations", type=int, default=20_000)
    times = parser.parse_args(words).evaluations
    for row in ROWS:
        resolver = WarmResolver({**FURTHER, ("far.example", "TXT"): (row.record, "some other text")})
        client = Client(ip=PEER, reverse_path=SENDER, helo="client.far.example", hostname="mx.example.org")
        found = evaluate(resolver, client)
        assert found.result == row.result, found
        cost = microseconds(lambda: evaluate(resolver, client), times)  # noqa: B023
        print(f"{cost:6.1f} us  {found.lookups} look-ups  {row.what}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
