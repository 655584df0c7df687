from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient, ScramException

from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.sasl.mechanism import Action, Challenge, Failure, NeedsVerifiers, Success
from gatepost.protocol.sasl.saslprep import saslprep
from gatepost.protocol.sasl.scram import derive_keys
from gatepost.protocol.sasl.scram_server import ScramSha256, ScramSha256Plus

CORPUS = json.loads((Path(__file__).parents[2] / "corpus" / "scram" / "vectors.json").read_text())
VECTOR: dict[str, Any] = next(v for v in CORPUS["vectors"] if v["mechanism"] == "SCRAM-SHA-256")
NEGATIVE = {case["what"]: case["expect"] for case in CORPUS["negative"]}
END_POINT = bytes(range(32))


class Kept(msgspec.Struct, frozen=True):
    """A verifier as an account keeps it."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


def kept(password: str, salt: bytes = b"0123456789abcdef", iterations: int = 4096) -> Kept:
    keys = derive_keys(password, salt, iterations)
    return Kept(salt, iterations, keys.stored_key, keys.server_key)


OF_VECTOR = Kept(
    base64.b64decode(VECTOR["salt_b64"]),
    VECTOR["iterations"],
    base64.b64decode(VECTOR["stored_key_b64"]),
    base64.b64decode(VECTOR["server_key_b64"]),
)


def run(
    first: str | bytes = VECTOR["client_first"],
    final: str | bytes = VECTOR["client_final"],
    *,
    plus_offered: bool = False,
) -> Action:
    """The last action of the vector's exchange, with what is given put in place of the client's own messages."""
    server = ScramSha256(VECTOR["server_nonce"], plus_offered=plus_offered)
    action = server.step(first if isinstance(first, bytes) else first.encode())
    if not isinstance(action, NeedsVerifiers):
        return action
    action = server.supply([OF_VECTOR])
    assert isinstance(action, Challenge)
    return server.step(final if isinstance(final, bytes) else final.encode())


def test_the_keys_of_a_password_are_the_published_ones() -> None:
    assert kept(VECTOR["password"], OF_VECTOR.salt, 4096) == OF_VECTOR


def test_the_published_exchange_is_spoken_octet_for_octet() -> None:
    server = ScramSha256(VECTOR["server_nonce"])
    assert server.start() == Challenge(b"")
    assert server.step(VECTOR["client_first"].encode()) == NeedsVerifiers("user")
    assert server.supply([OF_VECTOR]) == Challenge(VECTOR["server_first"].encode())
    assert server.step(VECTOR["client_final"].encode()) == Success("user", VECTOR["server_final"].encode(), 0)


FINAL: str = VECTOR["client_final"]
HEAD, PROOF = FINAL.rsplit(",p=", 1)
NONCE: str = VECTOR["client_nonce"]


def flipped(proof: str) -> str:
    octets = bytearray(base64.b64decode(proof))
    octets[-1] ^= 1
    return base64.b64encode(octets).decode()


@pytest.mark.parametrize(
    ("what", "action", "kind"),
    [
        ("proof off by one bit", lambda: run(final=f"{HEAD},p={flipped(PROOF)}"), "refused"),
        ("nonce not the one issued", lambda: run(final=f"{HEAD[:-1]}1,p={PROOF}"), "refused"),
        ("nonce shortened to the client part", lambda: run(final=f"c=biws,r={NONCE},p={PROOF}"), "refused"),
        (
            "channel-binding flag y, but the server offers -PLUS",
            lambda: run(first=f"y,,n=user,r={NONCE}", plus_offered=True),
            "refused",
        ),
        ("c= does not repeat the gs2 header", lambda: run(final=FINAL.replace("biws", "eSws")), "refused"),
        ("mandatory extension m=", lambda: run(first=f"n,,m=x,n=user,r={NONCE}"), "malformed"),
        ("user name with a bare equals sign", lambda: run(first=f"n,,n=us=er,r={NONCE}"), "malformed"),
        ("authorization identity of another user", lambda: run(first=f"n,a=other,n=user,r={NONCE}"), "refused"),
        ("empty p=", lambda: run(final=f"{HEAD},p="), "malformed"),
        ("p= not base64", lambda: run(final=f"{HEAD},p=!!!!"), "malformed"),
        # further ones of our own
        ("no proof", lambda: run(final=HEAD), "malformed"),
        ("proof too short", lambda: run(final=f"{HEAD},p=AAAA"), "refused"),
        ("proof too long", lambda: run(final=f"{HEAD},p={'AAAA' * 12}"), "refused"),
        ("mandatory extension in the final message", lambda: run(final=f"{HEAD},m=x,p={PROOF}"), "malformed"),
        ("binds, but to a mechanism without", lambda: run(first=f"p=tls-unique,,n=user,r={NONCE}"), "refused"),
        ("no such flag", lambda: run(first=f"x,,n=user,r={NONCE}"), "malformed"),
        ("no gs2 header", lambda: run(first=f"n=user,r={NONCE}"), "malformed"),
        ("no nonce", lambda: run(first="n,,n=user"), "malformed"),
        ("empty nonce", lambda: run(first="n,,n=user,r="), "malformed"),
        ("nonce with a blank", lambda: run(first="n,,n=user,r=a b"), "malformed"),
        ("endless nonce", lambda: run(first=f"n,,n=user,r={'a' * 257}"), "malformed"),
        ("no name", lambda: run(first=f"n,,n=,r={NONCE}"), "malformed"),
        ("nonce before name", lambda: run(first=f"n,,r={NONCE},n=user"), "malformed"),
        ("NUL in the name", lambda: run(first=f"n,,n=us\0er,r={NONCE}"), "malformed"),
        ("no UTF-8", lambda: run(first=b"n,,n=\xff,r=abc"), "malformed"),
        ("too long", lambda: run(first=f"n,,n=user,r=abc,x={'y' * 4096}"), "malformed"),
        ("empty", lambda: run(first=b""), "malformed"),
    ],
)
def test_what_is_not_right_does_not_log_in(what: str, action: Any, kind: str) -> None:
    result = action()
    assert isinstance(result, Failure)
    assert result.kind == kind


def test_every_negative_vector_has_its_test() -> None:
    here = Path(__file__).read_text()
    elsewhere = {"no such user", "escaped comma and equals sign"}  # test_authentication; right below
    assert [what for what in NEGATIVE if what not in here and what not in elsewhere] == []


def test_escaped_commas_and_equals_signs_in_a_name_are_decoded() -> None:
    assert ScramSha256("n").step(b"n,,n=us=2Cer=3D,r=abc") == NeedsVerifiers("us,er=")


def test_an_authorization_identity_that_is_the_login_itself_is_fine() -> None:
    assert ScramSha256("n").step(b"n,a=Ada@example.org,n=ada@example.org,r=abc") == NeedsVerifiers("ada@example.org")


def test_extensions_that_are_not_mandatory_are_passed_over() -> None:
    assert ScramSha256("n").step(b"n,,n=ada,r=abc,x=1,y=a=b") == NeedsVerifiers("ada")


def test_a_flag_y_is_honest_where_plus_was_not_offered() -> None:
    assert ScramSha256("n").step(b"y,,n=ada,r=abc") == NeedsVerifiers("ada")


def talk(client: ScramClient, server: ScramSha256, verifiers: list[Kept]) -> Action:
    """An independent client against our server, to the end."""
    action = server.step(client.get_client_first().encode())
    if isinstance(action, NeedsVerifiers):
        action = server.supply(verifiers)
        assert isinstance(action, Challenge)
        client.set_server_first(action.data.decode())
        action = server.step(client.get_client_final().encode())
        if isinstance(action, Success):
            client.set_server_final(action.data.decode())  # raises when our own proof is wrong
    return action


def scram_client(
    password: str, mechanisms: list[str], end_point: bytes = b"", name: str = "ada@example.org"
) -> ScramClient:
    binding = ("tls-server-end-point", end_point) if end_point else None
    return ScramClient(mechanisms, name, password, channel_binding=binding)


@pytest.mark.parametrize("password", ["correct horse", "pässwörd,=", "a" * 200, "\u00a0x", "\u2168"])
def test_an_independent_client_logs_in_and_believes_us(password: str) -> None:
    action = talk(
        scram_client(password, ["SCRAM-SHA-256"]), ScramSha256("abc"), [kept(saslprep(password, stored=True))]
    )
    assert isinstance(action, Success)
    assert action.name == "ada@example.org"


def test_each_of_an_accounts_passwords_logs_in_and_is_told_apart() -> None:
    verifiers = [kept("own password"), kept("phone"), kept("laptop")]
    for number, password in enumerate(["own password", "phone", "laptop"]):
        action = talk(scram_client(password, ["SCRAM-SHA-256"]), ScramSha256("abc"), verifiers)
        assert isinstance(action, Success)
        assert action.matched == number
    action = talk(scram_client("tablet", ["SCRAM-SHA-256"]), ScramSha256("abc"), verifiers)
    assert isinstance(action, Failure)


def test_a_client_that_binds_to_this_channel_logs_in() -> None:
    client = scram_client("pencil", ["SCRAM-SHA-256-PLUS"], END_POINT)
    assert isinstance(talk(client, ScramSha256Plus("abc", END_POINT), [kept("pencil")]), Success)


def test_a_client_that_saw_another_certificate_is_refused() -> None:
    client = scram_client("pencil", ["SCRAM-SHA-256-PLUS"], b"\xff" * 32)
    action = talk(client, ScramSha256Plus("abc", END_POINT), [kept("pencil")])
    assert action == Failure(
        "refused", "SCRAM-SHA-256-PLUS: the channel binding is not this connection's", "ada@example.org"
    )


@pytest.mark.parametrize("header", ["n,,", "y,,", "p=tls-unique,,", "p=tls-exporter,,"])
def test_plus_takes_only_its_own_binding(header: str) -> None:
    action = ScramSha256Plus("abc", END_POINT).step(f"{header}n=ada,r=abc".encode())
    assert isinstance(action, Failure)
    assert action.kind == "refused"


def test_a_replayed_final_message_fails_against_another_nonce() -> None:
    server = ScramSha256("another")
    server.step(VECTOR["client_first"].encode())
    server.supply([OF_VECTOR])
    assert isinstance(server.step(FINAL.encode()), Failure)


def test_a_valid_proof_over_another_nonce_than_ours_is_refused() -> None:
    # Whoever overheard an exchange, or chose both nonces, could else play it again.
    server = ScramSha256("fresh")
    server.step(b"n,,n=ada,r=abc")
    verifier = kept("pencil")
    challenge = server.supply([verifier])
    assert isinstance(challenge, Challenge)
    without_proof = "c=biws,r=abcstale"
    auth_message = f"n=ada,r=abc,{challenge.data.decode()},{without_proof}".encode()
    client_key = hmac.digest(hashlib.pbkdf2_hmac("sha256", b"pencil", verifier.salt, 4096), b"Client Key", "sha256")
    signature = hmac.digest(verifier.stored_key, auth_message, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()
    action = server.step(f"{without_proof},p={proof}".encode())
    assert action == Failure("refused", "SCRAM-SHA-256: the nonce is not the one we sent", "ada")


def test_the_client_notices_a_server_that_does_not_know_the_password() -> None:
    client = scram_client("pencil", ["SCRAM-SHA-256"])
    false = msgspec.structs.replace(kept("pencil"), server_key=b"x" * 32)
    with pytest.raises(ScramException):
        talk(client, ScramSha256("abc"), [false])


def test_steps_out_of_turn_are_our_own_mistake() -> None:
    server = ScramSha256("abc")
    with pytest.raises(LocalProtocolError):
        server.supply([OF_VECTOR])
    server.step(b"n,,n=ada,r=abc")
    with pytest.raises(LocalProtocolError):
        server.step(b"c=biws,r=abcabc,p=AAAA")
    with pytest.raises(LocalProtocolError):
        server.supply([])
    with pytest.raises(LocalProtocolError):
        ScramSha256Plus("abc", b"")


MESSAGE = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(st.sampled_from(["n", "y", "", "a=", "n=ada", "r=abc", "m=x", "c=biws", "p=AAAA", "=", "p=", "\0"])).map(
        lambda parts: ",".join(parts).encode()
    ),
)


@given(first=MESSAGE, final=MESSAGE)
def test_no_octets_of_a_client_raise_or_log_in(first: bytes, final: bytes) -> None:
    assert isinstance(run(first, final), Failure)
    assert isinstance(run(VECTOR["client_first"], final), Failure)
