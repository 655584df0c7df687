"""SCRAM-SHA-256 (RFC 5802, RFC 7677): the arithmetic, the verifier, and the grammar of a client's messages.

Written here and not taken from scramp: that library knows no authorization identity, draws its own random numbers, and
asks for the account in a call-back, where nothing may wait.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final

import msgspec

from gatepost.protocol.sasl.mechanism import MAX_NAME_OCTETS, text_of

HASH: Final = "sha256"
HASH_OCTETS: Final = 32
BINDING_TYPE: Final = (
    "tls-server-end-point"  # RFC 5929 §4; of the others ssl gives tls-unique only, which TLS 1.3 lacks
)
MAX_MESSAGE_OCTETS: Final = 4096
MAX_NONCE_CHARACTERS: Final = 256

_NONCE = re.compile(rf"[\x21-\x2b\x2d-\x7e]{{1,{MAX_NONCE_CHARACTERS}}}")
_EXTENSION = re.compile(r"[A-Za-ln-z]=[^,\0]+", re.DOTALL)  # `m=` would be mandatory, and we know none (§5.1)
_BINDING_NAME = re.compile(r"p=[A-Za-z0-9.-]+")


class ScramError(ValueError):
    """The client's message is not of SCRAM's grammar; the message quotes none of it."""


class Keys(msgspec.Struct, frozen=True):
    """StoredKey and ServerKey (RFC 5802 §3)."""

    stored_key: bytes
    server_key: bytes


def derive_keys(password: str, salt: bytes, iterations: int) -> Keys:
    """What a server keeps of `password` (prepared). It costs about 0.2 ms for each 1000 iterations."""
    salted = hashlib.pbkdf2_hmac(HASH, password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", HASH)
    return Keys(hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", HASH))


def is_proof(proof: bytes, stored_key: bytes, auth_message: bytes) -> bool:
    """Whether the client that sent `proof` knows the password (RFC 5802 §3)."""
    if len(proof) != HASH_OCTETS:
        return False
    signature = hmac.digest(stored_key, auth_message, HASH)
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), stored_key)


def server_signature(server_key: bytes, auth_message: bytes) -> bytes:
    """Our own proof: who does not have the verifier cannot make it."""
    return hmac.digest(server_key, auth_message, HASH)


class ClientFirst(msgspec.Struct, frozen=True):
    """The client's first message. header: the gs2-header as it came. flag: "n", "y" or "p"; binding_type: for "p"."""

    header: bytes
    flag: str
    binding_type: str
    authzid: str
    name: str
    nonce: str
    bare: str


def parse_client_first(octets: bytes) -> ClientFirst:
    """`gs2-header client-first-message-bare` (RFC 5802 §7). Raises ScramError."""
    message = _message(octets)
    parts = message.split(",", 2)
    if len(parts) != 3:
        raise ScramError("the first message has no gs2 header")
    flag, identity, bare = parts
    binding_type = ""
    if flag not in ("n", "y"):
        if _BINDING_NAME.fullmatch(flag) is None:
            raise ScramError("the channel binding flag is none of n, y, p=")
        flag, binding_type = "p", flag[2:]
    if identity and not identity.startswith("a="):
        raise ScramError("the authorization identity is malformed")
    attributes = bare.split(",")
    if attributes[0].startswith("m="):
        raise ScramError("a mandatory extension that we do not know")
    if len(attributes) < 2 or not attributes[0].startswith("n=") or not attributes[1].startswith("r="):
        raise ScramError("the first message does not begin with name and nonce")
    nonce = attributes[1][2:]
    if _NONCE.fullmatch(nonce) is None:
        raise ScramError("the nonce is malformed")
    _check_extensions(attributes[2:])
    return ClientFirst(
        header=f"{parts[0]},{identity},".encode(),
        flag=flag,
        binding_type=binding_type,
        authzid=_unescaped(identity[2:]) if identity else "",
        name=_unescaped(attributes[0][2:]),
        nonce=nonce,
        bare=bare,
    )


class ClientFinal(msgspec.Struct, frozen=True):
    """The client's final message. binding: the decoded c=."""

    binding: bytes
    nonce: str
    proof: bytes
    without_proof: str


def parse_client_final(octets: bytes) -> ClientFinal:
    """`c=...,r=...,[extensions,]p=...` (RFC 5802 §7). Raises ScramError."""
    without_proof, mark, proof = _message(octets).rpartition(",p=")
    attributes = without_proof.split(",")
    if not mark or len(attributes) < 2 or not attributes[0].startswith("c=") or not attributes[1].startswith("r="):
        raise ScramError("the final message does not hold binding, nonce and proof")
    _check_extensions(attributes[2:])
    return ClientFinal(_base64(attributes[0][2:]), attributes[1][2:], _base64(proof), without_proof)


def _message(octets: bytes) -> str:
    message = text_of(octets, MAX_MESSAGE_OCTETS)
    if message is None:
        raise ScramError("the message is empty, too long, no UTF-8 or holds a NUL")
    return message


def _check_extensions(attributes: list[str]) -> None:
    """Extensions that are not mandatory are passed over (§5.1)."""
    if any(_EXTENSION.fullmatch(attribute) is None for attribute in attributes):
        raise ScramError("an extension is malformed or mandatory")


def _unescaped(saslname: str) -> str:
    """`=2C` is a comma, `=3D` an equals sign; an equals sign stands for nothing else (§5.1)."""
    if not saslname or len(saslname.encode()) > MAX_NAME_OCTETS:
        raise ScramError("a name is empty or too long")
    rest = saslname.replace("=2C", "").replace("=3D", "")
    if "=" in rest:
        raise ScramError("an equals sign in a name is not escaped")
    return saslname.replace("=2C", ",").replace("=3D", "=")


def _base64(text: str) -> bytes:
    try:
        octets = binascii.a2b_base64(text.encode(), strict_mode=True)
    except binascii.Error as error:
        raise ScramError("a value is no base64") from error
    if not octets:
        raise ScramError("a value is empty")
    return octets


def base64_text(octets: bytes) -> str:
    """`octets` as a SCRAM message carries them."""
    return base64.b64encode(octets).decode("ascii")
