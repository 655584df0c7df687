"""Finding a key: the order of the places, what each one's silence means, and what becomes of a key that changed."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta

import pytest
from tests.seal import scene
from tests.seal.scene import NOW
from tests.support.memory_keys import MemoryKeys
from tests.support.memory_resolver import MemoryResolver

from gatepost.ports.fetch import Fetched, FetchError
from gatepost.ports.resolver import Answer, Outcome
from gatepost.seal.discovery import Discovery, KeyFound, KeyUnknown, NoKey
from gatepost.seal.key_names import KeyPlaces
from gatepost.seal.keys import check_key
from gatepost.seal.model import RecipientKey
from gatepost.seal.port import KeptKey
from gatepost.seal.settings import METHODS, DiscoverySettings

BOB = "bob@example.net"
PLACES = KeyPlaces(BOB)
DAY = timedelta(days=1)


class Web:
    """Web servers: what each URL answers, or the fault of it. asked: every URL, in order."""

    def __init__(self) -> None:
        self.answers: dict[str, Fetched | FetchError] = {}
        self.asked: list[str] = []

    def put(self, url: str, body: bytes, status: int = 200) -> None:
        self.answers[url] = Fetched(status, {}, body)

    async def fetch(
        self, url: str, *, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None,
        timeout: float = 30.0, max_octets: int = 64 * 1024, redirects: int = 0,
    ) -> Fetched:  # fmt: skip
        self.asked.append(url)
        answer = self.answers.get(url, Fetched(404, {}, b""))
        if isinstance(answer, FetchError):
            raise answer
        return answer


class Clock:
    def __init__(self) -> None:
        self.at = NOW

    def now(self):  # type: ignore[no-untyped-def]
        return self.at

    def unix(self) -> float:
        return self.at.timestamp()

    def monotonic(self) -> float:
        return self.at.timestamp()


class World:
    """A domain with a web server, and everything that a search asks."""

    def __init__(self, *methods: str) -> None:
        self.keys, self.clock, self.dns, self.web = MemoryKeys(), Clock(), MemoryResolver(), Web()
        self.settings = DiscoverySettings(methods or METHODS)  # type: ignore[arg-type]
        self.dns.put("openpgpkey.example.net", "A", "192.0.2.80")

    async def find(self, address: str = BOB, **more):  # type: ignore[no-untyped-def]
        return await Discovery(self.keys, self.clock, self.dns, self.web, self.settings).find(address, **more)

    def record(self, name: str, rdtype: str, *records: str, proven: bool = True, ttl: int = 3600) -> None:
        self.dns.answers[name, rdtype] = Answer(Outcome.FOUND, records, name, ttl, authenticated=proven)


@pytest.fixture
def world() -> World:
    return World()


def public(address: str = BOB, **options) -> bytes:  # type: ignore[no-untyped-def]
    return bytes(scene.pgp_key(address, **options).extract_certificate())


def checked(material: bytes, source, address: str = BOB, **more) -> KeptKey:  # type: ignore[no-untyped-def]
    import msgspec

    key = check_key(material, address, NOW)
    assert isinstance(key, RecipientKey), key
    key = msgspec.structs.replace(key, source=source, found_at=NOW, cached_until=more.pop("cached_until", None))
    return KeptKey(key=key, first_seen=NOW, **more)


def fingerprint(material: bytes) -> str:
    key = check_key(material, BOB, NOW)
    assert isinstance(key, RecipientKey)
    return key.fingerprint


def test_the_places_of_an_address_are_those_of_the_standards() -> None:
    """The examples of the drafts: Joe.Doe@Example.ORG, hugh@example.com, chris@example.com."""
    joe = KeyPlaces("Joe.Doe@Example.ORG")
    path = "/.well-known/openpgpkey"
    assert joe.advanced_url == (
        f"https://openpgpkey.example.org{path}/example.org/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe"
    )
    assert joe.direct_url == f"https://example.org{path}/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe"
    hugh = "c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6"
    assert KeyPlaces("Hugh@Example.com").openpgpkey == f"{hugh}._openpgpkey.example.com"
    assert KeyPlaces("hugh@example.com").smimea == f"{hugh}._smimecert.example.com"
    assert KeyPlaces('"a b"@example.org').direct_url.endswith("?l=a%20b")


async def test_a_key_of_the_domains_directory_is_found_kept_and_not_asked_for_again(world: World) -> None:
    world.web.put(PLACES.advanced_url, public())
    found = await world.find()
    assert isinstance(found, KeyFound)
    assert (found.key.source, found.key.cached_until, found.warnings) == ("wkd", NOW + DAY, ())
    world.clock.at += DAY - timedelta(seconds=1)
    again = await world.find()
    assert isinstance(again, KeyFound)
    assert again.key == found.key
    assert world.web.asked == [PLACES.advanced_url]
    world.clock.at += timedelta(seconds=1)
    await world.find()
    assert world.web.asked == [PLACES.advanced_url] * 2


async def test_the_direct_method_is_asked_only_where_the_host_of_the_advanced_one_does_not_exist(world: World) -> None:
    world.dns.put("example.net", "AAAA", "2001:db8::80")
    world.web.put(PLACES.direct_url, public())
    assert isinstance(await world.find(), NoKey)
    assert PLACES.direct_url not in world.web.asked
    del world.dns.answers["openpgpkey.example.net", "A"]
    found = await world.find(refresh=True)
    assert isinstance(found, KeyFound)
    assert found.key.source == "wkd"


@pytest.mark.parametrize("number", range(len(METHODS)))
async def test_the_places_are_asked_in_their_order_and_those_that_are_not_listed_not_at_all(number: int) -> None:
    methods = METHODS[number:]
    world = World(*methods)
    world.web.put(PLACES.advanced_url, public())
    world.record(PLACES.openpgpkey, "OPENPGPKEY", base64.b64encode(public()).decode())
    world.record(PLACES.smimea, "SMIMEA", f"3 0 0 {scene.smime(BOB).key.material.hex()}")
    for source in ("pinned", "imported", "autocrypt"):
        if source in methods:
            await world.keys.put(checked(public(), source))
    found = await world.find(refresh=True)
    assert isinstance(found, KeyFound)
    assert found.key.source == methods[0]
    assert bool(world.web.asked) == ("wkd" in methods)  # where pinned and imported ones were found, for a revocation
    assert ((PLACES.openpgpkey, "OPENPGPKEY") in world.dns.asked) == (methods[0] == "openpgpkey")


async def test_a_kept_key_is_not_used_where_its_way_is_switched_off() -> None:
    world = World("pinned")
    await world.keys.put(checked(public(), "autocrypt"))
    assert isinstance(await world.find(), NoKey)
    assert (world.web.asked, world.dns.asked) == ([], [])


FAULTS = [
    ("timeout", KeyUnknown), ("network", KeyUnknown), ("lookup", KeyUnknown), ("answer", KeyUnknown),
    ("refused", NoKey), ("certificate", NoKey), ("no_host", NoKey), ("address", NoKey), ("too_long", NoKey),
]  # fmt: skip


@pytest.mark.parametrize(("code", "outcome"), FAULTS)
async def test_a_directory_that_gives_no_answer_is_unknown_and_never_no_key(world: World, code, outcome) -> None:  # type: ignore[no-untyped-def]
    """A mail that needs a key would bounce, or leave in clear, because a web server was slow."""
    world.web.answers[PLACES.advanced_url] = FetchError("openpgpkey.example.net: fault", code=code)
    found = await world.find()
    assert isinstance(found, outcome)
    assert "fault" in found.reasons[0]
    assert (await world.keys.absence(BOB, NOW) is None) == (outcome is KeyUnknown)


async def test_a_silent_directory_is_left_alone_for_a_moment_for_everybody_there(world: World) -> None:
    """A letter to a hundred people of a domain that is down would hold its sender up for a quarter of an hour."""
    finder = Discovery(world.keys, world.clock, world.dns, world.web, DiscoverySettings(("wkd",)))
    slow = FetchError("openpgpkey.example.net: no answer within 10 s", code="timeout")
    for name in ("bob", "carol", "dan"):
        world.web.answers[KeyPlaces(f"{name}@example.net").advanced_url] = slow
        assert isinstance(await finder.find(f"{name}@example.net"), KeyUnknown)
    assert len(world.web.asked) == 1
    world.web.put(PLACES.advanced_url, public())
    world.clock.at += timedelta(seconds=30)
    assert isinstance(await finder.find(BOB), KeyFound)


STATUSES = [(404, NoKey), (403, NoKey), (302, NoKey), (500, KeyUnknown), (503, KeyUnknown), (429, KeyUnknown)]


@pytest.mark.parametrize(("status", "outcome"), STATUSES)
async def test_what_a_web_server_answers_is_told_apart(world: World, status: int, outcome: type) -> None:
    world.web.put(PLACES.advanced_url, public(), status)
    found = await world.find()
    assert isinstance(found, outcome)
    assert str(status) in found.reasons[0]


@pytest.mark.parametrize(
    ("name", "rdtype"),
    [("openpgpkey.example.net", "A"), (PLACES.openpgpkey, "OPENPGPKEY"), (PLACES.smimea, "SMIMEA")],
)
async def test_a_dns_that_does_not_answer_is_unknown(world: World, name: str, rdtype: str) -> None:
    world.dns.fail(name, rdtype)
    assert isinstance(await world.find(), KeyUnknown)


async def test_records_that_dnssec_does_not_prove_are_not_used(world: World) -> None:
    """Who can forge an answer of the DNS would choose the key."""
    world.record(PLACES.openpgpkey, "OPENPGPKEY", base64.b64encode(public()).decode(), proven=False)
    world.record(PLACES.smimea, "SMIMEA", f"3 0 0 {scene.smime(BOB).key.material.hex()}", proven=False)
    found = await world.find()
    assert isinstance(found, NoKey)
    assert sum("DNSSEC" in reason for reason in found.reasons) == 2
    assert await world.keys.list() == ()


@pytest.mark.parametrize("record", ["1 0 0", "2 0 0", "0 0 0", "3 1 0", "3 0 1"])
async def test_only_a_whole_certificate_of_its_own_is_taken_from_smimea(record: str) -> None:
    world = World("smimea")
    world.record(PLACES.smimea, "SMIMEA", f"{record} {scene.smime(BOB).key.material.hex()}", "3 0 0 zz")
    assert isinstance(await world.find(), NoKey)


async def test_a_record_is_kept_no_longer_than_it_says_and_not_shorter_than_a_while() -> None:
    for ttl, lifetime in ((600, 600), (0, 300), (10**6, 86400)):
        world = World("openpgpkey")
        world.record(PLACES.openpgpkey, "OPENPGPKEY", base64.b64encode(public()).decode(), ttl=ttl)
        found = await world.find()
        assert isinstance(found, KeyFound)
        assert found.key.cached_until == NOW + timedelta(seconds=lifetime)


async def test_a_search_in_vain_is_not_repeated_until_its_end_and_says_the_same(world: World) -> None:
    first = await world.find()
    assert isinstance(first, NoKey)
    world.web.put(PLACES.advanced_url, public())
    second = await world.find()
    assert isinstance(second, NoKey)
    assert "404" in second.reasons[0]
    assert len(world.web.asked) == 1
    world.clock.at += timedelta(hours=1)
    assert isinstance(await world.find(), KeyFound)


async def test_a_search_for_one_kind_says_nothing_about_the_other(world: World) -> None:
    assert isinstance(await world.find(kinds=("smime",)), NoKey)
    assert world.web.asked == []
    world.web.put(PLACES.advanced_url, public())
    assert isinstance(await world.find(), KeyFound)
    assert isinstance(await world.find(kinds=("smime",)), NoKey)


def revoked() -> tuple[bytes, bytes]:
    key = scene.pgp_key(BOB)
    certificate = key.extract_certificate()
    return bytes(certificate), bytes(certificate) + bytes(certificate.revoke(key.certifier()))


REFUSED = [
    (lambda: public("carol@example.net"), "does not carry this address"),
    (lambda: revoked()[1], "revoked"),
    (lambda: bytes(scene.pgp_key(BOB)), "private key"),
    (lambda: b"<html>not found</html>", "no OpenPGP key"),
]


@pytest.mark.parametrize(("make", "why"), REFUSED)
async def test_a_key_that_may_not_be_used_is_refused_with_the_reason(world: World, make, why: str) -> None:  # type: ignore[no-untyped-def]
    world.web.put(PLACES.advanced_url, make())
    found = await world.find()
    assert isinstance(found, NoKey)
    assert why in " ".join(found.reasons)
    assert await world.keys.list() == ()


async def test_a_key_that_expires_is_refused_from_then_on_and_a_prolonged_one_is_taken(world: World) -> None:
    secret = scene.pgp_key(BOB)
    short, prolonged = (
        secret.extract_certificate().set_expiration(NOW + time, secret.certifier())
        for time in (timedelta(hours=1), 365 * DAY)
    )
    await world.keys.put(checked(bytes(short), "imported"))
    finder = Discovery(world.keys, world.clock, world.dns, world.web, world.settings)
    assert isinstance(await finder.find(BOB), KeyFound)
    world.clock.at += timedelta(hours=2)
    found = await finder.find(BOB)  # the same one: what it remembers of the key has ended too
    assert isinstance(found, NoKey)
    assert "expired" in found.reasons[0]
    world.web.put(PLACES.advanced_url, bytes(prolonged))
    found = await finder.find(BOB, refresh=True)
    assert isinstance(found, KeyFound), found
    assert (found.key.fingerprint, found.warnings) == (short.fingerprint.lower(), ())
    (kept,) = await world.keys.find(BOB)
    assert kept.key.source == "imported"


async def test_a_changed_key_is_a_warning_and_the_old_one_stays_until_somebody_trusts_the_new_one(world: World) -> None:
    old, new = public(), public()
    world.web.put(PLACES.advanced_url, old)
    await world.find()
    world.clock.at += DAY
    world.web.put(PLACES.advanced_url, new)
    for _ in range(2):  # looked up, then from the store
        found = await world.find()
        assert isinstance(found, KeyFound)
        assert found.key.fingerprint == fingerprint(old)
        (warning,) = found.warnings
        assert f"gatepost key trust {BOB} {fingerprint(new)}" in warning
    assert len(world.web.asked) == 2
    await world.keys.trust(BOB, fingerprint(new), world.clock.at)
    found = await world.find()
    assert isinstance(found, KeyFound)
    assert (found.key.fingerprint, found.warnings) == (fingerprint(new), ())


async def test_a_changed_key_is_not_used_either_when_the_old_one_cannot_be_used_any_more(world: World) -> None:
    new = public()
    await world.keys.put(checked(public(validity_seconds=3600), "wkd", cached_until=NOW))
    world.clock.at += timedelta(hours=2)
    world.web.put(PLACES.advanced_url, new)
    found = await world.find()
    assert await world.find() == found  # as it is remembered
    assert isinstance(found, NoKey)
    assert found.codes == {"expired", "changed"}
    assert any("expired" in reason for reason in found.reasons)
    assert any(f"gatepost key trust {BOB} {fingerprint(new)}" in reason for reason in found.reasons)


async def test_a_domain_that_shows_another_key_each_day_fills_no_store(world: World) -> None:
    old = public()
    world.web.put(PLACES.advanced_url, old)
    await world.find()
    for _ in range(10):
        world.clock.at += DAY
        new = public()
        world.web.put(PLACES.advanced_url, new)
        found = await world.find()
        assert isinstance(found, KeyFound)
        assert found.key.fingerprint == fingerprint(old)
    rows = await world.keys.find(BOB)
    assert [each.state for each in rows] == ["used"] + ["waiting"] * 4
    assert rows[1].key.fingerprint == fingerprint(new)


async def test_a_key_of_the_directory_beats_one_that_came_in_a_letter_and_says_so(world: World) -> None:
    """Otherwise whoever gets one letter through could keep the true key out."""
    letter, directory = public(), public()
    await world.keys.put(checked(letter, "autocrypt"))
    world.web.put(PLACES.advanced_url, directory)
    found = await world.find()
    assert isinstance(found, KeyFound)
    assert found.key.fingerprint == fingerprint(directory)
    assert len(found.warnings) == 1
    assert fingerprint(letter) in found.warnings[0]
    states = {each.key.fingerprint: each.state for each in await world.keys.find(BOB)}
    assert states == {fingerprint(letter): "displaced", fingerprint(directory): "used"}


async def test_a_key_that_its_owner_revoked_is_withdrawn_and_does_not_come_back(world: World) -> None:
    sound, dead = revoked()
    world.web.put(PLACES.advanced_url, sound)
    assert isinstance(await world.find(), KeyFound)
    world.web.put(PLACES.advanced_url, dead)
    found = await world.find(refresh=True)
    assert isinstance(found, NoKey)
    (kept,) = await world.keys.find(BOB)
    assert kept.state == "withdrawn"
    world.web.put(PLACES.advanced_url, sound)  # somebody replays what was there before
    found = await world.find(refresh=True)
    assert isinstance(found, NoKey)
    assert any("revoked" in reason for reason in found.reasons)


@pytest.mark.parametrize("source", ["pinned", "imported"])
async def test_a_key_that_somebody_put_there_is_refused_once_its_owner_publishes_that_it_is_revoked(source) -> None:  # type: ignore[no-untyped-def]
    """It was never looked up, so nobody ever heard of it."""
    world = World()
    discovery = Discovery(world.keys, world.clock, world.dns, world.web, world.settings)
    sound, dead = revoked()
    await world.keys.put(checked(sound, source))
    for _ in range(3):
        assert isinstance(await discovery.find(BOB), KeyFound)
    assert world.web.asked == [PLACES.advanced_url]
    world.web.put(PLACES.advanced_url, dead)
    world.clock.at += DAY
    for _ in range(2):  # the answer, then what is kept of it
        found = await discovery.find(BOB)
        assert isinstance(found, NoKey)
        assert any("revoked" in reason for reason in found.reasons)
    assert [each.state for each in await world.keys.find(BOB)] == ["withdrawn"]


async def test_a_directory_that_is_away_or_has_another_key_takes_no_pinned_key_out_of_use(world: World) -> None:
    discovery = Discovery(world.keys, world.clock, world.dns, world.web, world.settings)
    pinned = public()
    await world.keys.put(checked(pinned, "pinned"))
    for answer in (FetchError("no route"), Fetched(200, {}, public()), Fetched(200, {}, revoked()[1])):
        world.web.answers[PLACES.advanced_url] = answer
        world.clock.at += DAY
        found = await discovery.find(BOB)
        assert isinstance(found, KeyFound)
        assert (found.key.fingerprint, found.warnings) == (fingerprint(pinned), ())
    assert len(world.web.asked) == 3


async def test_of_several_keys_the_one_that_is_known_is_used(world: World) -> None:
    first, second = public(), public()
    world.web.put(PLACES.advanced_url, second)
    await world.find()
    world.web.put(PLACES.advanced_url, first + second)
    found = await world.find(refresh=True)
    assert isinstance(found, KeyFound)
    assert (found.key.fingerprint, found.warnings) == (fingerprint(second), ())
