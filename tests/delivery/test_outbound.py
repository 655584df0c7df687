from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.scripted_peer import ALL, CLOSE, SILENT, ScriptedPeer
from tests.support.virtual_time import LoopClock

from gatepost.delivery.outbound import Job, NextHop, OpenFailed, OutboundSession, RecipientResult, Timeouts
from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.ports.connect import TlsError, TlsState
from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.smtp.client_auth import Credentials
from gatepost.spool.port import SpoolError

HOP = NextHop("192.0.2.7", "mx.example.net")
CONTENT = b"From: ada@example.org\r\n\r\n.dot\r\ntext\r\n"
Brief = tuple[str, str, int, str]
Async = Callable[..., Coroutine[Any, Any, Any]]


@pytest.fixture
def clock() -> LoopClock:
    return LoopClock()


def job(body: bytes = CONTENT, recipients: int = 1, piece: int = 1000, **changes: Any) -> Job:
    paths = tuple(Recipient(Path(f"r{number}", "example.net")) for number in range(recipients))

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), piece):
            yield body[at : at + piece]

    made = Job(Envelope(Path("ada", "example.org"), paths), pieces, len(body))
    return msgspec.structs.replace(made, **changes)


async def opened(peer: ScriptedPeer, hop: NextHop = HOP, timeouts: Timeouts | None = None) -> OutboundSession:
    return await OutboundSession.open(peer, hop, "mx.example.org", peer.clock, timeouts)


async def failure(peer: ScriptedPeer, hop: NextHop = HOP, timeouts: Timeouts | None = None) -> OpenFailed:
    with pytest.raises(OpenFailed) as caught:
        await opened(peer, hop, timeouts)
    return caught.value


def brief(results: list[RecipientResult]) -> list[Brief]:
    return [(result.kind, result.at, result.reply.code, result.reply.esc) for result in results]


DELIVERED = ("delivered", "data", 250, "2.0.0")


# --- opening ---


async def test_a_message_is_delivered_and_the_session_can_be_used_again(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock)
    session = await opened(peer)
    for _ in range(2):
        assert session.is_reusable
        assert brief(await session.deliver(job(recipients=2))) == [DELIVERED, DELIVERED]
    await session.quit()
    assert peer.contents == [CONTENT, CONTENT]
    assert peer.connections == 1
    assert peer.lines == [
        "EHLO mx.example.org",
        *[
            f"MAIL FROM:<ada@example.org> SIZE={len(CONTENT)}",
            "RCPT TO:<r0@example.net>",
            "RCPT TO:<r1@example.net>",
            "DATA",
        ]
        * 2,
        "QUIT",
    ]
    assert not session.is_reusable


@pytest.mark.parametrize(
    ("replies", "result", "last_line"),
    [
        ({"greeting": "554 5.3.2 No service"}, ("failed", "connect", 554, ""), "QUIT"),
        ({"greeting": "450 4.3.2 Later"}, ("deferred", "connect", 450, ""), "QUIT"),
        ({"greeting": "421 Busy"}, ("deferred", "connect", 421, ""), None),
        ({"greeting": CLOSE}, ("deferred", "connect", 451, "4.4.2"), None),
        ({"greeting": SILENT}, ("deferred", "connect", 451, "4.4.2"), None),
        ({"greeting": "SSH-2.0-x"}, ("deferred", "connect", 451, "4.5.0"), None),
        ({"EHLO": "450 4.7.1 Later"}, ("deferred", "helo", 450, ""), "QUIT"),
        ({"EHLO": "550 no", "HELO": "550 go away"}, ("failed", "helo", 550, ""), "QUIT"),
        ({"EHLO": CLOSE}, ("deferred", "helo", 451, "4.4.2"), "EHLO mx.example.org"),
    ],
)
async def test_a_peer_that_does_not_take_the_session(
    clock: LoopClock, replies: dict[str, Any], result: Brief, last_line: str | None
) -> None:
    peer = ScriptedPeer(clock, **replies)
    failed = await failure(peer)
    assert brief([failed.result]) == [result]
    assert not failed.tls_failed
    assert (peer.lines[-1] if peer.lines else None) == last_line


async def test_a_connection_that_does_not_come_about_is_deferred(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock)
    peer.refuses_connection = True
    failed = await failure(peer)
    assert brief([failed.result]) == [("deferred", "connect", 451, "4.4.1")]
    assert "connection refused" in failed.result.reply.text
    assert not failed.result.by_peer


async def test_a_peer_from_before_ehlo_still_gets_its_mail(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, EHLO="502 What?")
    session = await opened(peer)
    assert brief(await session.deliver(job())) == [DELIVERED]
    assert peer.lines[1:3] == ["HELO mx.example.org", "MAIL FROM:<ada@example.org>"]


async def test_lmtp_says_lhlo_and_has_a_result_for_each_recipient(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, lmtp=True, dot=["250 2.0.0 Kept", "452 4.2.2 Full", "550 5.2.1 Closed"])
    session = await opened(peer, msgspec.structs.replace(HOP, protocol="lmtp"))
    results = await session.deliver(job(recipients=3))
    assert brief(results) == [DELIVERED, ("deferred", "data", 452, "4.2.2"), ("failed", "data", 550, "5.2.1")]
    assert peer.lines[0] == "LHLO mx.example.org"
    assert session.is_reusable


# --- TLS ---

TLS = (*ALL, "STARTTLS")


async def test_starttls_is_used_where_it_is_offered_and_ehlo_said_again(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, TLS)
    peer.offer_in_tls = ("PIPELINING",)
    session = await opened(peer)
    assert peer.lines == ["EHLO mx.example.org", "STARTTLS", "EHLO mx.example.org"]
    assert session.tls is not None
    assert not session.offer.dsn  # what was offered in clear is forgotten


@pytest.mark.parametrize(
    ("tls", "offer", "starttls", "result"),
    [
        ("off", TLS, "220 Go", None),
        ("may", ALL, "220 Go", None),
        ("may", TLS, "454 4.7.0 Not today", None),
        ("may", TLS, "421 Bye", ("deferred", "helo", 421, "")),
        ("encrypt", ALL, "220 Go", ("deferred", "helo", 454, "4.7.4")),
        ("encrypt", TLS, "454 4.7.0 Not today", ("deferred", "helo", 454, "4.7.0")),
        ("encrypt", TLS, "502 5.5.1 What", ("deferred", "helo", 502, "5.5.1")),
        ("verify", ALL, "220 Go", ("deferred", "helo", 454, "4.7.4")),
    ],
)
async def test_without_tls_it_goes_on_only_where_tls_is_not_required(
    clock: LoopClock, tls: Any, offer: tuple[str, ...], starttls: str, result: Brief | None
) -> None:
    peer = ScriptedPeer(clock, offer, STARTTLS=starttls)
    hop = msgspec.structs.replace(HOP, tls=tls)
    if result is None:
        session = await opened(peer, hop)
        assert session.tls is None
        assert brief(await session.deliver(job())) == [DELIVERED]
    else:
        assert brief([(await failure(peer, hop)).result]) == [result]


@pytest.mark.parametrize("tls", ["may", "encrypt", "verify"])
async def test_a_failed_handshake_says_so_and_is_deferred(clock: LoopClock, tls: Any) -> None:
    peer = ScriptedPeer(clock, TLS)
    peer.tls_result = TlsError("192.0.2.7 port 25: TLS handshake failed: no protocols available")
    failed = await failure(peer, msgspec.structs.replace(HOP, tls=tls))
    assert failed.tls_failed
    assert brief([failed.result]) == [("deferred", "helo", 454, "4.7.5")]
    assert "no protocols available" in failed.result.reply.text


async def test_a_certificate_that_is_not_valid_is_refused_where_it_must_be(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, TLS)
    peer.tls_result = TlsState("TLSv1.3", "x", verified=False, error="self-signed")
    assert (await opened(peer)).tls == peer.tls_result
    failed = await failure(peer, msgspec.structs.replace(HOP, tls="verify"))
    assert brief([failed.result]) == [("deferred", "helo", 454, "4.7.5")]


async def test_replies_in_clear_behind_the_220_are_an_attack_not_a_reason_to_go_on_in_clear(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, TLS, STARTTLS="220 Go|250-mx|250 AUTH PLAIN")
    failed = await failure(peer)
    assert brief([failed.result]) == [("deferred", "helo", 451, "4.5.0")]
    assert not failed.tls_failed
    assert peer.lines[-1] == "STARTTLS"


@pytest.mark.parametrize(("tls", "check"), [("may", "encrypt"), ("off", "encrypt"), ("verify", "verify")])
async def test_implicit_tls_stands_before_the_greeting(clock: LoopClock, tls: Any, check: str) -> None:
    peer = ScriptedPeer(clock, TLS)
    session = await opened(peer, msgspec.structs.replace(HOP, tls=tls, implicit_tls=True, port=465))
    assert peer.asked["implicit_tls"] == "mx.example.net"
    assert peer.asked["check"] == check
    assert session.tls is not None
    assert "STARTTLS" not in peer.lines


# --- login ---

LOGIN = msgspec.structs.replace(HOP, credentials=Credentials("ada", "secret"), tls="verify")


async def test_a_login_goes_out_over_verified_tls_and_never_into_the_record(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, (*TLS, "AUTH PLAIN"))
    session = await opened(peer, LOGIN)
    await session.deliver(job())
    assert "AUTH PLAIN AGFkYQBzZWNyZXQ=" in peer.lines
    assert peer.lines[-3].endswith(" AUTH=<>")
    record = "\n".join(session.take_dialogue())
    assert "C: AUTH PLAIN (hidden)" in record
    assert "AGFkYQBzZWNyZXQ" not in record


async def test_a_login_by_questions_answers_them_in_turn(clock: LoopClock) -> None:
    questions = ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 2.7.0 Ok"]
    peer = ScriptedPeer(clock, (*TLS, "AUTH LOGIN"), AUTH=questions)
    session = await opened(peer, LOGIN)
    assert peer.lines[3:] == ["AUTH LOGIN", "YWRh", "c2VjcmV0"]
    assert not any("c2VjcmV0" in line for line in session.take_dialogue())


async def test_a_server_that_asks_for_ever_is_given_up(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, (*TLS, "AUTH LOGIN"), AUTH="334 VXNlcm5hbWU6")
    assert brief([(await failure(peer, LOGIN)).result]) == [("deferred", "helo", 451, "4.5.0")]
    assert len(peer.lines) == 6


@pytest.mark.parametrize(
    ("peer_address", "tls", "goes_out"),
    [("192.0.2.7", None, False), ("127.0.0.1", None, True), ("::1", None, True), ("/run/lmtp.sock", None, True)],
)
async def test_a_password_goes_out_in_clear_on_loopback_only(
    clock: LoopClock, peer_address: str, tls: None, goes_out: bool
) -> None:
    peer = ScriptedPeer(clock, (*ALL, "AUTH PLAIN"))
    peer.address = peer_address
    hop = msgspec.structs.replace(LOGIN, tls="may")
    if goes_out:
        await opened(peer, hop)
    else:
        assert brief([(await failure(peer, hop)).result]) == [("deferred", "helo", 454, "4.7.0")]
    assert any(line.startswith("AUTH") for line in peer.lines) is goes_out


async def test_a_password_never_goes_out_over_tls_that_is_not_verified(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, (*TLS, "AUTH PLAIN"))
    peer.tls_result = TlsState("TLSv1.3", "x", verified=False, error="self-signed")
    await failure(peer, msgspec.structs.replace(LOGIN, tls="encrypt"))
    assert not any(line.startswith("AUTH") for line in peer.lines)


async def test_a_server_that_does_not_know_the_auth_parameter_gets_the_mail_without(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, (*TLS, "AUTH PLAIN"), MAIL=["555 5.5.4 Unknown parameter", "250 2.1.0 Ok"])
    session = await opened(peer, LOGIN)
    for _ in range(2):
        assert brief(await session.deliver(job())) == [DELIVERED]
    assert [line.endswith("AUTH=<>") for line in peer.lines if line.startswith("MAIL")] == [True, False, False]


async def test_a_refused_parameter_is_not_tried_again_where_auth_was_not_said(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, MAIL="555 5.5.4 Unknown parameter")
    assert brief(await (await opened(peer)).deliver(job())) == [("failed", "mail", 555, "5.5.4")]
    assert len([line for line in peer.lines if line.startswith("MAIL")]) == 1


@pytest.mark.parametrize("offer", [("AUTH GSSAPI",), ()])
async def test_no_common_mechanism_is_deferred(clock: LoopClock, offer: tuple[str, ...]) -> None:
    peer = ScriptedPeer(clock, (*TLS, *offer))
    assert brief([(await failure(peer, LOGIN)).result]) == [("deferred", "helo", 454, "4.7.0")]


async def test_a_refused_login_is_deferred_since_the_mail_is_not_at_fault(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, (*TLS, "AUTH PLAIN"), AUTH="535 5.7.8 Wrong")
    assert brief([(await failure(peer, LOGIN)).result]) == [("deferred", "helo", 535, "5.7.8")]


async def test_a_server_that_says_235_before_it_proved_to_know_the_password_is_not_believed(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, (*TLS, "AUTH SCRAM-SHA-256"))
    assert brief([(await failure(peer, LOGIN)).result]) == [("deferred", "helo", 451, "4.5.0")]


# --- what the peer can take ---


@pytest.mark.parametrize(
    ("offer", "changes", "esc"),
    [
        (("SIZE 10",), {}, "5.3.4"),
        ((), {"has_8bit": True}, "5.6.3"),
        (("8BITMIME",), {"utf8_header": True}, "5.6.7"),
    ],
)
async def test_what_the_peer_cannot_take_is_never_offered_to_it(
    clock: LoopClock, offer: tuple[str, ...], changes: dict[str, Any], esc: str
) -> None:
    peer = ScriptedPeer(clock, offer)
    session = await opened(peer)
    results = await session.deliver(job(**changes))
    assert [(result.kind, result.reply.esc, result.by_peer) for result in results] == [("failed", esc, False)]
    assert peer.lines == ["EHLO mx.example.org"]
    assert session.is_reusable


async def test_dsn_parameters_go_only_where_they_are_offered_and_the_result_says_so(clock: LoopClock) -> None:
    recipients = (Recipient(Path("ada", "example.net"), ("SUCCESS",), "rfc822;ada@example.net"),)
    envelope = Envelope(Path("bob", "example.org"), recipients, ret="HDRS", envid="x1")
    for offer, passed_on in [(("DSN",), True), ((), False)]:
        peer = ScriptedPeer(clock, offer)
        results = await (await opened(peer)).deliver(job(envelope=envelope))
        assert results[0].dsn_passed_on is passed_on
        assert ("NOTIFY=SUCCESS" in peer.lines[2]) is passed_on
        assert ("RET=HDRS ENVID=x1" in peer.lines[1]) is passed_on


async def test_more_recipients_than_the_peer_takes_go_in_several_transactions(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, (*ALL, "LIMITS RCPTMAX=2"))
    session = await opened(peer)
    assert brief(await session.deliver(job(recipients=5))) == [DELIVERED] * 5
    assert [line[:4] for line in peer.lines].count("MAIL") == 3
    assert len(peer.contents) == 3


async def test_who_was_one_too_many_has_a_place_in_the_next_transaction(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, RCPT=["250 ok", "452 4.5.3 Too many", "452 4.5.3 Too many", "250 ok"])
    results = await (await opened(peer)).deliver(job(recipients=3))
    assert brief(results) == [DELIVERED] * 3
    assert peer.lines[-2:] == ["RCPT TO:<r2@example.net>", "DATA"]


async def test_a_peer_that_takes_nobody_is_not_asked_for_ever(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, RCPT="452 4.5.3 Too many")
    results = await (await opened(peer)).deliver(job(recipients=3))
    assert brief(results) == [("deferred", "rcpt", 452, "4.5.3")] * 3
    assert [line[:4] for line in peer.lines].count("MAIL") == 1


async def test_mailmax_ends_the_use_of_a_session(clock: LoopClock) -> None:
    session = await opened(ScriptedPeer(clock, (*ALL, "LIMITS MAILMAX=1")))
    await session.deliver(job())
    assert not session.is_reusable
    with pytest.raises(LocalProtocolError):
        await session.deliver(job())


# --- content ---


@given(
    content=st.lists(st.sampled_from([b".", b"x", b"..", b"\r\n"]), max_size=30).map(b"".join), piece=st.integers(1, 9)
)
@settings(max_examples=60)
def test_content_arrives_octet_for_octet_however_it_is_cut(content: bytes, piece: int) -> None:
    peer = ScriptedPeer(LoopClock(), ("PIPELINING",))

    async def run() -> None:
        await (await opened(peer)).deliver(job(content, piece=piece))

    asyncio.run(run())
    assert peer.contents[0] in (content, content + b"\r\n")


async def test_a_large_message_goes_in_chunks_unstuffed_and_never_whole_in_memory(clock: LoopClock) -> None:
    content = b".\r\nline\r\n" * 200_000
    peer = ScriptedPeer(clock)
    results = await (await opened(peer)).deliver(job(content, piece=100_000))
    assert brief(results) == [DELIVERED]
    assert b"".join(peer.contents) == content
    assert len(peer.contents) > 3
    assert peer.largest_write < 500_000
    assert [line for line in peer.lines if line.startswith("BDAT")][-1].endswith(" LAST")
    assert "DATA" not in peer.lines


async def test_a_refused_chunk_ends_the_content_and_the_next_message_resets(clock: LoopClock) -> None:
    content = b"line\r\n" * 500_000
    peer = ScriptedPeer(clock, BDAT=["552 5.3.4 Enough", "503 5.5.1 No", "503 5.5.1 No", "503 5.5.1 No", "250 ok"])
    session = await opened(peer)
    assert brief(await session.deliver(job(content, piece=100_000))) == [("failed", "data", 552, "5.3.4")]
    assert sum(map(len, peer.contents)) < len(content)
    assert session.is_reusable
    peer.lines.clear()
    assert (await session.deliver(job()))[0].kind == "delivered"
    assert peer.lines[0] == "RSET"


async def test_chunks_over_lmtp_have_a_result_for_each_recipient(clock: LoopClock) -> None:
    content = b"line\r\n" * 100_000
    peer = ScriptedPeer(clock, lmtp=True, BDAT=["250 ok", "250 ok", "452 4.2.2 Full"])
    session = await opened(peer, msgspec.structs.replace(HOP, protocol="lmtp"))
    results = await session.deliver(job(content, recipients=2, piece=300_000))
    assert [result.reply.code for result in results] == [250, 452]


@pytest.mark.parametrize("size", [1, 100_000])
async def test_content_with_a_bare_line_feed_is_failed_and_cut_off_before_its_end(clock: LoopClock, size: int) -> None:
    """A next hop that takes LF for a line end would have read a second message out of this one."""
    peer = ScriptedPeer(clock)
    session = await opened(peer)
    smuggling = b"x" * size + b"\n.\r\nMAIL FROM:<evil@example.com>\r\n"
    assert brief(await session.deliver(job(smuggling))) == [("failed", "data", 554, "5.6.0")]
    assert not any(content.endswith(b"\r\n") for content in peer.contents)
    assert not session.is_reusable


@pytest.mark.parametrize("error", [OSError("disk"), SpoolError("damaged")])
async def test_content_that_cannot_be_read_is_deferred_and_never_ended(clock: LoopClock, error: Exception) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half\r\n"
        raise error

    peer = ScriptedPeer(clock)
    session = await opened(peer)
    assert brief(await session.deliver(job(content=broken))) == [("deferred", "data", 451, "4.3.0")]
    assert peer.contents == []
    assert not session.is_reusable


async def test_a_defect_of_ours_in_the_content_closes_the_connection_and_is_not_hidden(clock: LoopClock) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half\r\n"
        raise RuntimeError("defect")

    session = await opened(ScriptedPeer(clock))
    with pytest.raises(RuntimeError):
        await session.deliver(job(content=broken))
    assert not session.is_reusable


# --- peers that break, stall or lie ---


@pytest.mark.parametrize(
    ("replies", "result"),
    [
        ({"MAIL": CLOSE}, ("deferred", "mail", 451, "4.4.2")),
        ({"MAIL": SILENT}, ("deferred", "mail", 451, "4.4.2")),
        ({"RCPT": CLOSE}, ("deferred", "rcpt", 451, "4.4.2")),
        ({"RCPT": "421 4.3.2 Down"}, ("deferred", "rcpt", 421, "4.3.2")),
        ({"DATA": SILENT}, ("deferred", "data", 451, "4.4.2")),
        ({"DATA": "250 what"}, ("deferred", "data", 451, "4.5.0")),
        ({"dot": CLOSE}, ("deferred", "data", 451, "4.4.2")),
        ({"dot": SILENT}, ("deferred", "data", 451, "4.4.2")),
        ({"dot": "421 4.3.2 Down"}, ("deferred", "data", 421, "4.3.2")),
        ({"dot": "354 more"}, ("deferred", "data", 451, "4.5.0")),
        ({"MAIL": "250 ok|250 and more"}, None),
    ],
)
async def test_a_broken_peer_defers_and_the_session_is_over(
    clock: LoopClock, replies: dict[str, Any], result: Brief | None
) -> None:
    session = await opened(ScriptedPeer(clock, **replies))
    results = await session.deliver(job())
    assert results[0].kind == "deferred"
    if result is not None:
        assert brief(results) == [result]
    assert not session.is_reusable
    await session.quit()


async def test_a_peer_that_is_gone_when_a_session_is_used_again_is_stale(clock: LoopClock) -> None:
    for gone in (CLOSE, "421 4.4.2 Idle"):
        session = await opened(ScriptedPeer(clock, MAIL=["250 ok", gone]))
        await session.deliver(job())
        assert not session.was_stale
        results = await session.deliver(job())
        assert results[0].kind == "deferred"
        assert session.was_stale


async def test_a_peer_that_breaks_in_a_fresh_session_or_after_an_answer_is_not_stale(clock: LoopClock) -> None:
    session = await opened(ScriptedPeer(clock, MAIL=CLOSE))
    await session.deliver(job())
    assert not session.was_stale
    session = await opened(ScriptedPeer(clock, RCPT=["250 ok", CLOSE]))
    await session.deliver(job())
    await session.deliver(job())
    assert not session.was_stale


async def test_a_refusal_in_mid_content_counts_although_the_connection_broke(clock: LoopClock) -> None:
    content = b"line\r\n" * 100_000
    for early, result in [
        ("552 5.3.4 Too large", ("failed", "data", 552, "5.3.4")),
        ("250 2.0.0 Kept", ("deferred", "data", 451, "4.4.2")),
    ]:
        peer = ScriptedPeer(clock, ("PIPELINING",))
        session = await opened(peer)
        peer.takes = 200_000
        stream: Any = session._talk.stream
        write = stream.write

        async def refuse(
            octets: bytes, timeout: float, *, stream: Any = stream, write: Async = write, early: str = early
        ) -> None:
            if stream._taken + len(octets) > 200_000:
                stream._out += early.encode() + b"\r\n"
            await write(octets, timeout)

        stream.write = refuse
        assert brief(await session.deliver(job(content))) == [result]
        assert not session.is_reusable


async def test_a_peer_that_drips_octets_cannot_hold_up_an_answer(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, ("X" * 400,))
    peer.piece, peer.seconds_per_read = 1, 20.0
    began = clock.monotonic()
    failed = await failure(peer, timeouts=Timeouts(greeting=600.0, hello=300.0, opening=10_000.0))
    assert failed.result.at == "helo"
    assert clock.monotonic() - began <= 600 + 300 + 20


async def test_a_peer_that_keeps_each_time_but_drags_out_the_whole_is_given_up(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, ("X" * 400,))
    peer.piece, peer.seconds_per_read = 1, 1.0
    began = clock.monotonic()
    await failure(peer, timeouts=Timeouts(opening=100.0))
    assert 100 <= clock.monotonic() - began <= 101

    peer = ScriptedPeer(clock, (), RCPT="250 okkkkkkkk")
    session = await opened(peer, timeouts=Timeouts(opening=10_000.0, message=1000.0))
    peer.piece, peer.seconds_per_read = 1, 15.0
    began = clock.monotonic()
    results = await session.deliver(job(recipients=50))
    assert {result.kind for result in results} == {"deferred"}
    assert 1000 <= clock.monotonic() - began <= 1015


async def test_an_endless_reply_is_cut_off(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, MAIL="250-" + "|250-".join("x" * 100 for _ in range(5000)))
    results = await (await opened(peer)).deliver(job())
    assert brief(results) == [("deferred", "mail", 451, "4.5.0")]


async def test_a_peer_that_never_reads_is_given_up(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, ("PIPELINING",))
    session = await opened(peer)
    peer.takes = 300_000
    began = clock.monotonic()
    results = await session.deliver(job(b"line\r\n" * 200_000))
    assert brief(results) == [("deferred", "data", 451, "4.4.2")]
    assert clock.monotonic() - began < 300


@given(
    st.dictionaries(
        st.sampled_from(["greeting", "EHLO", "HELO", "STARTTLS", "MAIL", "RCPT", "DATA", "dot", "BDAT"]),
        st.lists(
            st.sampled_from(
                ["220 a", "250 a", "354 a", "334 a", "421 a", "450 a", "550 a", "250-a|250 b", "x", CLOSE, SILENT, "|"]
            )
            | st.text(st.characters(max_codepoint=255), max_size=12),
            min_size=1,
            max_size=3,
        ),
        max_size=4,
    ),
    st.sampled_from([ALL, (), TLS, ("PIPELINING",), ("CHUNKING",)]),
    st.sampled_from(["smtp", "lmtp"]),
    st.integers(1, 30),
)
@settings(max_examples=300)
def test_whatever_a_peer_answers_each_recipient_has_one_result(
    replies: dict[str, list[str]], offer: tuple[str, ...], protocol: Any, piece: int
) -> None:
    peer = ScriptedPeer(LoopClock(), offer, lmtp=protocol == "lmtp", **replies)
    peer.piece = piece

    async def run() -> None:
        with suppress(OpenFailed):
            await use(await opened(peer, msgspec.structs.replace(HOP, protocol=protocol)))

    async def use(session: OutboundSession) -> None:
        for content in (CONTENT, b"line\r\n" * 20_000):
            if session.is_reusable:
                assert len(await session.deliver(job(content, recipients=3))) == 3
        await session.quit()
        session.take_dialogue()

    asyncio.run(run())


# --- the record ---


async def test_the_dialogue_shows_commands_and_replies_but_no_content(clock: LoopClock) -> None:
    session = await opened(ScriptedPeer(clock, ("PIPELINING",), RCPT="550-5.1.1 No\x1b|550 5.1.1 such user"))
    await session.deliver(job())
    assert session.take_dialogue() == [
        "S: 220 mx.example.net ESMTP",
        "C: EHLO mx.example.org",
        "S: 250 mx.example.net",
        "S: 250 PIPELINING",
        "S: 250 HELP",
        "C: MAIL FROM:<ada@example.org>",
        "C: RCPT TO:<r0@example.net>",
        "C: DATA",
        "S: 250 2.1.0 Ok",
        "S: 550 5.1.1 No\\x1b",
        "S: 550 5.1.1 such user",
        "S: 354 Go",
        "C: .",
        "S: 250 2.0.0 Kept",
    ]
    await session.deliver(job())
    assert not any("From:" in line or "text" in line for line in session.take_dialogue())


async def test_the_dialogue_is_cut_at_a_fixed_number_of_lines_and_says_so(clock: LoopClock) -> None:
    session = await opened(ScriptedPeer(clock))
    await session.deliver(job(recipients=100))
    lines = session.take_dialogue()
    assert len(lines) == 121
    assert "more than" in lines[-1]


async def test_cancelling_closes_the_connection(clock: LoopClock) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"x\r\n"
        await asyncio.Event().wait()

    peer = ScriptedPeer(clock, ("PIPELINING",))
    session = await opened(peer)
    task = asyncio.create_task(session.deliver(job(content=endless)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not session.is_reusable
    await session.quit()
    assert session._talk.stream.is_closed  # type: ignore[attr-defined]
    assert peer.contents == []
    assert "QUIT" not in peer.lines  # it would be read as content


async def cancelled_when_it_waits(session: OutboundSession, given: Job) -> None:
    task = asyncio.create_task(session.deliver(given))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("body", [CONTENT, b"line\r\n" * 20_000])
async def test_whoever_cancels_knows_that_the_peer_may_have_the_message(clock: LoopClock, body: bytes) -> None:
    peer = ScriptedPeer(clock, dot=SILENT, BDAT=SILENT)
    peer.hangs = True
    session = await opened(peer)
    doubts: list[bool] = []
    await cancelled_when_it_waits(session, job(body, recipients=2, piece=60_000, in_doubt=doubts.append))
    assert doubts == [True, False]
    assert {(number, result.kind, result.at) for number, result in session.known.items()} == {
        (0, "deferred", "data"),
        (1, "deferred", "data"),
    }


async def test_what_was_said_before_a_cancel_counts_and_the_rest_was_never_tried(clock: LoopClock) -> None:
    """A stop in the second transaction of a message forgot those of the first, who got it again."""
    peer = ScriptedPeer(clock, (*ALL, "LIMITS RCPTMAX=2"), MAIL=["250 ok", SILENT])
    peer.hangs = True
    session = await opened(peer)
    doubts: list[bool] = []
    await cancelled_when_it_waits(session, job(recipients=3, in_doubt=doubts.append))
    assert doubts == [True, False]
    assert brief([session.known[number] for number in sorted(session.known)]) == [DELIVERED, DELIVERED]


async def test_of_an_lmtp_peer_each_answer_before_the_cancel_counts(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, lmtp=True, dot=["250 2.0.0 Kept", SILENT])
    peer.hangs = True
    session = await opened(peer, msgspec.structs.replace(HOP, protocol="lmtp"))
    await cancelled_when_it_waits(session, job(recipients=2))
    assert [(number, result.kind) for number, result in sorted(session.known.items())] == [
        (0, "delivered"),
        (1, "deferred"),
    ]
