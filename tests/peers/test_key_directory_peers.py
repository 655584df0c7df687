"""GnuPG finds our users' keys in our key directory, by both methods, as anybody's would."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.programs import program
from tests.seal import scene
from tests.seal.scene import NOW
from tests.support.certificates import Authority

from gatepost.seal.key_names import wkd_hash
from gatepost.seal.port import PublishedKey
from gatepost.store.sqlite.keys import SqliteKeys

ADA = "ada@example.org"
ROOT = Path(__file__).parents[2]


def prepare(folder: Path, host: str) -> str:
    """What the namespace needs; the fingerprint of Ada's published key."""
    authority = Authority(folder)
    authority.server_context(host)  # leaves pair.pem
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    key = scene.pgp(ADA).key
    keys = SqliteKeys(folder / "keys.db")
    published = PublishedKey(
        address=ADA, kind="openpgp", fingerprint=key.fingerprint, material=key.material, wkd_hash=wkd_hash("ada"),
        since=NOW,
    )  # fmt: skip
    asyncio.run(keys.publish(published))
    keys.close()
    return key.fingerprint


def gpg_finds(folder: Path, host: str, address: str) -> subprocess.CompletedProcess[str]:
    """What gpg says when it locates the key of `address` in a network where only our key directory is."""
    unshare, gpg = program("unshare"), program("gpg")
    home = folder / "gnupg"
    home.mkdir(mode=0o700)
    (home / "dirmngr.conf").write_text("standard-resolver\n")
    alone = [str(unshare), "--user", "--map-root-user", "--net", "--mount"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system gives nobody a network namespace; run the tests as root, or allow user namespaces")
    look = [str(gpg), "--batch", "--auto-key-locate", "clear,nodefault,wkd", "--locate-keys", address]
    environment = {**os.environ, "GNUPGHOME": str(home), "LC_ALL": "C"}
    try:
        return subprocess.run(
            [*alone, sys.executable, "-m", "tests.peers.network_of_its_own", str(folder), host, *look],
            capture_output=True, text=True, timeout=120, check=False, env=environment, cwd=ROOT,
        )  # fmt: skip
    finally:
        subprocess.run([str(program("gpgconf")), "--kill", "all"], env=environment, check=False, capture_output=True)


@pytest.mark.parametrize("host", ["openpgpkey.example.org", "example.org"])
def test_gpg_locates_a_published_key(tmp_path: Path, host: str) -> None:
    fingerprint = prepare(tmp_path, host)
    ran = gpg_finds(tmp_path, host, ADA)
    assert ran.returncode == 0, ran.stderr
    assert fingerprint.upper() in ran.stdout.replace(" ", "")


def test_gpg_finds_nothing_of_an_address_without_a_key(tmp_path: Path) -> None:
    prepare(tmp_path, "openpgpkey.example.org")
    ran = gpg_finds(tmp_path, "openpgpkey.example.org", "eve@example.org")
    assert ran.returncode == 2
    assert "via WKD: No data" in ran.stderr  # what gpg makes of 404
