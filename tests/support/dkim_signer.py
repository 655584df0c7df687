"""Signs messages as RFC 6376 says, for tests: with every knob that a test wants to turn, and mistakes on request.

Written apart from `gatepost.verify`: regular expressions over whole messages, as the text of the RFC reads.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

DOMAIN: Final = "example.net"
SELECTOR: Final = "s1"
KEY_NAME: Final = f"{SELECTOR}._domainkey.{DOMAIN}"
PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ed25519_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def key_record(key: PrivateKey, **tags: str) -> str:
    """The TXT record of a key; tags replace or add to its own."""
    if isinstance(key, rsa.RSAPrivateKey):
        kind, public = "rsa", key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        kind, public = "ed25519", key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    own = {"v": "DKIM1", "k": kind, "p": base64.b64encode(public).decode(), **tags}
    return "; ".join(f"{name}={value}" for name, value in own.items())


def signed(message: bytes, key: PrivateKey | None = None, **tags: Any) -> bytes:
    """`message` with a signature on top. tags: of the signature, replaced or added; None leaves one out."""
    return signature(message, key, **tags) + message


def signature(message: bytes, key: PrivateKey | None = None, **tags: Any) -> bytes:
    """The DKIM-Signature field of `message`, with its line end."""
    key = key or rsa_key()
    head, _, body = message.partition(b"\r\n\r\n")
    own: dict[str, Any] = {
        "v": "1", "a": "rsa-sha256" if isinstance(key, rsa.RSAPrivateKey) else "ed25519-sha256",
        "c": "relaxed/relaxed", "d": DOMAIN, "s": SELECTOR, "h": "from:to:subject:date", **tags,
    }  # fmt: skip
    given = own.pop("b", None)
    header_kind, _, body_kind = str(own["c"] or "simple").partition("/")
    hashed = canonical_body(body, body_kind or "simple")
    if own.get("l") is not None:
        hashed = hashed[: int(own["l"])]
    own.setdefault("bh", base64.b64encode(hashlib.sha256(hashed).digest()).decode())
    text = "DKIM-Signature: " + ";\r\n\t".join(f"{name}={value}" for name, value in own.items() if value is not None)
    unsigned = f"{text};\r\n\tb=".encode()
    names = str(own["h"] or "").split(":")
    data = b"".join(canonical_fields(head + b"\r\n", names, header_kind))
    data += canonical_field(unsigned, header_kind).removesuffix(b"\r\n")
    octets = given or base64.b64encode(_sign(key, hashlib.sha256(data).digest())).decode()
    return unsigned + "\r\n\t ".join(re.findall(".{1,60}", octets)).encode() + b"\r\n"


def _sign(key: PrivateKey, digest: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(digest, padding.PKCS1v15(), Prehashed(SHA256()))
    return key.sign(digest)


def canonical_body(body: bytes, kind: str) -> bytes:
    """§3.4.3, §3.4.4, the whole body at once."""
    if kind == "relaxed":
        lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
        body = b"\r\n".join(lines)
    body = re.sub(rb"(\r\n)*\Z", b"", body)
    return b"" if not body and kind == "relaxed" else body + b"\r\n"


def canonical_fields(head: bytes, names: list[str], kind: str) -> list[bytes]:
    fields = re.findall(rb"[^\r\n][^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", head)
    chosen = []
    for name in names:
        for at in range(len(fields) - 1, -1, -1):
            if fields[at].partition(b":")[0].strip().lower() == name.strip().lower().encode():
                chosen.append(canonical_field(fields.pop(at), kind))
                break
    return chosen


def canonical_field(field: bytes, kind: str) -> bytes:
    if kind != "relaxed":
        return field
    name, _, value = field.partition(b":")
    value = re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip(b" ")
    return name.strip().lower() + b":" + value + b"\r\n"


def answers(records: Mapping[str, str]) -> dict[str, Any]:
    """As the evaluator wants the DNS: by name, the records that are there."""
    from gatepost.ports.resolver import Answer, Outcome

    return {name: Answer(Outcome.FOUND, (text,), name, ttl=300) for name, text in records.items()}
