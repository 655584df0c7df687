"""Keys that come with mail: which are kept, and which are not."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from tests.seal import scene
from tests.seal.scene import NOW
from tests.support.memory_keys import MemoryKeys

from gatepost.mail.header import HeaderSection, walk
from gatepost.seal.autocrypt import LIFETIME, MAX_UNPROVEN, author_field, observe_autocrypt, parse_autocrypt

BOB = "bob@example.net"


def public(address: str = BOB) -> bytes:
    return bytes(scene.pgp_key(address).extract_certificate())


KEY = public()


def keydata(material: bytes = KEY) -> str:
    """Folded, as programs write it."""
    text = base64.b64encode(material).decode()
    return "\r\n ".join(text[at : at + 70] for at in range(0, len(text), 70))


def header(*fields: str, author: str = "Bob <Bob@Example.NET>") -> HeaderSection:
    lines = [f"From: {author}", "To: ada@example.org", *fields, "", ""]
    return walk("\r\n".join(lines).encode())


def field(addr: str = BOB, extra: str = "", material: bytes = KEY) -> str:
    return f"Autocrypt: addr={addr}; {extra}keydata=\r\n {keydata(material)}"


async def test_the_key_of_a_proven_author_is_kept_for_a_while() -> None:
    store = MemoryKeys()
    observed = await observe_autocrypt(header(field()), store, NOW, is_author_proven=True)
    assert observed.reason == ""
    (kept,) = await store.find(BOB)
    assert observed.kept == kept
    assert (kept.key.source, kept.key.cached_until, kept.state) == ("autocrypt", NOW + LIFETIME, "used")


async def test_the_key_of_an_author_that_nothing_proves_is_kept_aside() -> None:
    """Whoever writes From could choose to which key others answer."""
    store = MemoryKeys()
    observed = await observe_autocrypt(header(field()), store, NOW, is_author_proven=False)
    (kept,) = await store.find(BOB)
    assert observed.kept == kept
    assert (kept.state, kept.key.source) == ("unproven", "autocrypt")
    assert "nothing proves that it is from its owner" in kept.note
    await observe_autocrypt(header(field()), store, NOW, is_author_proven=True)
    assert [each.state for each in await store.find(BOB)] == ["used"]


async def test_what_nothing_proves_changes_no_key_that_is_there() -> None:
    """A stranger's letter would else keep a key alive, or take a used one out of use."""
    store = MemoryKeys()
    await observe_autocrypt(header(field()), store, NOW, is_author_proven=True)
    before = await store.find(BOB)
    observed = await observe_autocrypt(header(field()), store, NOW + timedelta(days=3), is_author_proven=False)
    assert observed.kept is None
    await observe_autocrypt(header(field(material=public())), store, NOW, is_author_proven=False)
    assert [each.state for each in await store.find(BOB)] == ["used", "unproven"]
    assert (await store.find(BOB))[:1] == before


async def test_strangers_keys_have_an_end_in_number() -> None:
    store = MemoryKeys()
    for number in range(MAX_UNPROVEN + 3):
        moment = NOW + timedelta(minutes=number)
        await observe_autocrypt(header(field(material=public())), store, moment, is_author_proven=False)
    assert len(await store.find(BOB)) == MAX_UNPROVEN


async def test_a_mail_without_the_field_costs_no_look_up() -> None:
    class Closed(MemoryKeys):
        async def find(self, address: str):  # type: ignore[no-untyped-def]
            raise AssertionError("it was asked")

    assert (await observe_autocrypt(header("Subject: x"), Closed(), NOW, is_author_proven=True)).reason == ""


async def test_another_key_waits_and_the_same_one_is_written_once_a_day() -> None:
    store, new = MemoryKeys(), public()
    await observe_autocrypt(header(field()), store, NOW, is_author_proven=True)
    later = NOW + timedelta(hours=1)
    await observe_autocrypt(header(field()), store, later, is_author_proven=True)
    (kept,) = await store.find(BOB)
    assert kept.key.found_at == NOW
    await observe_autocrypt(header(field()), store, NOW + timedelta(days=2), is_author_proven=True)
    (kept,) = await store.find(BOB)
    assert kept.key.cached_until == NOW + timedelta(days=2) + LIFETIME
    observed = await observe_autocrypt(header(field(material=new)), store, later, is_author_proven=True)
    assert observed.kept is not None
    assert observed.kept.state == "waiting"
    assert [each.state for each in await store.find(BOB)] == ["used", "waiting"]


NOT_OURS = [
    (header(field("carol@example.net", material=public("carol@example.net"))), "another address"),
    (header(field(), field()), "twice"),
    (header(field(), author="Bob <bob@example.net>, Carol <carol@example.net>"), "another address"),
    (header(field(), "From: carol@example.net"), "another address"),
    (header(field(), "Content-Type: multipart/report; boundary=b"), "malformed"),
    (header(field(extra="critical=1; ")), "malformed"),
    (header(field(extra="addr=bob@example.net; ")), "malformed"),
    (header("Autocrypt: addr=bob@example.net; keydata=!!"), "malformed"),
    (header("Autocrypt: addr=bob@example.net"), "malformed"),
    (header("Autocrypt: keydata=AAAA"), "malformed"),
    (header("Autocrypt: "), "malformed"),
    (header(field(material=public("carol@example.net"))), "does not carry this address"),
    (header(field(material=bytes(scene.pgp_key(BOB)))), "private key"),
    (header(field(material=b"\x99\x00")), "cannot be read"),
    (header(field(material=scene.smime(BOB).key.material)), "for OpenPGP"),
]


@pytest.mark.parametrize(("section", "why"), NOT_OURS)
async def test_what_is_not_the_authors_own_sound_key_is_not_kept(section: HeaderSection, why: str) -> None:
    store = MemoryKeys()
    observed = await observe_autocrypt(section, store, NOW, is_author_proven=True)
    assert observed.kept is None
    assert why in observed.reason
    assert await store.list() == ()


def test_unknown_attributes_that_may_be_passed_over_are() -> None:
    found = parse_autocrypt(f"_x=1; addr=Bob@Example.net; prefer-encrypt=mutual; keydata={keydata()}".encode())
    assert found is not None
    assert (found.address, found.is_mutual) == (BOB, True)
    other = header(field("carol@example.net", material=public("carol@example.net")), field())
    found = author_field(other)
    assert found is not None
    assert found.key == KEY


def test_no_octets_raise() -> None:
    whole = field().partition(": ")[2].encode()
    for at in range(0, len(whole), 5):
        parse_autocrypt(whole[:at])
        parse_autocrypt(whole[at:])
    for junk in (b"\xff\xfe", b"=;=;", b"addr=<>;keydata=AA==", b"addr==;", b";" * 1000):
        assert parse_autocrypt(junk) is None
