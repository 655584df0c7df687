"""Client certificates: who is asked, what is believed, what ends the handshake. Handshakes run in memory."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from tests.net.test_tls import Clock, client_context
from tests.support.client_certificates import ClientAuthority
from tests.support.server_pairs import write_pair

from gatepost.net.tls import ServerTls, TlsSettings
from gatepost.net.tls_certificates import CertificateError
from gatepost.net.tls_clients import shown_certificate
from gatepost.ports.wire import PeerCertificate


def server(folder: Path, authority: Path | None) -> ServerTls:
    pairs = (write_pair(folder / "one", "mx.example.org"), write_pair(folder / "two", "mail.example.net"))
    return ServerTls(TlsSettings(pairs, authority), "mx.example.org", folder, Clock())


def seen(
    context: ssl.SSLContext | None,
    shown: Path | None,
    *,
    name: str | None = None,
    version: ssl.TLSVersion | None = None,
) -> PeerCertificate | None:
    """What the server knows of the client after the handshake. Raises ssl.SSLError when it fails."""
    assert context is not None
    client = client_context(version=version)
    if shown is not None:
        client.load_cert_chain(shown)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = context.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name)
    for side in (theirs, ours, theirs, ours):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return shown_certificate(ours)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", [None, "mail.example.net", "other.example"])
def test_a_certificate_of_the_authority_is_known_by_its_addresses(
    tmp_path: Path, version: ssl.TLSVersion, name: str | None
) -> None:
    authority = ClientAuthority(tmp_path / "ca")
    device = authority.issue("device", "ada@example.org", "bob@example.org")
    found = seen(server(tmp_path, authority.file).asking_context, device, name=name, version=version)
    assert found is not None
    assert found.addresses == ("ada@example.org", "bob@example.org")
    assert found.subject == "CN=device"
    assert len(found.fingerprint) == 64


def test_without_a_certificate_the_session_goes_on(tmp_path: Path) -> None:
    authority = ClientAuthority(tmp_path / "ca")
    assert seen(server(tmp_path, authority.file).asking_context, None) is None


def test_other_mail_servers_are_not_asked(tmp_path: Path) -> None:
    authority, other = ClientAuthority(tmp_path / "ca"), ClientAuthority(tmp_path / "other")
    tls = server(tmp_path, authority.file)
    assert seen(tls.context, other.issue("mx", "ada@example.org")) is None
    assert seen(tls.context, authority.issue("device", "ada@example.org")) is None


def test_who_is_not_asked_at_all_has_no_asking_context(tmp_path: Path) -> None:
    assert server(tmp_path, None).asking_context is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_of_somebody_else_ends_the_handshake(tmp_path: Path, version: ssl.TLSVersion) -> None:
    authority, other = ClientAuthority(tmp_path / "ca"), ClientAuthority(tmp_path / "other")
    with pytest.raises(ssl.SSLError):
        seen(server(tmp_path, authority.file).asking_context, other.issue("x", "ada@example.org"), version=version)


def test_an_expired_certificate_ends_the_handshake(tmp_path: Path) -> None:
    authority = ClientAuthority(tmp_path / "ca")
    with pytest.raises(ssl.SSLError):
        seen(server(tmp_path, authority.file).asking_context, authority.issue("x", "ada@example.org", days=-1))


def test_one_certificate_may_stand_in_the_file_alone(tmp_path: Path) -> None:
    authority = ClientAuthority(tmp_path / "ca")
    device, other = authority.issue("device", "ada@example.org"), authority.issue("other", "bob@example.org")
    tls = server(tmp_path, device)
    assert seen(tls.asking_context, device) is not None
    with pytest.raises(ssl.SSLError):
        seen(tls.asking_context, other)


def test_a_revoked_certificate_is_refused_after_a_reload_and_others_are_not(tmp_path: Path) -> None:
    authority = ClientAuthority(tmp_path / "ca")
    lost, kept = authority.issue("lost", "ada@example.org"), authority.issue("kept", "ada@example.org")
    tls = server(tmp_path, authority.file)
    assert seen(tls.asking_context, lost) is not None
    authority.revoke(lost)
    assert not tls.changed()
    assert tls.changed()  # a change counts once it has settled
    assert tls.reload() == []
    assert seen(tls.asking_context, kept) is not None
    with pytest.raises(ssl.SSLError):
        seen(tls.asking_context, lost)


def test_a_reload_with_a_broken_file_of_authorities_keeps_the_old_ones(tmp_path: Path) -> None:
    authority = ClientAuthority(tmp_path / "ca")
    device = authority.issue("device", "ada@example.org")
    tls = server(tmp_path, authority.file)
    authority.file.write_text("nothing")
    (problem,) = tls.reload()
    assert str(authority.file) in problem
    assert "the old one stays in use" in problem
    assert seen(tls.asking_context, device) is not None


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_start_with_a_broken_file_of_authorities_fails(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "clients.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CertificateError, match=r"client_ca .*clients\.pem"):
        server(tmp_path, file)


def test_no_ticket_lets_a_client_back_in_unchecked(tmp_path: Path) -> None:
    authority = ClientAuthority(tmp_path / "ca")
    context = server(tmp_path, authority.file).asking_context
    assert context is not None
    assert context.num_tickets == 0
    assert ssl.OP_NO_TICKET in context.options


def test_a_certificate_without_addresses_is_nobodys(tmp_path: Path) -> None:
    authority = ClientAuthority(tmp_path / "ca")
    found = seen(server(tmp_path, authority.file).asking_context, authority.issue("device"))
    assert found is not None
    assert found.addresses == ()
