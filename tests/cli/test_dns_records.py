"""`gatepost dns records`: a zone file that others find our keys with."""

from __future__ import annotations

import asyncio
from pathlib import Path

import dns.zone
import pytest
from tests.cli.conftest import CONFIG, Command
from tests.seal import scene
from tests.support.dns_server import DnsServer
from tests.support.memory_keys import MemoryKeys
from tests.support.memory_resolver import MemoryResolver

from gatepost.mail.dns_record import DnsRecord
from gatepost.net.clock import SystemClock
from gatepost.net.dns.resolver import DnsResolver
from gatepost.net.dns.settings import DnsSettings
from gatepost.net.fetch import HttpsFetcher
from gatepost.seal.discovery import Discovery, KeyFound
from gatepost.seal.settings import DiscoverySettings

ADA = "ada@example.org"


def zone(text: str) -> dict[str, dict[str, list[str]]]:
    """What a name server reads in it."""
    found: dict[str, dict[str, list[str]]] = {}
    read = dns.zone.from_text(text, origin="example.org.", relativize=False, check_origin=False)
    for name, _, rdata in read.iterate_rdatas():
        kind = dns.rdatatype.to_text(rdata.rdtype)
        found.setdefault(name.to_text(omit_final_dot=True), {}).setdefault(kind, []).append(rdata.to_text())
    return found


def test_the_records_of_a_domain_are_a_zone_file(gatepost: Command) -> None:
    ran = gatepost("dns", "records", "example.org")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == ('example.org. 3600 IN MX 10 mx.example.org.\nexample.org. 3600 IN TXT "v=spf1 mx -all"\n')
    rows = gatepost("dns", "records", "--json").json
    assert [(row["name"], row["type"], row["data"]) for row in rows] == [
        ("example.org", "MX", "10 mx.example.org."), ("example.org", "TXT", "v=spf1 mx -all"),
        ("example.net", "MX", "10 mx.example.org."), ("example.net", "TXT", "v=spf1 mx -all"),
    ]  # fmt: skip
    ran = gatepost("dns", "records", "example.com")
    assert (ran.code, "not one of our domains" in ran.err) == (2, True)


def test_where_mail_leaves_from_is_in_it_and_through_a_smarthost_nothing_is_said(
    gatepost: Command, folder: Path
) -> None:
    text = f'{CONFIG}[delivery]\nsource = ["192.0.2.9", "2001:db8::9"]\n'
    (folder / "gatepost.toml").write_text(text)
    assert '"v=spf1 mx ip4:192.0.2.9 ip6:2001:db8::9 -all"' in gatepost("dns", "records", "example.org").out
    (folder / "gatepost.toml").write_text(f'{CONFIG}[relay]\nsmarthost = "smtp://smart.example:25"\n')
    assert "TXT" not in gatepost("dns", "records", "example.org").out


@pytest.mark.parametrize("kind", ["openpgp", "smime"])
def test_a_key_in_the_zone_file_is_found_by_whoever_looks_it_up(gatepost: Command, folder: Path, kind: str) -> None:
    key = (scene.pgp(ADA) if kind == "openpgp" else scene.smime(ADA)).key
    (folder / "key").write_bytes(key.material)
    gatepost("key", "publish", ADA, "key")
    ran = gatepost("dns", "records", "example.org")
    assert f"; {ADA}: {key.fingerprint}" in ran.out
    server = DnsServer(zone(ran.out), authenticated=True)

    async def look_up() -> object:
        resolver = DnsResolver(DnsSettings((server.address,), validating=True), SystemClock())
        settings = DiscoverySettings(("openpgpkey", "smimea"))
        discovery = Discovery(MemoryKeys(), SystemClock(), resolver, HttpsFetcher(MemoryResolver()), settings)
        try:
            return await discovery.find(ADA)
        finally:
            await resolver.aclose()

    with server.in_thread():
        found = asyncio.run(look_up())
    assert isinstance(found, KeyFound)
    assert (found.key.fingerprint, found.key.material) == (key.fingerprint, key.material)


def test_a_listener_for_the_key_directory_gets_its_name(gatepost: Command, folder: Path) -> None:
    (folder / "key").write_bytes(scene.pgp(ADA).key.material)
    gatepost("key", "publish", ADA, "key")
    assert "CNAME" not in gatepost("dns", "records").out
    web = '[[listen]]\naddress = "127.0.0.1:8443"\nservice = "web"\n'
    (folder / "gatepost.toml").write_text(CONFIG.replace("[domain", f"{web}[domain", 1))
    found = zone(gatepost("dns", "records", "example.org").out)
    assert found["openpgpkey.example.org"] == {"CNAME": ["mx.example.org."]}


def test_text_is_quoted_as_a_name_server_reads_it_back() -> None:
    text = 'a "quoted" \\ text; with ' + "x" * 300 + "\N{LATIN SMALL LETTER O WITH DIAERESIS}"
    entry = DnsRecord(name="example.org", type="TXT", data=text).in_zone_file()
    read = dns.zone.from_text(entry, origin="example.org.", relativize=False, check_origin=False)
    (rdata,) = [rdata for _, _, rdata in read.iterate_rdatas()]
    assert b"".join(rdata.strings).decode() == text
