"""The cache keeps its bounds."""

from __future__ import annotations

from gatepost.net.dns.cache import ENTRY_OCTETS, DnsCache
from gatepost.ports.resolver import Answer, Outcome


def found(ttl: int = 300, size: int = 10) -> Answer:
    return Answer(Outcome.FOUND, ("x" * size,), "n", ttl)


def test_the_least_recently_used_goes_first_and_memory_stays_bounded() -> None:
    cache = DnsCache(max_octets=3 * (ENTRY_OCTETS + 20))
    for name in ("a", "b", "c"):
        cache.put((name, "A"), found(), 0)
    assert cache.get(("a", "A"), 1)
    cache.put(("d", "A"), found(), 1)
    assert [name for name in "abcd" if cache.get((name, "A"), 1)] == ["a", "c", "d"]


def test_an_answer_larger_than_all_is_not_kept_and_pushes_nothing_out() -> None:
    cache = DnsCache(max_octets=2000)
    cache.put(("a", "A"), found(), 0)
    cache.put(("big", "TXT"), found(size=60_000), 0)
    assert len(cache) == 1
    assert cache.get(("a", "A"), 0)


def test_replacing_and_expiring_free_what_was_held() -> None:
    cache = DnsCache(max_octets=2 * (ENTRY_OCTETS + 20))
    for _ in range(100):
        cache.put(("a", "A"), found(), 0)
    cache.put(("b", "A"), found(ttl=10), 0)
    assert cache.get(("b", "A"), 10) is None
    cache.put(("c", "A"), found(), 0)
    assert cache.get(("a", "A"), 1)
    assert cache.get(("c", "A"), 1)


def test_a_ttl_is_kept_between_a_second_and_a_day() -> None:
    cache = DnsCache()
    cache.put(("zero", "A"), found(ttl=0), 0)
    cache.put(("long", "A"), found(ttl=2**31 - 1), 0)
    assert cache.get(("zero", "A"), 0.5)
    assert cache.get(("zero", "A"), 1) is None
    assert cache.get(("long", "A"), 86399)
    assert cache.get(("long", "A"), 86400) is None
