"""Server TLS: which certificate is sent, what a reload does, what is refused. Handshakes run in memory."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import shutil
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from tests.support.server_pairs import write_pair

from gatepost.net.tls import ServerTls, TlsSettings
from gatepost.net.tls_certificates import CertificateError, CertificateWatch, load_pair

FORK = multiprocessing.get_context("fork")


class Clock:
    """The real time, moved by `ahead`: certificates are judged by it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def unix(self) -> float:
        return self.now().timestamp()

    def monotonic(self) -> float:
        return self.unix()


def server_tls(folder: Path, *certificates: tuple[Path, Path], clock: Clock | None = None) -> ServerTls:
    return ServerTls(TlsSettings(certificates), "mx.example.org", folder, clock or Clock())


def client_context(*, version: ssl.TLSVersion | None = None, trusted: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = trusted is not None
    context.verify_mode = ssl.CERT_REQUIRED if trusted else ssl.CERT_NONE
    if trusted:
        context.load_verify_locations(trusted)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def shake(
    tls: ServerTls, name: str | None = None, client: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """(client, server) after a handshake, tickets included."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = tls.context.wrap_bio(to_server, to_client, server_side=True)
    theirs = (client or client_context()).wrap_bio(to_client, to_server, server_hostname=name, session=session)
    for side in (theirs, ours, theirs, ours):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    ours.write(b"220 hello")
    assert theirs.read(100) == b"220 hello"
    return theirs, ours


def sent(tls: ServerTls, name: str | None = None) -> str:
    """The common name of the certificate that a client sees who asks for `name`."""
    octets = shake(tls, name)[0].getpeercert(binary_form=True)
    assert octets is not None
    return str(x509.load_der_x509_certificate(octets).subject.rdns[0].rfc4514_string().removeprefix("CN="))


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ("mx.example.org", "mx.example.org"),
        ("MX.Example.ORG", "mx.example.org"),
        ("smtp.example.org", "mx.example.org"),
        ("mail.example.net", "*.example.net"),
        ("exact.example.net", "exact.example.net"),
        ("a.b.example.net", "mx.example.org"),
        ("example.net", "mx.example.org"),
        ("unknown.example.com", "mx.example.org"),
        (None, "mx.example.org"),
    ],
)
def test_the_certificate_fits_the_name_asked_for(tmp_path: Path, asked: str | None, seen: str) -> None:
    tls = server_tls(
        tmp_path,
        write_pair(tmp_path, "mx.example.org", "smtp.example.org"),
        write_pair(tmp_path, "*.example.net"),
        write_pair(tmp_path, "exact.example.net", "mx.example.org"),  # the first that has a name keeps it
    )
    assert sent(tls, asked) == seen


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_today_s_versions_are_spoken_with_forward_secrecy(tmp_path: Path, version: ssl.TLSVersion) -> None:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    tls = server_tls(tmp_path, write_pair(tmp_path, "mx.example.org", key=rsa_key))
    client = client_context(version=version)
    _, ours = shake(tls, "mx.example.org", client)
    assert ours.version() == version.name.replace("_", ".")
    assert ours.compression() is None
    cipher = ours.cipher()
    assert cipher is not None
    assert cipher[0].startswith(("TLS_", "ECDHE-"))
    shared = ours.shared_ciphers()
    assert shared
    assert [name for name, _, _ in shared if not name.startswith(("TLS_", "ECDHE-"))] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_yesterday_s_versions_and_ciphers_are_not(tmp_path: Path) -> None:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    tls = server_tls(tmp_path, write_pair(tmp_path, "mx.example.org", key=rsa_key))
    old = client_context(version=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        shake(tls, None, old)
    no_forward_secrecy = client_context(version=ssl.TLSVersion.TLSv1_2)
    no_forward_secrecy.set_ciphers("AES256-GCM-SHA384:AES128-SHA")
    with pytest.raises(ssl.SSLError):
        shake(tls, None, no_forward_secrecy)
    assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_2  # OpenSSL's own default may change
    assert ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION in tls.context.options


def test_without_a_certificate_one_is_made_kept_and_good_for_a_client_that_trusts_it(tmp_path: Path) -> None:
    tls = server_tls(tmp_path)
    certificate, key = tls.pairs[0].certificate, tls.pairs[0].key
    assert tls.is_self_signed
    assert certificate.parent == tmp_path / "tls"
    assert [path.stat().st_mode & 0o777 for path in (certificate, key)] == [0o600, 0o600]
    client = client_context(trusted=certificate)
    for name in ("mx.example.org", "localhost", "127.0.0.1"):
        shake(tls, name, client)
    assert server_tls(tmp_path).pairs == tls.pairs


def test_a_certificate_that_was_just_made_is_no_renewal(tmp_path: Path) -> None:
    """The first start put "certificates loaded anew" on the record, twenty seconds later."""
    tls = server_tls(tmp_path)
    assert [tls.changed(), tls.changed(), tls.changed()] == [False, False, False]


def test_the_certificate_of_our_own_is_remade_before_it_ends(tmp_path: Path) -> None:
    clock = Clock()
    tls = server_tls(tmp_path, clock=clock)
    first = tls.pairs[0]
    clock.ahead = first.end - datetime.now(UTC) - timedelta(days=61)
    assert not tls.changed()
    clock.ahead += timedelta(days=2)
    assert tls.changed()
    assert tls.reload() == []
    assert tls.pairs[0].end > first.end
    assert tls.end_point_for(shake(tls)[1]) != first.end_point
    assert [tls.changed(), tls.changed()] == [False, False]  # what was remade is in use


@pytest.mark.parametrize("damage", ["other host", "missing key", "noise", "swapped key"])
def test_the_certificate_of_our_own_is_remade_when_it_is_of_no_use(tmp_path: Path, damage: str) -> None:
    pair = server_tls(tmp_path).pairs[0]
    hostname = "mx.example.org"
    match damage:
        case "other host":
            hostname = "new.example.org"
        case "missing key":
            pair.key.unlink()
        case "noise":
            pair.certificate.write_bytes(os.urandom(500))
        case "swapped key":
            shutil.copy(write_pair(tmp_path, "x.example.org")[1], pair.key)
    tls = ServerTls(TlsSettings(), hostname, tmp_path, Clock())
    assert tls.pairs[0].end_point != pair.end_point
    shake(tls, hostname, client_context(trusted=pair.certificate))


def missing(certificate: Path, key: Path) -> str:
    certificate.unlink()
    return f"certificate {certificate} cannot be read (No such file or directory); see that it exists"


def key_missing(certificate: Path, key: Path) -> str:
    key.unlink()
    return f"key {key} cannot be read (No such file or directory); see that it exists"


def noise(certificate: Path, key: Path) -> str:
    certificate.write_bytes(os.urandom(500))
    return f"certificate {certificate} holds no certificate in PEM form"


def key_is_noise(certificate: Path, key: Path) -> str:
    key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    return f"key {key} holds no private key in PEM form"


def of_another(certificate: Path, key: Path) -> str:
    shutil.copy(write_pair(certificate.parent, "other.example.org")[1], key)
    return f"key {key} does not belong to certificate {certificate}"


def expired(certificate: Path, key: Path) -> str:
    write_pair(
        certificate.parent,
        certificate.stem,
        end=datetime(2026, 1, 31, tzinfo=UTC),
        begin=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return f'certificate {certificate} expired 2026-01-31; renew it, then run "config check"'


def of_the_future(certificate: Path, key: Path) -> str:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    write_pair(certificate.parent, certificate.stem, begin=tomorrow)
    return f"certificate {certificate} is valid from {tomorrow:%Y-%m-%d}"


def locked(certificate: Path, key: Path) -> str:
    write_pair(certificate.parent, certificate.stem, passphrase=b"secret")
    return f"key {key} is locked with a passphrase"


def too_weak(certificate: Path, key: Path) -> str:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    write_pair(certificate.parent, certificate.stem, key=weak)
    return f"certificate {certificate} with key {key} is refused by OpenSSL"


FAULTS = [missing, key_missing, noise, key_is_noise, of_another, expired, of_the_future, locked, too_weak]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_pair_that_cannot_be_used_is_a_clear_error_at_the_start(
    tmp_path: Path, fault: Callable[[Path, Path], str]
) -> None:
    good = write_pair(tmp_path, "good.example.org")
    bad = write_pair(tmp_path, "bad.example.org")
    message = fault(*bad)
    with pytest.raises(CertificateError) as caught:
        server_tls(tmp_path, good, bad)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_reload_with_a_bad_pair_keeps_the_old_one_and_takes_the_others(
    tmp_path: Path, fault: Callable[[Path, Path], str]
) -> None:
    good = write_pair(tmp_path, "good.example.org")
    bad = write_pair(tmp_path, "bad.example.org")
    tls = server_tls(tmp_path, bad, good)
    before = [pair.end_point for pair in tls.pairs]
    message = fault(*bad)
    write_pair(tmp_path, "good.example.org")
    (problem,) = tls.reload()
    assert problem.startswith(message)
    assert problem.endswith("the old one stays in use")
    assert tls.pairs[0].end_point == before[0]
    assert tls.pairs[1].end_point != before[1]
    assert sent(tls) == sent(tls, "bad.example.org") == "bad.example.org"
    write_pair(tmp_path, "bad.example.org")
    assert tls.reload() == []
    assert tls.pairs[0].end_point != before[0]


def test_all_bad_pairs_are_told_at_once(tmp_path: Path) -> None:
    pairs = [write_pair(tmp_path, f"{name}.example.org") for name in "abc"]
    missing(*pairs[0])
    key_is_noise(*pairs[2])
    with pytest.raises(CertificateError) as caught:
        server_tls(tmp_path, *pairs)
    assert len(str(caught.value).splitlines()) == 2


def test_the_end_point_is_the_hash_of_what_was_sent(tmp_path: Path) -> None:
    """SCRAM-PLUS fails, or worse, if it binds to another certificate than the client has seen."""
    strong = write_pair(tmp_path, "b.example.org", hash_algorithm=hashes.SHA384())
    tls = server_tls(tmp_path, write_pair(tmp_path, "a.example.org"), strong)
    for name, digest in (("a.example.org", hashlib.sha256), ("b.example.org", hashlib.sha384)):
        theirs, ours = shake(tls, name)
        octets = theirs.getpeercert(binary_form=True)
        assert octets is not None
        assert tls.end_point_for(ours) == digest(octets).digest()


def test_the_end_point_of_a_session_outlives_a_renewal(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, "a.example.org")
    tls = server_tls(tmp_path, pair)
    _, ours = shake(tls)
    before = tls.end_point_for(ours)
    write_pair(tmp_path, "a.example.org")
    assert tls.reload() == []
    assert tls.end_point_for(ours) == before
    assert tls.end_point_for(shake(tls)[1]) not in (before, b"")


def test_no_end_point_is_defined_for_a_signature_without_hash(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, "a.example.org", key=ed25519.Ed25519PrivateKey.generate())
    assert load_pair(*pair, datetime.now(UTC)).end_point == b""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed_after_a_reload(tmp_path: Path, version: ssl.TLSVersion) -> None:
    pairs = write_pair(tmp_path, "a.example.org"), write_pair(tmp_path, "b.example.org")
    tls = server_tls(tmp_path, *pairs)
    client = client_context(version=version)
    session = shake(tls, "b.example.org", client)[0].session
    write_pair(tmp_path, "b.example.org")
    assert tls.reload() == []
    theirs, _ = shake(tls, "b.example.org", client, session)
    assert theirs.session_reused


def serve_one(tls: ServerTls, server: socket.socket) -> None:
    with tls.context.wrap_socket(server, server_side=True) as connection:
        connection.sendall(b"220 hello")
        connection.recv(100)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed_at_another_worker(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Contexts made in each worker would have keys of their own, and every second client would start anew."""
    tls = server_tls(tmp_path, write_pair(tmp_path, "a.example.org"))
    client = client_context(version=version)
    session: ssl.SSLSession | None = None
    reused = []
    for _ in range(3):
        ours, theirs = socket.socketpair()
        worker = FORK.Process(target=serve_one, args=(tls, ours))
        worker.start()
        ours.close()
        with client.wrap_socket(theirs, server_hostname="a.example.org", session=session) as connection:
            assert connection.recv(100) == b"220 hello"
            reused.append(bool(connection.session_reused))
            session = connection.session
            connection.sendall(b"QUIT")
        worker.join(10)
        assert worker.exitcode == 0
    assert reused == [False, True, True]


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_both_loops_hand_out_what_the_end_point_needs(tmp_path: Path, loop_factory: Any) -> None:
    tls = server_tls(tmp_path, write_pair(tmp_path, "a.example.org"), write_pair(tmp_path, "b.example.org"))

    async def main() -> tuple[bytes, bytes]:
        seen: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.set_result(tls.end_point_for(writer.get_extra_info("ssl_object")))
            writer.close()

        server = await asyncio.start_server(session, "127.0.0.1", 0, ssl=tls.context)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_context(), server_hostname="b.example.org"
        )
        octets = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        await reader.read()
        writer.close()
        server.close()
        return await seen, octets

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        end_point, octets = runner.run(main())
    assert end_point == hashlib.sha256(octets).digest()


def test_a_change_is_told_once_and_only_when_it_has_settled(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "a.example.org")
    watch = CertificateWatch([certificate, key])
    assert [watch.changed(), watch.changed()] == [False, False]
    new = write_pair(tmp_path / "new", "a.example.org")
    new[0].replace(certificate)
    assert not watch.changed()  # half of a renewal
    new[1].replace(key)
    assert not watch.changed()
    assert [watch.changed(), watch.changed()] == [True, False]
    key.unlink()
    assert [watch.changed(), watch.changed(), watch.changed()] == [False, True, False]


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    """This is how certbot renews: `live/` holds links."""
    old, new = write_pair(tmp_path, "old.example.org")[0], write_pair(tmp_path, "new.example.org")[0]
    link = tmp_path / "live.pem"
    link.symlink_to(old)
    watch = CertificateWatch([link])
    link.unlink()
    link.symlink_to(new)
    assert [watch.changed(), watch.changed()] == [False, True]


def test_a_renewal_is_noticed_and_taken(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, "a.example.org")
    tls = server_tls(tmp_path, pair)
    before = tls.pairs[0].end_point
    write_pair(tmp_path, "a.example.org")
    assert [tls.changed(), tls.changed()] == [False, True]
    assert tls.reload() == []
    assert tls.pairs[0].end_point != before
    assert not tls.changed()
