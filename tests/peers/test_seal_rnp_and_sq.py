"""RNP and Sequoia's sq open what we seal and find the signature good; we open what they make, and find theirs good."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pysequoia
import pytest
from tests.peers.test_seal_peers import ADA, LARGE, armoured, pgp_mime
from tests.programs import program
from tests.seal import scene
from tests.seal.scene import BODY, MESSAGE, NOW, Person
from tests.seal.test_vectors import CORPUS

from gatepost.seal.keys import check_key
from gatepost.seal.model import KnownKey, RecipientKey, Sealed, SealOptions, Secret, SigningKey
from gatepost.seal.opening import open_
from gatepost.seal.sealing import seal

INNER = b"Content-Type: text/plain\r\n\r\nHello Bob\r\n"


class Peer(Protocol):
    """Another program, and bob's and ada's keys in it."""

    def opens(self, message: bytes) -> bytes:
        """The text of an armoured message to bob, whose signature is ada's and good."""
        ...

    def makes(self, text: bytes) -> bytes:
        """`text`, signed by ada for bob."""
        ...

    def generates(self, address: str) -> tuple[bytes, bytes]:
        """A new key for `address`: public and private."""
        ...


def run(*words: str, given: bytes = b"", folder: Path) -> tuple[bytes, bytes]:
    done = subprocess.run(
        words, input=given, capture_output=True, check=False, cwd=folder, env={**os.environ, "HOME": str(folder)}
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout, done.stderr


class Rnp:
    """RNP, in a folder of its own."""

    def __init__(self, folder: Path, bob: Path, ada: Path, address: str) -> None:
        self._folder, self._address = folder, address
        for file in (bob, ada):
            self._keys("--import-keys", str(file))

    def _keys(self, *words: str) -> bytes:
        return run(str(program("rnpkeys")), "--homedir", str(self._folder), *words, folder=self._folder)[0]

    def _rnp(self, *words: str, given: bytes) -> tuple[bytes, bytes]:
        name = str(program("rnp"))
        options = ("--homedir", str(self._folder), "--notty", "--password", "", "--output", "-")
        return run(name, *options, *words, "-", given=given, folder=self._folder)

    def opens(self, message: bytes) -> bytes:
        text, said = self._rnp("--decrypt", given=message)
        assert b"Good signature" in said, said
        return text

    def makes(self, text: bytes) -> bytes:
        words = ("--encrypt", "--sign", "--armor", "-z", "0", "-r", self._address, "-u", ADA)
        return self._rnp(*words, given=text)[0]

    def generates(self, address: str) -> tuple[bytes, bytes]:
        self._keys("--generate-key", "--numbits", "3072", "--userid", address, "--password", "")
        export = ("--export-key", address)
        return self._keys(*export), self._keys(*export, "--secret")


class Sq:
    """sq, which keeps nothing."""

    def __init__(self, folder: Path, bob: Path, ada: Path, address: str) -> None:
        self._folder, self._bob, self._ada = folder, str(bob), str(ada)

    def _sq(self, *words: str, given: bytes = b"") -> tuple[bytes, bytes]:
        return run(str(program("sq")), *words, given=given, folder=self._folder)

    def opens(self, message: bytes) -> bytes:
        words = ("decrypt", "--recipient-key", self._bob, "--signer-cert", self._ada, "--signatures", "1")
        return self._sq(*words, given=message)[0]

    def makes(self, text: bytes) -> bytes:
        words = ("encrypt", "--recipient-cert", self._bob, "--signer-key", self._ada, "--compression", "none")
        return self._sq(*words, given=text)[0]

    def generates(self, address: str) -> tuple[bytes, bytes]:
        file = self._folder / "new"
        self._sq("key", "generate", "--userid", f"<{address}>", "--export", str(file))
        return self._sq("key", "extract-cert", str(file))[0], file.read_bytes()


@pytest.fixture(scope="module", params=["cv25519", "rsa3072", "nistp384"])
def people(request: Any) -> tuple[Person, Person]:
    """Bob, whose key says that he reads what was usual before RFC 9580, and ada, who signs."""
    material = (CORPUS / f"{request.param}.key.asc").read_bytes()
    bob = scene.pgp_person(pysequoia.Tsk.from_bytes(material), f"{request.param}@example.net")
    return bob, scene.pgp_person(scene.pgp_key(ADA, profile=pysequoia.Profile.RFC4880), ADA)


def sealed(key: RecipientKey, signer: SigningKey | None = None, message: bytes = MESSAGE) -> bytes:
    result = seal(message, {key.address: key}, signer, SealOptions(now=NOW))
    assert isinstance(result, Sealed), result
    return result.messages[0].octets


@pytest.fixture(params=[Rnp, Sq])
def peer(request: Any, people: tuple[Person, Person], tmp_path: Path) -> Peer:
    files = [tmp_path / "bob.pgp", tmp_path / "ada.pgp"]
    for file, person in zip(files, people, strict=True):
        file.write_bytes(person.secret.material)
    make: Callable[..., Peer] = request.param
    return make(tmp_path, *files, people[0].key.address)


def test_they_open_what_we_seal_and_find_the_signature_good(peer: Peer, people: tuple[Person, Person]) -> None:
    bob, ada = people
    text = peer.opens(armoured(sealed(bob.key, ada.signing)))
    assert b"Subject: The offer to Cardiff\r\n" in text
    assert text.endswith(BODY)


@pytest.mark.parametrize("people", ["cv25519"], indirect=True)
def test_they_open_large_messages_whatever_their_length(peer: Peer, people: tuple[Person, Person]) -> None:
    bob, ada = people
    for more in range(3):
        text = peer.opens(armoured(sealed(bob.key, ada.signing, LARGE + b"x" * more + b"\r\n")))
        assert text.endswith(b"x" * more + b"\r\n")
        assert len(text) > len(LARGE)


def test_we_open_what_they_make_and_find_the_signature_good(peer: Peer, people: tuple[Person, Person]) -> None:
    bob, ada = people
    opened = open_(pgp_mime(peer.makes(INNER)), [bob.secret], [ada.known()], NOW)
    assert opened.text is not None, opened.verdict
    assert opened.text.endswith(b"\r\n\r\nHello Bob\r\n")
    assert opened.verdict.signature == "good", opened.verdict
    known = KnownKey(kind="openpgp", material=bob.key.material, trusted_because="another one")
    assert open_(pgp_mime(peer.makes(INNER)), [bob.secret], [known], NOW).verdict.signature == "unknown"


@pytest.mark.parametrize("people", ["cv25519"], indirect=True)
def test_keys_that_they_make_are_encrypted_to_and_open(peer: Peer) -> None:
    public, private = peer.generates("dan@example.net")
    key = check_key(public, "dan@example.net", NOW)
    assert isinstance(key, RecipientKey), key
    opened = open_(sealed(key), [Secret(kind="openpgp", material=private)], [], NOW)
    assert opened.text is not None, opened.verdict
    assert opened.text.endswith(BODY)
