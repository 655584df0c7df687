"""`python -m bench.dkim`: what DKIM costs a message, by the processor's time, when its keys are in the DNS cache.

Told for each kind of signature: microseconds in the best of some rounds, from the walked header section to the result,
and what of it is the arithmetic of the key. Then what a message without a signature pays for the same. `--octets N` for
another size of the body, `--verifications N` for longer or shorter rounds.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import sys
from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.spf import microseconds
from gatepost.intake.content import HeldHeaders, MessageContent, header_facts
from gatepost.mail.authentication_results import authentication_results, dkim_results
from gatepost.mail.dkim import DkimResult
from gatepost.mail.header import HeaderSection, section_end, walk
from gatepost.ports.resolver import Answer, Outcome
from gatepost.verify.dkim import Verification
from gatepost.verify.dkim_body import BodyHash
from gatepost.verify.dkim_fields import SignedFields
from gatepost.verify.dkim_key import key_among
from gatepost.verify.dkim_signature import Canonicalization

NOW: Final = 1_760_000_000.0
KEY_NAME: Final = "s1._domainkey.far.example"
SIGNED: Final = ("from", "to", "subject", "date", "message-id", "mime-version", "content-type", "reply-to")
HEADER: Final = (
    b"Received: from client.far.example ([192.0.2.7])\r\n\tby mx.far.example with ESMTPS id 0123456789;\r\n"
    b"\tThu, 09 Oct 2025 08:53:20 +0000\r\nFrom: Bob <bob@far.example>\r\nTo: Ada <ada@example.org>\r\n"
    b"Subject: what the second quarter brought, and\r\n what the third one will\r\n"
    b"Date: Thu, 09 Oct 2025 08:53:20 +0000\r\nMessage-ID: <0123456789@far.example>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nReply-To: bob@far.example\r\nX-Mailer: none\r\n\r\n"
)
LINE: Final = b"A line of text as people write it, with words, commas, and a full stop at its end.\r\n"
TABLE: Final = b"A line as programs write it,   with runs of blanks\tand tabs in it, and a blank at its end. \r\n"


class Kind(NamedTuple):
    what: str
    canonicalization: Canonicalization
    is_rsa: bool


KINDS: Final = (
    Kind("rsa-sha256, 2048 bits, relaxed/relaxed", "relaxed", is_rsa=True),
    Kind("rsa-sha256, 2048 bits, simple/simple", "simple", is_rsa=True),
    Kind("ed25519-sha256, relaxed/relaxed", "relaxed", is_rsa=False),
)


class Signed(NamedTuple):
    """A message that is signed, and what the DNS says of its key."""

    header: HeaderSection
    body: bytes
    answers: dict[str, Answer]


class _Nowhere:
    """A spool's content that keeps nothing."""

    octets = 0

    def write(self, octets: bytes) -> None: ...
    def finish(self) -> None: ...
    def discard(self) -> None: ...


def sign(kind: Kind, body: bytes) -> Signed:
    """HEADER and `body` with a signature of this kind; made with the evaluator's own canonical forms, since what is
    measured is its time and what it says is tested elsewhere."""
    hashed = BodyHash([(kind.canonicalization, None)])
    hashed.feed(body)
    hashed.finish()
    digest = base64.b64encode(hashed.digest(kind.canonicalization, None)).decode()
    tags = {
        "v": "1", "a": "rsa-sha256" if kind.is_rsa else "ed25519-sha256", "d": "far.example", "s": "s1",
        "c": f"{kind.canonicalization}/{kind.canonicalization}", "t": str(int(NOW) - 60), "h": ":".join(SIGNED),
        "bh": digest,
    }  # fmt: skip
    field = "DKIM-Signature: " + ";\r\n\t".join(f"{name}={value}" for name, value in tags.items()) + ";\r\n\tb="
    unsigned = walk(field.encode() + b"\r\n" + HEADER)
    fields = SignedFields(unsigned)
    to_sign = fields.digest(0, fields.chosen(0, SIGNED), kind.canonicalization)
    if kind.is_rsa:
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        octets = private.sign(to_sign, padding.PKCS1v15(), Prehashed(SHA256()))
        public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        record = "v=DKIM1; k=rsa; p="
    else:
        edwards = ed25519.Ed25519PrivateKey.generate()
        octets, public = edwards.sign(to_sign), edwards.public_key().public_bytes_raw()
        record = "v=DKIM1; k=ed25519; p="
    record += base64.b64encode(public).decode()
    signature = base64.b64encode(octets).decode()
    head = f"{field}{signature}\r\n".encode() + HEADER
    return Signed(walk(head), body, {KEY_NAME: Answer(Outcome.FOUND, (record,), KEY_NAME, 3600)})


def verify(message: Signed) -> DkimResult:
    """As the gate does it where the key is known."""
    verification = Verification(message.header, NOW)
    verification.feed(message.body)
    (result,) = verification.results(message.answers)
    return result


def key_alone(message: Signed) -> Callable[[], object]:
    """The check of a signature by the key, whatever is signed."""
    key = key_among(message.answers[KEY_NAME].records)
    signature, digest = b"\0" * (256 if key.algorithm == "rsa-sha256" else 64), hashlib.sha256(b"").digest()
    return lambda: key.has_made(signature, digest)


def take(body: bytes, authserv_id: str) -> Callable[[], object]:
    """A message without a signature passes, and nothing is kept of it; with a name, what is claimed in it is sought."""
    assert section_end(HEADER) == len(HEADER)
    message, held = HEADER + body, HeldHeaders()

    def run() -> None:
        content = MessageContent(_Nowhere(), 2**30, held, drop_bcc=False, authserv_id=authserv_id)  # type: ignore[arg-type]
        content.write(message)
        facts = header_facts(content.finish()[1])
        if authserv_id and not facts.is_signed:
            authentication_results(authserv_id, dkim_results(()))

    return run


def main(words: list[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.dkim", description="DKIM signatures, measured.")
    parser.add_argument("--octets", type=int, default=10_240)
    parser.add_argument("--verifications", type=int, default=3000)
    given = parser.parse_args(words)
    body = ((9 * LINE + TABLE) * (given.octets // (9 * len(LINE)) + 1))[: given.octets]
    for kind in KINDS:
        message = sign(kind, body)
        found = verify(message)
        assert found.result == "pass", found
        whole = microseconds(lambda: verify(message), given.verifications)  # noqa: B023
        key = microseconds(key_alone(message), given.verifications)
        print(f"{whole:7.1f} us, of which the key {key:5.1f}  {kind.what}", flush=True)
    with_dkim, without = (microseconds(take(body, name), given.verifications) for name in ("mx.example.org", ""))
    print(f"{max(0.0, with_dkim - without):7.1f} us  a message without a signature: claims sought, dkim=none written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
