"""Configurations of the manual, made loadable: what they name on the reader's machine is put into a folder."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from tests.seal.scene import certificate, private_key

from gatepost.config import Config, load

LISTEN = '\n[[listen]]\naddress = "127.0.0.1:0"\nservice = "mx"\n'
SECRET = "a secret that nobody ever guesses"
PEM = "-----BEGIN NOTHING-----\n"


def loadable(text: str, folder: Path) -> str:
    """`text` with what an extract leaves out (hostname, a listener) and with files and a user that exist here."""
    document = tomllib.loads(text)
    if "hostname" not in document:
        text = 'hostname = "mx.example.org"\n' + text
    if "listen" not in document:
        text += LISTEN
    for name, path in re.findall(r'^\s*(certificate|key|client_ca)\s*=\s*"([^"]+)"', text, re.M):
        text = text.replace(f'"{path}"', f'"{_file(folder, path, PEM + name)}"')
    for path in re.findall(r'^\[\[seal\.signer\]\][^\[]*?^key\s*=\s*"([^"]+)"', text, re.M):
        text = text.replace(f'"{path}"', f'"{_file(folder, path, signing_key())}"')
    for path in re.findall(r'\{ file = "([^"]+)" \}', text):
        text = text.replace(f'"{path}"', f'"{_file(folder, path, SECRET)}"')
    return re.sub(r'^user(\s*)= "gatepost"', r'user\1= "nobody"', text, flags=re.M)


def loaded(text: str, folder: Path) -> Config:
    """Raises ConfigError."""
    file = folder / "gatepost.toml"
    file.write_text(loadable(text, folder), encoding="utf-8")
    return load(file)


@cache
def signing_key() -> str:
    """A private key with its certificate, locked as every secret of the manual is."""
    key = private_key("p256")
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(SECRET.encode()))
    return (locked + certificate("ada@example.org", key).public_bytes(Encoding.PEM)).decode()


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name.strip("/").replace("/", "_")
    path.write_text(text)
    path.chmod(0o600)
    return path
