"""From figures to words: what limits an installation comes first, and every advice names what to change."""

from __future__ import annotations

import msgspec
import pytest

from gatepost.app.benchmark.measured import Accept, Disk, Dns, Login, Measured
from gatepost.app.benchmark.verdict import verdict

GOOD = Measured(
    cores=4,
    workers=4,
    files=65536,
    connections=20000,
    disk=Disk(5000.0, 0.2, 2000.0, 0.5),
    accept=Accept(50, 5000, 0, 1000.0, 10.0, 20.0, 0.5, 0.3, 0.5),
    login=Login(20.0, 100.0),
    dns=(Dns("192.0.2.53", 5, 0, 3.0, 9.0),),
)


def change(**fields: object) -> Measured:
    """GOOD with some fields of its own, or of a part ("accept.busy"), changed."""
    found = GOOD
    for name, value in fields.items():
        part, _, field = name.partition("__")
        if field:
            value = msgspec.structs.replace(getattr(found, part), **{field: value})
        found = msgspec.structs.replace(found, **{part: value})
    return found


@pytest.mark.parametrize(
    ("found", "limit", "words"),
    [
        (GOOD, "client", "--sessions"),
        (change(accept__busy=0.9), "cpu", "more or faster cores"),
        (change(accept__busy=0.9, workers=2), "cpu", "`workers = 4`"),
        (change(accept__busy=0.6, accept__load_cores=1.0), "cpu", "more or faster cores"),
        (change(disk__append_ms=8.0), "disk", "`data` on a faster disk"),
        (change(disk__append_ms=8.0, accept__busy=0.9), "cpu", "cores"),
        (change(accept__failed=3, accept__first_failure="452 4.3.1 No room"), "errors", "mend this first"),
    ],
)
def test_what_limits_it_comes_first(found: Measured, limit: str, words: str) -> None:
    first, *others = verdict(found)
    assert first.limit == limit
    assert words in first.advice
    assert others == []


@pytest.mark.parametrize(
    ("found", "what", "advice"),
    [
        (change(files=1024), "1024 are allowed", "`LimitNOFILE` of the systemd unit to 21000"),
        (change(files=1024), "1024 are allowed", "`limits.connections.total` to 24"),
        (change(dns=(Dns("192.0.2.53", 2, 2, 0.0, 0.0),)), "2 of 2 look-ups", "`dns.resolvers`"),
        (change(dns=(Dns("192.0.2.53", 5, 0, 150.0, 400.0),)), "150 ms", "`dns.resolvers`"),
        (change(disk__file_ms=70.0), "70 ms", "faster disk"),
    ],
)
def test_what_will_be_felt_besides_is_told(found: Measured, what: str, advice: str) -> None:
    _, finding = verdict(found)
    assert finding.limit == ""
    assert what in finding.what
    assert advice in finding.advice


def test_the_failure_itself_is_told() -> None:
    assert "452 4.3.1 No room" in verdict(change(accept__failed=3, accept__first_failure="452 4.3.1 No room"))[0].what
