"""The DNS client against a real server on loopback: answers, failures, retries, cache. Time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import pytest
import uvloop
from tests.support.dns_server import Behaviour, DnsServer
from tests.support.virtual_time import LoopClock, run

from gatepost.net.dns.resolver import DnsResolver
from gatepost.net.dns.settings import DnsSettings
from gatepost.ports.resolver import Answer, Outcome

ZONE = {
    "b.example": {
        "MX": ["10 MX.b.example.", "20 mx2.b.example."],
        "TXT": ["v=spf1 -all", '"v=one " "two"'],
        "A": ["192.0.2.1", "192.0.2.2"],
        "AAAA": ["2001:db8::1"],
    },
    "null.example": {"MX": ["0 ."]},
    "alias.example": {"CNAME": ["Middle.example."]},
    "middle.example": {"CNAME": ["b.example."]},
    "dangling.example": {"CNAME": ["nowhere.example."]},
    "round.example": {"CNAME": ["about.example."]},
    "about.example": {"CNAME": ["round.example."]},
    "1.2.0.192.in-addr.arpa": {"PTR": ["Mail.B.example."]},
    "_25._tcp.mx.b.example": {"TLSA": ["3 1 1 0A1B" + "00" * 30]},
    "_smtp._tcp.b.example": {"SRV": ["1 2 25 mx.b.example."]},
    "odd.example": {"PTR": ["a\\032b\\000.example."]},
    "utf8.example": {"TXT": ["ü ok", '"\\255"']},
    "big.example": {"TXT": ["x" * 3000]},
}


class Bench:
    """A server, a resolver that asks it, and the clock of both."""

    def __init__(self, server: DnsServer, clock: LoopClock, resolver: DnsResolver) -> None:
        self.server, self.clock, self.resolver = server, clock, resolver

    async def ask(self, name: str, rdtype: str) -> Answer:
        return await self.resolver.query(name, rdtype)

    @property
    def questions(self) -> int:
        return len(self.server.queries)


@asynccontextmanager
async def bench(*, validating: bool = False, timeout: float = 10.0, more: tuple[str, ...] = ()) -> AsyncIterator[Bench]:
    clock = LoopClock()
    async with DnsServer(ZONE) as server:
        settings = DnsSettings((*more, server.address), validating, timeout)
        resolver = DnsResolver(settings, clock)
        yield Bench(server, clock, resolver)
        await resolver.aclose()


def on_uvloop(main: Coroutine[Any, Any, Answer]) -> Answer:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


@pytest.mark.parametrize("loop", [run, on_uvloop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("name", "rdtype", "records", "where"),
    [
        ("b.example", "A", {"192.0.2.1", "192.0.2.2"}, "b.example"),
        ("B.Example.", "aaaa", {"2001:db8::1"}, "b.example"),
        ("b.example", "MX", {"10 mx.b.example", "20 mx2.b.example"}, "b.example"),
        ("null.example", "MX", {"0 ."}, "null.example"),
        ("b.example", "TXT", {"v=spf1 -all", "v=one two"}, "b.example"),
        ("1.2.0.192.in-addr.arpa", "PTR", {"mail.b.example"}, "1.2.0.192.in-addr.arpa"),
        ("_25._tcp.mx.b.example", "TLSA", {"3 1 1 0a1b" + "00" * 30}, "_25._tcp.mx.b.example"),
        ("_smtp._tcp.b.example", "SRV", {"1 2 25 mx.b.example"}, "_smtp._tcp.b.example"),
        ("alias.example", "MX", {"10 mx.b.example", "20 mx2.b.example"}, "b.example"),
        ("alias.example", "CNAME", {"middle.example"}, "alias.example"),
        ("odd.example", "PTR", {"a\\032b\\000.example"}, "odd.example"),
        ("utf8.example", "TXT", {"ü ok", "\N{REPLACEMENT CHARACTER}"}, "utf8.example"),
        ("big.example", "TXT", {"x" * 3000}, "big.example"),
    ],
)
def test_records_come_in_the_form_that_the_port_promises(
    loop: Callable[[Coroutine[Any, Any, Answer]], Answer], name: str, rdtype: str, records: set[str], where: str
) -> None:
    async def main() -> Answer:
        async with bench() as b:
            return await b.ask(name, rdtype)

    answer = loop(main())
    assert (answer.outcome, set(answer.records), answer.name) == (Outcome.FOUND, records, where)
    assert answer.ttl == 300
    assert not answer.authenticated


@pytest.mark.parametrize(
    ("name", "rdtype", "outcome", "asked"),
    [
        ("nowhere.example", "A", Outcome.NO_NAME, True),
        ("dangling.example", "A", Outcome.NO_NAME, True),
        ("b.example", "PTR", Outcome.NO_DATA, True),
        ("_tcp.mx.b.example", "A", Outcome.NO_DATA, True),
        ("alias.example", "TLSA", Outcome.NO_DATA, True),
        ("round.example", "A", Outcome.FAILED, True),
        ("x" * 64 + ".example", "A", Outcome.NO_NAME, False),
        (".".join(["x" * 60] * 5), "A", Outcome.NO_NAME, False),
        ("a..example", "A", Outcome.NO_NAME, False),
        ("", "A", Outcome.NO_NAME, False),
        ("müller.example", "A", Outcome.NO_NAME, False),
        ("192.0.2.1", "A", Outcome.NO_NAME, False),
        ("2001:db8::1", "AAAA", Outcome.NO_NAME, False),
        ("localhost", "MX", Outcome.NO_DATA, False),
        ("b.example", "NONSENSE", Outcome.FAILED, False),
    ],
)
def test_what_is_not_there_is_an_outcome(name: str, rdtype: str, outcome: Outcome, asked: bool) -> None:
    async def main() -> tuple[Answer, bool]:
        async with bench() as b:
            return await b.ask(name, rdtype), bool(b.server.queries)

    answer, was_asked = run(main())
    assert (answer.outcome, was_asked) == (outcome, asked)
    assert answer.records == ()
    if not asked and name not in ("localhost",):
        assert answer.error


@pytest.mark.parametrize(("rdtype", "address"), [("A", "127.0.0.1"), ("AAAA", "::1")])
@pytest.mark.parametrize("name", ["localhost", "LocalHost.", "mx.localhost"])
def test_localhost_is_this_machine_and_is_asked_of_nobody(name: str, rdtype: str, address: str) -> None:
    async def main() -> None:
        async with bench() as b:
            assert b.resolver.cached(name, rdtype) == await b.ask(name, rdtype)
            assert (await b.ask(name, rdtype)).records == (address,)
            assert not b.questions

    run(main())


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        (Behaviour.SERVFAIL, "SERVFAIL"),
        (Behaviour.REFUSED, "REFUSED"),
        (Behaviour.SILENCE, "silent"),
        (Behaviour.WRONG_ID, "silent"),
        (Behaviour.WRONG_QUESTION, "silent"),
        (Behaviour.GARBAGE, "127.0.0.1:"),
    ],
)
def test_trouble_is_a_failure_that_says_what_happened(behaviour: Behaviour, says: str) -> None:
    async def main() -> Answer:
        async with bench() as b:
            b.server.behave(behaviour)
            return await b.ask("b.example", "A")

    answer = run(main())
    assert answer.outcome is Outcome.FAILED
    assert says in answer.error


def test_a_port_where_nobody_listens_is_a_failure_at_once() -> None:
    async def main() -> None:
        async with DnsServer(ZONE) as gone:
            address = gone.address
        resolver = DnsResolver(DnsSettings((address,)), LoopClock())
        before = asyncio.get_running_loop().time()
        answer = await resolver.query("b.example", "A")
        assert answer.outcome is Outcome.FAILED
        assert "refused" in answer.error
        assert asyncio.get_running_loop().time() == before

    run(main())


def test_the_look_up_as_a_whole_ends_in_time_and_asks_again_until_then() -> None:
    async def main() -> None:
        async with bench(timeout=7.0) as b:
            b.server.behave(Behaviour.SILENCE)
            before = asyncio.get_running_loop().time()
            answer = await b.ask("b.example", "A")
            assert answer.outcome is Outcome.FAILED
            assert "no answer within 7 s" in answer.error
            assert asyncio.get_running_loop().time() - before == pytest.approx(7.0)
            assert b.questions == 3  # after 2 s, after 4 s more, and the rest

    run(main())


def test_a_false_answer_is_passed_over_and_the_true_one_counts() -> None:
    async def main() -> None:
        async with bench() as b:
            b.server.behave(Behaviour.STRAYS_FIRST)
            assert (await b.ask("b.example", "A")).outcome is Outcome.FOUND
            assert b.questions == 1

    run(main())


@pytest.mark.parametrize("behaviour", [Behaviour.TRUNCATE, Behaviour.FLOOD])
def test_no_room_or_guesses_at_the_id_lead_to_tcp(behaviour: Behaviour) -> None:
    async def main() -> None:
        async with bench() as b:
            b.server.behave(behaviour)
            assert (await b.ask("b.example", "A")).outcome is Outcome.FOUND
            assert [transport for *_, transport in b.server.queries] == ["udp", "tcp"]

    run(main())


def test_a_server_without_edns_is_asked_again_in_the_old_way() -> None:
    async def main() -> None:
        async with bench() as b:
            b.server.behave(Behaviour.NO_EDNS)
            assert (await b.ask("b.example", "A")).outcome is Outcome.FOUND
            assert b.questions == 2

    run(main())


@pytest.mark.parametrize("trouble", [Behaviour.SERVFAIL, Behaviour.SILENCE, Behaviour.GARBAGE])
def test_the_next_resolver_is_asked_when_one_is_in_trouble(trouble: Behaviour) -> None:
    async def main() -> None:
        async with DnsServer(ZONE) as first, bench(more=(first.address,)) as b:
            first.behave(trouble)
            answer = await b.ask("b.example", "A")
            assert answer.outcome is Outcome.FOUND
            assert len(first.queries) == b.questions == 1

    run(main())


def test_a_silent_resolver_is_asked_last_for_a_while() -> None:
    async def main() -> None:
        async with DnsServer(ZONE) as first, bench(more=(first.address,)) as b:
            first.behave(Behaviour.SILENCE)
            await b.ask("b.example", "A")
            before = asyncio.get_running_loop().time()
            await b.ask("b.example", "AAAA")
            assert asyncio.get_running_loop().time() == before  # nobody waited for the silent one
            assert len(first.queries) == 1
            first.behave(Behaviour.ANSWER)
            b.clock.advance(31)
            await b.ask("b.example", "MX")
            assert len(first.queries) == 2

    run(main())


def test_many_askers_share_one_question() -> None:
    async def main() -> None:
        async with bench() as b:
            b.server.hold()
            asking = [asyncio.create_task(b.ask("b.example", "A")) for _ in range(50)]
            await b.server.asked(1)
            b.server.release()
            answers = await asyncio.gather(*asking)
            assert {answer.outcome for answer in answers} == {Outcome.FOUND}
            assert b.questions == 1

    run(main())


def test_an_asker_that_gives_up_takes_the_answer_from_nobody() -> None:
    async def main() -> None:
        async with bench() as b:
            b.server.hold()
            hasty, patient = (asyncio.create_task(b.ask("b.example", "A")) for _ in range(2))
            await b.server.asked(1)
            hasty.cancel()
            b.server.release()
            assert (await patient).outcome is Outcome.FOUND

    run(main())


def test_an_answer_is_remembered_for_its_ttl() -> None:
    async def main() -> None:
        async with bench() as b:
            assert b.resolver.cached("b.example", "A") is None
            await b.ask("b.example", "A")
            b.clock.advance(299)
            again = await b.ask("B.EXAMPLE.", "a")
            assert (b.questions, again.ttl) == (1, 1)
            assert b.resolver.cached("b.example", "A") == again
            b.clock.advance(1)
            assert b.resolver.cached("b.example", "A") is None
            await b.ask("b.example", "A")
            assert b.questions == 2

    run(main())


@pytest.mark.parametrize(("name", "outcome"), [("nowhere.example", Outcome.NO_NAME), ("null.example", Outcome.NO_DATA)])
def test_absence_is_remembered_as_long_as_the_soa_says(name: str, outcome: Outcome) -> None:
    async def main() -> None:
        async with bench() as b:
            assert (await b.ask(name, "A")).ttl == 60
            b.clock.advance(59)
            assert (await b.ask(name, "A")).outcome is outcome
            assert b.questions == 1
            b.clock.advance(1)
            await b.ask(name, "A")
            assert b.questions == 2

    run(main())


def test_absence_is_forgotten_after_an_hour_whatever_the_soa_says() -> None:
    async def main() -> None:
        async with bench() as b:
            b.server.ttl = b.server.negative_ttl = 1_000_000
            await b.ask("nowhere.example", "A")
            b.clock.advance(3600)
            await b.ask("nowhere.example", "A")
            assert b.questions == 2

    run(main())


def test_failure_is_remembered_for_seconds_only() -> None:
    async def main() -> None:
        async with bench() as b:
            b.server.behave(Behaviour.SERVFAIL)
            await b.ask("b.example", "A")
            await b.ask("b.example", "A")
            assert b.questions == 1
            b.server.behave(Behaviour.ANSWER)
            b.clock.advance(5)
            assert (await b.ask("b.example", "A")).outcome is Outcome.FOUND

    run(main())


@pytest.mark.parametrize(
    ("validating", "zone_signed", "authenticated"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_the_ad_bit_counts_only_from_a_resolver_said_to_validate(
    validating: bool, zone_signed: bool, authenticated: bool
) -> None:
    async def main() -> None:
        async with bench(validating=validating) as b:
            b.server.authenticated = zone_signed
            answer = await b.ask("b.example", "A")
            assert answer.authenticated is authenticated
            query = b.server.last_query
            assert query is not None
            assert query.payload == 1232
            assert bool(query.ednsflags & dns.flags.DO) is validating

    run(main())


def test_a_forged_ad_bit_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that is not said to validate, or somebody on the way to it, sets AD without being asked."""

    async def main() -> None:
        async with bench() as b:
            b.server.authenticated = True
            honest = b.server.replies

            def forged(octets: bytes, transport: str) -> list[bytes]:
                return [reply[:3] + bytes([reply[3] | 0x20]) + reply[4:] for reply in honest(octets, transport)]

            monkeypatch.setattr(b.server, "replies", forged)
            assert not (await b.ask("b.example", "A")).authenticated

    run(main())


def test_no_more_sockets_than_allowed_are_open_and_those_in_line_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.net.dns.resolver.MAX_LOOKUPS", 3)

    async def main() -> None:
        async with bench(timeout=1.0) as b:
            b.server.behave(Behaviour.SILENCE)
            answers = await asyncio.gather(*(b.ask(f"n{number}.example", "A") for number in range(10)))
            assert {answer.outcome for answer in answers} == {Outcome.FAILED}
            assert len({name for name, *_ in b.server.queries}) == 3

    run(main())


def test_closing_ends_what_is_under_way() -> None:
    async def main() -> None:
        async with bench() as b:
            b.server.hold()
            asking = asyncio.create_task(b.ask("b.example", "A"))
            await b.server.asked(1)
            await b.resolver.aclose()
            with pytest.raises(asyncio.CancelledError):
                await asking

    run(main())


async def test_a_server_in_a_thread_answers_other_loops() -> None:
    with DnsServer(ZONE).in_thread() as server:
        resolver = DnsResolver(DnsSettings((server.address,)), LoopClock())
        assert (await resolver.query("null.example", "MX")).records == ("0 .",)


def test_a_resolver_that_is_no_address_is_an_error_that_says_what_to_write() -> None:
    with pytest.raises(ValueError, match=r'"dns.example" is no address of a resolver; write "192.0.2.53"'):
        DnsResolver(DnsSettings(("dns.example",)), LoopClock())


def test_look_ups_that_nobody_answers_are_counted_until_somebody_speaks() -> None:
    async def ask() -> list[int]:
        async with bench() as at:
            counts = []
            for behaviour, name in (
                (Behaviour.SILENCE, "one.example"),
                (Behaviour.SILENCE, "two.example"),
                (Behaviour.SERVFAIL, "three.example"),
                (Behaviour.SILENCE, "four.example"),
                (Behaviour.ANSWER, "five.example"),
            ):
                at.server.behave(behaviour)
                await at.ask(name, "A")
                counts.append(at.resolver.unanswered)
            return counts

    assert run(ask()) == [1, 2, 0, 1, 0]
