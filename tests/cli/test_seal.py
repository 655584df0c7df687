"""`gatepost seal`, `gatepost open` and `gatepost sendmail --seal`, run as a person or a script runs them."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.test_sendmail import OWN, SENDMAIL, server
from tests.seal import scene
from tests.seal.scene import BODY, MESSAGE

__all__ = ["server"]
BOB, ADA = "bob@example.net", "ada@example.org"


@pytest.fixture
def keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of keys: Ada's private one, Bob's public one; a configuration that has nobody asked for others."""
    with (folder / "gatepost.toml").open("a") as file:
        file.write('[seal]\ndiscovery = ["pinned", "imported"]\n')
    monkeypatch.setenv("GATEPOST_CONFIG", str(folder / "gatepost.toml"))
    place = folder / "keys"
    (place / "private").mkdir(parents=True)
    (place / "bob.pgp").write_bytes(scene.pgp(BOB).key.material)
    private(place, "ada.pgp", scene.pgp(ADA).secret.material)
    monkeypatch.setenv("GATEPOST_KEYS", str(place))
    return place


def private(place: Path, name: str, octets: bytes) -> Path:
    path = place / "private" / name
    path.write_bytes(octets)
    path.chmod(0o600)
    return path


def run(*words: str, given: bytes = MESSAGE) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "gatepost", *words], input=given, capture_output=True, check=False, env=os.environ
    )


def test_what_is_sealed_by_one_command_is_opened_by_the_other(keys: Path) -> None:
    sealed = run("seal")
    assert (sealed.returncode, sealed.stderr) == (0, b"")
    assert b"Cardiff" not in sealed.stdout
    private(keys, "ada.pgp", scene.pgp(BOB).secret.material)
    (keys / "ada.pgp").write_bytes(scene.pgp(ADA).key.material)
    opened = run("open", given=sealed.stdout)
    assert opened.returncode == 0
    assert opened.stdout.endswith(BODY)
    assert b"Signed by ada@example.org" in opened.stderr
    assert b"trusted because you keep it in" in opened.stderr
    as_json = json.loads(run("open", "--json", given=sealed.stdout).stdout)
    assert as_json["verdict"]["signature"] == "good"


def test_what_was_changed_is_not_shown_and_exits_1(keys: Path) -> None:
    sealed = run("seal", given=MESSAGE).stdout
    at = sealed.index(b"\r\n-----END") - 40
    private(keys, "ada.pgp", scene.pgp(BOB).secret.material)
    changed = sealed[:at] + (b"B" if sealed[at : at + 1] == b"A" else b"A") + sealed[at + 1 :]
    opened = run("open", given=changed)
    assert (opened.returncode, opened.stdout) == (1, b"")
    assert b"Nothing is shown" in opened.stderr


def test_smime_with_a_key_and_an_authority_that_are_named(keys: Path, folder: Path) -> None:
    bob, ada = scene.smime(BOB), scene.smime(ADA)
    (folder / "bob.der").write_bytes(bob.key.material)
    (folder / "ca.der").write_bytes(scene.der(scene.authority()[0]))
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    for name, person in (("bob.pem", bob), ("ada.pem", ada)):
        own = x509.load_der_x509_certificate(person.key.material).public_bytes(Encoding.PEM)
        private(keys, name, person.secret.material + own)
    sealed = run("seal", "--key", str(folder / "bob.der"), "--private", str(keys / "private" / "ada.pem"))
    assert sealed.returncode == 0, sealed.stderr
    assert b"smime-type=authEnveloped-data" in sealed.stdout
    words = ["--private", str(keys / "private" / "bob.pem"), "--authority", str(folder / "ca.der")]
    opened = run("open", *words, given=sealed.stdout)
    assert opened.stdout.endswith(BODY), opened.stderr
    assert b"the authority in" in opened.stderr


def test_nothing_is_sealed_where_one_key_is_missing_and_all_that_are_missing_are_told(keys: Path) -> None:
    ran = run("seal", BOB, "carol@example.net", "dan@example.com")
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert b"no key for carol@example.net" in ran.stderr
    assert b"no key for dan@example.com" in ran.stderr


def test_several_messages_go_into_a_folder(keys: Path, folder: Path) -> None:
    (keys / "carol.pgp").write_bytes(scene.pgp("carol@example.net").key.material)
    ran = run("seal", BOB, "carol@example.net")
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert b"--into" in ran.stderr
    assert run("seal", "--into", str(folder / "out"), BOB, "carol@example.net").returncode == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["1.eml", "2.eml"]


def test_a_private_key_that_others_can_read_is_not_used(keys: Path) -> None:
    (keys / "private" / "ada.pgp").chmod(0o644)
    ran = run("seal")
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert b"chmod 600" in ran.stderr


def test_sendmail_seals_what_it_sends(gatepost, server, keys: Path) -> None:
    ran = gatepost(*SENDMAIL, "--seal", "-t", "-i", stdin="To: bob@example.net\nSubject: Secret\n\nThe offer\n")
    assert ran.code == 0
    assert "not signed" in ran.err
    assert "RCPT TO:<bob@example.net>" in server.heard
    assert b"Subject: [...]\r\n" in server.content
    assert b"multipart/encrypted" in server.content
    assert b"offer" not in server.content
    assert OWN.encode() in server.content
    assert pwd.getpwuid(os.getuid()).pw_name.encode() in server.content


def test_sendmail_leaves_alone_what_is_sealed_already(gatepost, server, keys: Path) -> None:
    sealed = run("seal").stdout.decode()
    assert gatepost(*SENDMAIL, "--seal", "-i", "carol@example.net", stdin=sealed).code == 0
    assert server.content.count(b"BEGIN PGP MESSAGE") == 1
    assert server.content.endswith(sealed.encode()[-60:] + b".\r\n")


def test_sendmail_sends_nothing_where_a_key_is_missing(gatepost, server, keys: Path) -> None:
    ran = gatepost(*SENDMAIL, "--seal", "bob@example.net", "carol@example.net", stdin="Subject: Secret\n\nx\n")
    assert ran.code == 77
    assert "no key for carol@example.net" in ran.err
    assert server.heard == []


def test_sign_only_leaves_it_readable_and_says_who_signed(keys: Path) -> None:
    signed = run("seal", "--sign-only")
    assert (signed.returncode, signed.stderr) == (0, b"")
    assert b"Subject: The offer to Cardiff\r\n" in signed.stdout
    (keys / "ada.pgp").write_bytes(scene.pgp(ADA).key.material)
    opened = run("open", given=signed.stdout)
    assert opened.returncode == 0
    assert b"Not encrypted" in opened.stderr
    assert b"Signed by ada@example.org" in opened.stderr
    changed = run("open", given=signed.stdout.replace(b"=46rom", b"=46rum"))
    assert (changed.returncode, changed.stdout) == (1, b"")
    assert b"does not hold" in changed.stderr
    again = run("seal", "--sign-only", given=signed.stdout)
    assert (again.returncode, again.stdout) == (1, b"")
    assert b"it is not signed twice" in again.stderr


def test_sign_only_needs_a_private_key_and_nobody_to_send_to(keys: Path) -> None:
    assert run("seal", "--sign-only", BOB).returncode == 2
    (keys / "private" / "ada.pgp").unlink()
    ran = run("seal", "--sign-only")
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert b"there is no private key of ada@example.org" in ran.stderr


def test_sendmail_signs_what_it_sends(gatepost, server, keys: Path) -> None:
    words = (*SENDMAIL, "--sign-only", "-i", "carol@example.net")  # for whom there is no key
    assert gatepost(*words, stdin=MESSAGE.decode()).code == 0
    assert server.content.count(b"BEGIN PGP SIGNATURE") == 1
    assert "RCPT TO:<carol@example.net>" in server.heard
    assert b"multipart/signed" in server.content
    assert b"Subject: The offer to Cardiff\r\n" in server.content


def test_sendmail_does_not_sign_what_is_signed_already(gatepost, server, keys: Path) -> None:
    signed = run("seal", "--sign-only").stdout.decode()
    assert gatepost(*SENDMAIL, "--sign-only", "-i", "carol@example.net", stdin=signed).code == 0
    assert server.content.count(b"BEGIN PGP SIGNATURE") == 1


def test_sendmail_sends_nothing_that_it_cannot_sign(gatepost, server, keys: Path) -> None:
    (keys / "private" / "ada.pgp").unlink()
    ran = gatepost(*SENDMAIL, "--sign-only", BOB, stdin=MESSAGE.decode())
    assert ran.code == 77
    assert "there is no private key of ada@example.org" in ran.err
    assert gatepost(*SENDMAIL, "--sign-only", "--seal", BOB, stdin=MESSAGE.decode()).code == 64
    assert server.heard == []
