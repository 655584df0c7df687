"""`gatepost key`: keys of a server and of a person, looked up in a DNS on loopback."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import CONFIG, Command
from tests.cli.test_sendmail import SENDMAIL, server
from tests.seal import scene
from tests.support.dns_server import Behaviour, DnsServer

from gatepost.seal.key_names import KeyPlaces

__all__ = ["server"]
BOB, ADA = "bob@partner.example", "ada@example.org"
PLACES = KeyPlaces(BOB)


def public(address: str = BOB, **options) -> bytes:  # type: ignore[no-untyped-def]
    return bytes(scene.pgp_key(address, **options).extract_certificate())


def fingerprint(material: bytes) -> str:
    from gatepost.seal.keys import fingerprint_of

    return fingerprint_of(material)


@pytest.fixture
def dns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DnsServer]:
    """A DNS that DNSSEC proves, and a configuration that asks it."""
    monkeypatch.delenv("GATEPOST_KEYS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "home"))
    dns = DnsServer({}, authenticated=True)
    with dns.in_thread():
        text = f'{CONFIG}[dns]\nresolvers = ["{dns.address}"]\nvalidating = true\ntimeout = "2s"\n'
        (folder / "gatepost.toml").write_text(text)
        yield dns


def publish(dns: DnsServer, material: bytes) -> None:
    dns.zone[PLACES.openpgpkey] = {"OPENPGPKEY": [base64.b64encode(material).decode()]}


def test_a_key_is_found_in_dns_kept_listed_and_forgotten(gatepost: Command, dns: DnsServer) -> None:
    material = public()
    publish(dns, material)
    found = gatepost("key", "find", "Bob@Partner.example", "--json")
    assert found.code == 0, found.err
    assert found.json["fingerprint"] == fingerprint(material)
    assert (found.json["outcome"], found.json["source"], found.json["warnings"]) == ("found", "openpgpkey", [])
    (row,) = gatepost("key", "list", "--json").json
    assert (row["address"], row["state"], row["kind"]) == (BOB, "used", "openpgp")
    asked = len(dns.queries)
    assert f"fingerprint:  {fingerprint(material)}\n" in gatepost("key", "find", BOB).out
    assert len(dns.queries) == asked
    assert gatepost("key", "find", BOB, "--refresh").code == 0
    assert len(dns.queries) > asked
    assert gatepost("key", "list", "--kind", "smime", "--json").json == []
    assert gatepost("key", "remove", BOB).out == f"1 key of {BOB} removed.\n"
    assert gatepost("key", "list", "--json").json == []


def test_no_key_is_told_with_what_each_place_said_and_silence_is_told_apart(gatepost: Command, dns: DnsServer) -> None:
    ran = gatepost("key", "find", BOB)
    assert (ran.code, ran.out) == (1, "")
    assert f"there is no key for {BOB} that may be used:" in ran.err
    assert "WKD: the domain has no web server" in ran.err
    assert "OPENPGPKEY: there is no record" in ran.err
    dns.behave(Behaviour.SERVFAIL)
    ran = gatepost("key", "find", BOB, "--refresh")
    assert ran.code == 1
    assert "could not be found out; try again later" in ran.err
    assert gatepost("key", "find", BOB, "--refresh", "--json").json["outcome"] == "unknown"


def test_a_changed_key_is_told_until_somebody_trusts_it(gatepost: Command, dns: DnsServer) -> None:
    old, new = public(), public()
    publish(dns, old)
    gatepost("key", "find", BOB)
    publish(dns, new)
    ran = gatepost("key", "find", BOB, "--refresh")
    assert fingerprint(old) in ran.out
    assert f"gatepost key trust {BOB} {fingerprint(new)}" in ran.err
    states = {row["fingerprint"]: row["state"] for row in gatepost("key", "show", BOB, "--json").json}
    assert states == {fingerprint(old): "used", fingerprint(new): "waiting"}
    spaced = " ".join(fingerprint(new).upper()[at : at + 4] for at in range(0, 40, 4))
    assert gatepost("key", "trust", BOB, spaced).code == 0
    ran = gatepost("key", "find", BOB, "--json")
    assert (ran.json["fingerprint"], ran.json["source"], ran.err) == (fingerprint(new), "pinned", "")
    events = gatepost("audit", "search", "--json").json
    acts = [event["details"]["act"] for event in events if event["kind"] == "admin"]
    assert acts == ["key trust"]


def test_keys_are_imported_for_the_addresses_that_they_carry(gatepost: Command, dns: DnsServer, folder: Path) -> None:
    import pysequoia

    two = pysequoia.Tsk.generate(user_ids=[f"Bob <{BOB}>", "Bob <bob@other.example>"])
    (folder / "bob.pgp").write_bytes(bytes(two.extract_certificate()) + public("carol@partner.example"))
    rows = gatepost("key", "import", "bob.pgp", "--json").json
    assert sorted(row["address"] for row in rows) == ["bob@other.example", BOB, "carol@partner.example"]
    assert {row["source"] for row in rows} == {"imported"}
    gatepost("key", "remove", "bob@other.example")
    ran = gatepost("key", "import", "bob.pgp", "--for", BOB, "--json")
    assert [row["address"] for row in ran.json] == [BOB]
    assert "does not carry this address" in ran.err
    assert dns.queries == []
    pem = folder / "dan.pem"
    pem.write_bytes(scene.smime("dan@partner.example").key.material)
    assert gatepost("key", "import", "dan.pem", "--json").json[0]["kind"] == "smime"


def test_what_may_not_be_used_is_not_imported_and_said_why(gatepost: Command, dns: DnsServer, folder: Path) -> None:
    cases = [
        (bytes(scene.pgp_key(BOB)), "holds a private key"),
        (b"no key at all", "this is no public key"),
        (scene.der(scene.certificate(BOB, scene.private_key("p256"), end=scene.NOW)), "expired"),
        (scene.der(scene.certificate(BOB, scene.private_key("p256"))) + b"x", "this is no public key"),
    ]
    for octets, why in cases:
        (folder / "key").write_bytes(octets)
        ran = gatepost("key", "import", "key")
        assert (ran.code, ran.out) == (1, "")
        assert why in ran.err
    assert gatepost("key", "list", "--json").json == []


def test_a_second_key_that_is_imported_waits_to_be_trusted(gatepost: Command, dns: DnsServer, folder: Path) -> None:
    old, new = public(), public()
    (folder / "old").write_bytes(old)
    (folder / "new").write_bytes(new)
    gatepost("key", "import", "old")
    ran = gatepost("key", "import", "new")
    assert f"gatepost key trust {BOB} {fingerprint(new)}" in ran.err
    assert gatepost("key", "find", BOB, "--json").json["fingerprint"] == fingerprint(old)
    assert gatepost("key", "trust", BOB).code == 0  # the one that waits
    assert gatepost("key", "find", BOB, "--json").json["fingerprint"] == fingerprint(new)
    ran = gatepost("key", "trust", BOB)
    assert (ran.code, "has several keys" in ran.err) == (2, True)
    ran = gatepost("key", "trust", BOB, "00" * 20)
    assert (ran.code, "has no key" in ran.err) == (1, True)


def test_a_person_has_keys_of_their_own_beside_those_of_the_server(
    gatepost: Command, dns: DnsServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "bob.pgp").write_bytes(public())
    assert gatepost("key", "import", "bob.pgp", "--mine").code == 0
    assert (folder / "home" / "gatepost" / "keys" / "keys.db").exists()
    assert gatepost("key", "list", "--json").json == []
    monkeypatch.setenv("GATEPOST_KEYS", str(folder / "home" / "gatepost" / "keys"))
    assert [row["address"] for row in gatepost("key", "list", "--json").json] == [BOB]
    assert gatepost("key", "list", "--json", "--config", "gatepost.toml").json == []
    monkeypatch.delenv("GATEPOST_KEYS")
    (folder / "gatepost.toml").unlink()
    assert [row["address"] for row in gatepost("key", "list", "--json").json] == [BOB]


def test_a_key_of_ours_is_published_found_here_without_a_question_and_taken_back(
    gatepost: Command, dns: DnsServer, folder: Path
) -> None:
    material = public(ADA)
    (folder / "ada.pgp").write_bytes(material)
    ran = gatepost("key", "publish", ADA, "ada.pgp")
    assert ran.code == 0, ran.err
    assert KeyPlaces(ADA).advanced_url in ran.out
    assert 'service = "web"' in ran.err
    assert [row["address"] for row in gatepost("key", "list", "--published", "--json").json] == [ADA]
    found = gatepost("key", "find", ADA, "--json").json
    assert (found["source"], found["fingerprint"]) == ("local", fingerprint(material))
    assert dns.queries == []
    assert gatepost("key", "unpublish", ADA).code == 0
    assert gatepost("key", "list", "--published", "--json").json == []
    ran = gatepost("key", "unpublish", ADA)
    assert (ran.code, "no such key" in ran.err) == (1, True)


def test_only_a_sound_key_of_an_address_of_ours_is_published(gatepost: Command, dns: DnsServer, folder: Path) -> None:
    (folder / "bob.pgp").write_bytes(public())
    ran = gatepost("key", "publish", BOB, "bob.pgp")
    assert (ran.code, "not one of our domains" in ran.err) == (1, True)
    ran = gatepost("key", "publish", ADA, "bob.pgp")
    assert (ran.code, "does not carry this address" in ran.err) == (1, True)
    (folder / "secret.pgp").write_bytes(bytes(scene.pgp_key(ADA)))
    ran = gatepost("key", "publish", ADA, "secret.pgp")
    assert (ran.code, "private key" in ran.err) == (1, True)
    assert gatepost("key", "list", "--published", "--json").json == []


def test_what_is_sealed_is_sealed_to_a_key_that_was_found(
    gatepost: Command, dns: DnsServer, server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("GATEPOST_CONFIG", str(folder / "gatepost.toml"))
    material = public()
    publish(dns, material)
    ran = gatepost(*SENDMAIL, "--seal", BOB, stdin="Subject: Secret\n\nThe offer\n")
    assert (ran.code, "not signed" in ran.err) == (0, True)
    assert b"multipart/encrypted" in server.content
    rows = gatepost("key", "list", "--mine", "--json").json
    assert [(row["address"], row["source"]) for row in rows] == [(BOB, "openpgpkey")]


def test_a_dns_that_is_silent_makes_sendmail_try_again_and_not_fail(
    gatepost: Command, dns: DnsServer, server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    """75 keeps the letter in the caller's queue; 77 would have it thrown away since a resolver was restarted."""
    monkeypatch.setenv("GATEPOST_CONFIG", str(folder / "gatepost.toml"))
    dns.behave(Behaviour.SERVFAIL)
    ran = gatepost(*SENDMAIL, "--seal", BOB, stdin="Subject: Secret\n\nx\n")
    assert (ran.code, server.heard) == (75, [])
    assert f"could not be found out whether there is a key for {BOB}" in ran.err
    dns.behave(Behaviour.ANSWER)
    assert gatepost(*SENDMAIL, "--seal", BOB, stdin="Subject: Secret\n\nx\n").code == 77


def test_who_signed_is_believed_for_a_key_that_was_trusted(
    gatepost: Command, dns: DnsServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gatepost.seal.model import Sealed, SealOptions
    from gatepost.seal.sealing import seal

    keys = folder / "home" / "gatepost" / "keys"
    (keys / "private").mkdir(parents=True)
    bob, ada = scene.pgp("bob@example.net"), scene.pgp(ADA)
    (keys / "private" / "bob.pgp").write_bytes(bob.secret.material)
    (keys / "private" / "bob.pgp").chmod(0o600)
    (folder / "ada.pgp").write_bytes(ada.key.material)
    message = seal(scene.MESSAGE, {"bob@example.net": bob.key}, ada.signing, SealOptions(now=scene.NOW))
    assert isinstance(message, Sealed)
    text = message.messages[0].octets.decode("latin-1")
    verdict = json.loads(gatepost("open", "--json", stdin=text).out)["verdict"]
    assert verdict["signature"] == "unknown"
    gatepost("key", "import", "ada.pgp", "--mine")
    gatepost("key", "trust", ADA, "--mine")
    opened = json.loads(gatepost("open", "--json", stdin=text).out)
    assert opened["verdict"]["signature"] == "good"
    assert "you said that it is right" in opened["words"]
