"""Dialogues with the POP3 service, and what is kept, removed, locked and recorded by them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest
from tests.pickup.counter import ADA, Counter, talk
from tests.support.desk import PASSWORD

from gatepost.gate.turns import TURN
from gatepost.maildrop.port import Maildrop, MaildropError, Message
from gatepost.pickup.settings import PickupSettings


def plain(name: str, password: str) -> str:
    return base64.b64encode(f"\0{name}\0{password}".encode()).decode()


LOGIN = f"""
        C: USER {ADA}
        S: +OK Send the password
        C: PASS {PASSWORD}
        S: +OK 3 messages (76 octets)"""


async def test_a_user_reads_and_removes_mail() -> None:
    counter = await talk(
        f"""
        S: +OK mx.example.org POP3 server ready
        C: CAPA
        S: +OK Capabilities follow
        S: TOP
        S: UIDL
        S: PIPELINING
        S: RESP-CODES
        S: AUTH-RESP-CODE
        S: EXPIRE NEVER
        S: UTF8 USER
        S: LANG
        S: USER
        S: SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN
        S: IMPLEMENTATION Gatepost
        S: .{LOGIN}
        C: STAT
        S: +OK 3 76
        C: UIDL
        S: +OK Unique IDs follow
        S: 1 uid-1
        S: 2 uid-2
        S: 3 uid-3
        S: .
        C: RETR 2
        S: +OK 35 octets
        S: Subject: two
        S:
        S: ..dot
        S: ...
        S: ..
        S: last
        S: .
        C: TOP 1 0
        S: +OK The top of it follows
        S: Subject: one
        S:
        S: .
        C: DELE 2
        S: +OK Message 2 is marked; QUIT removes it
        C: RETR 2
        S: -ERR There is no such message
        C: QUIT
        S: +OK Goodbye
        """,
        service="pop3s",
        tls=True,
    )
    assert list(counter.memory.kept[ADA]) == ["uid-1", "uid-3"]
    assert counter.memory.locked == set()
    (event,) = counter.desk.recorder.of("pop3.session")
    assert event.login == ADA
    assert event.service == "pop3s"
    assert event.octets == 35 + 16
    assert event.details == {"retrieved": 1, "removed": 1}
    assert event.client is not None
    assert event.client.ip == "192.0.2.7"
    assert PASSWORD not in str(event)
    assert "C: PASS ..." in event.dialogue
    assert "S: +OK 35 octets" in event.dialogue
    assert not [line for line in event.dialogue if "Subject" in line]
    assert counter.desk.recorder.of("auth")[0].login == ADA


async def test_nobody_logs_in_without_tls_and_stls_helps() -> None:
    refusal = "-ERR [AUTH] Encryption required: use STLS, or the port for POP3 over TLS, before you log in"
    await talk(f"""
        S: +OK mx.example.org POP3 server ready
        C: CAPA
        S: +OK Capabilities follow
        S: TOP
        S: UIDL
        S: PIPELINING
        S: RESP-CODES
        S: AUTH-RESP-CODE
        S: EXPIRE NEVER
        S: UTF8 USER
        S: LANG
        S: STLS
        S: IMPLEMENTATION Gatepost
        S: .
        C: USER {ADA}
        S: {refusal}
        C: AUTH PLAIN {plain(ADA, PASSWORD)}
        S: {refusal}
        C: AUTH
        S: +OK Mechanisms follow
        S: .
        C: STLS
        S: +OK Begin TLS
        (TLS)
        C: CAPA
        S: +OK Capabilities follow
        S: TOP
        S: UIDL
        S: PIPELINING
        S: RESP-CODES
        S: AUTH-RESP-CODE
        S: EXPIRE NEVER
        S: UTF8 USER
        S: LANG
        S: USER
        S: SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN
        S: IMPLEMENTATION Gatepost
        S: .
        C: AUTH PLAIN {plain(ADA, PASSWORD)}
        S: +OK 3 messages (76 octets)
        C: QUIT
        S: +OK Goodbye
        """)


async def test_on_loopback_a_login_needs_no_tls() -> None:
    await talk(f"\n        S: +OK mx.example.org POP3 server ready{LOGIN}", ip="127.0.0.1")


async def test_what_was_said_before_stls_does_not_count() -> None:
    counter = Counter()
    client = counter.connect(ip="127.0.0.1")
    await client.say(f"USER {ADA}")
    assert await client.say("STLS", f"PASS {PASSWORD}", "STAT") == ["+OK Begin TLS"]
    await client.start_tls()
    assert await client.octets() == b""
    assert await client.line(f"PASS {PASSWORD}") == "-ERR USER comes first"
    assert counter.desk.recorder.of("auth") == []
    client.hang_up()
    (event,) = counter.desk.recorder.of("pop3.session")
    assert [line for line in event.dialogue if "behind STLS, dropped" in line]


async def test_sasl_with_challenges_cancellation_and_nonsense() -> None:
    await talk(
        f"""
        S: +OK mx.example.org POP3 server ready
        C: AUTH PLAIN
        S: +\x20
        C: *
        S: -ERR Authentication cancelled
        C: AUTH LOGIN
        S: + VXNlcm5hbWU6
        C: not base64!
        S: -ERR The response is no base64
        C: AUTH NTLM
        S: -ERR That mechanism is not offered here
        C: AUTH LOGIN
        S: + VXNlcm5hbWU6
        C: {base64.b64encode(ADA.encode()).decode()}
        S: + UGFzc3dvcmQ6
        C: {base64.b64encode(PASSWORD.encode()).decode()}
        S: +OK 3 messages (76 octets)
        C: AUTH PLAIN
        S: -ERR Already logged in
        """,
        tls=True,
    )


async def test_unknown_users_and_wrong_passwords_sound_the_same() -> None:
    replies = []
    for name in (ADA, "nobody@example.org"):
        client = Counter().connect(tls=True)
        await client.octets()
        replies.append(await client.say(f"USER {name}", "PASS wrong"))
    assert replies[0] == replies[1]
    assert replies[0][1].startswith("-ERR [AUTH] ")


async def test_guessing_ends_the_connection_and_costs_time() -> None:
    counter = Counter(settings=PickupSettings(auth_delay=1.0))
    client = counter.connect(tls=True)
    await client.octets()
    waits = []
    for _ in range(3):
        client.wire.has_timer.clear()
        client.session.data_received(f"USER {ADA}\r\nPASS wrong\r\n".encode())
        await client.wire.has_timer.wait()
        timer = client.wire.timers[-1]
        waits.append(timer.due - counter.desk.clock.at)
        timer.callback()
        await client.octets()
    assert waits == [1.0, 2.0, 3.0]
    replies = await client.say(f"USER {ADA}", f"PASS {PASSWORD}")
    assert replies[-1] == "-ERR [SYS/TEMP] Too many failed logins, goodbye"
    assert client.wire.is_closed
    assert len(counter.desk.recorder.of("auth")) == 3
    client.hang_up()


async def test_a_second_session_is_told_that_the_maildrop_is_in_use() -> None:
    counter = Counter()
    first, second = counter.connect(tls=True), counter.connect(tls=True)
    await first.say(f"USER {ADA}", f"PASS {PASSWORD}")
    await second.octets()
    assert (await second.say(f"USER {ADA}", f"PASS {PASSWORD}"))[-1].startswith("-ERR [IN-USE] ")
    assert await second.line("STAT") == "-ERR Log in first"
    first.hang_up()
    assert (await second.say(f"USER {ADA}", f"PASS {PASSWORD}"))[-1] == "+OK 3 messages (76 octets)"
    second.hang_up()


async def test_who_got_no_maildrop_is_nobody_on_record() -> None:
    counter = Counter()
    first, second = counter.connect(tls=True), counter.connect(tls=True)
    for client in (first, second):
        await client.say(f"USER {ADA}", f"PASS {PASSWORD}")
    second.hang_up()
    (event,) = counter.desk.recorder.of("pop3.session")
    assert event.login == ""
    first.hang_up()


async def test_a_maildrop_that_cannot_be_read_is_a_temporary_failure() -> None:
    counter = Counter()
    counter.memory.broken = MaildropError("/var/lib/gatepost/maildrops/example.org/ada: permission denied")
    client = counter.connect(tls=True)
    await client.octets()
    (_, reply) = await client.say(f"USER {ADA}", f"PASS {PASSWORD}")
    assert reply == "-ERR [SYS/TEMP] The maildrop cannot be read now, try again later"
    client.hang_up()


UNRECORDED = "-ERR [SYS/TEMP] The record cannot be written, try again later"


@pytest.mark.parametrize(
    "login",
    [[f"USER {ADA}", f"PASS {PASSWORD}"], [f"AUTH PLAIN {plain(ADA, PASSWORD)}"], ["AUTH PLAIN", plain(ADA, PASSWORD)]],
    ids=["USER", "AUTH in a line", "AUTH"],
)
async def test_without_a_record_nobody_gets_in(login: list[str]) -> None:
    counter = Counter()
    client = counter.connect(tls=True)
    await client.octets()
    counter.desk.recorder.fails = True
    replies = await client.say(*login, "STAT", "RETR 1", "DELE 1", "QUIT")
    assert replies[-1] == UNRECORDED  # and nothing that came behind it was answered
    assert client.wire.is_closed
    assert counter.memory.locked == set()
    assert len(counter.memory.kept[ADA]) == 3
    client.hang_up()


async def test_a_wrong_password_without_a_record_is_no_guess() -> None:
    """A guess that nobody would see later is not judged: right and wrong sound the same."""
    counter = Counter()
    client = counter.connect(tls=True)
    await client.octets()
    counter.desk.recorder.fails = True
    assert (await client.say(f"USER {ADA}", "PASS wrong password"))[-1] == UNRECORDED
    assert client.wire.is_closed


@pytest.mark.parametrize("end", ["hang up", "half close", "timeout"])
async def test_only_quit_removes(end: str) -> None:
    counter = Counter()
    client = counter.connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}", "DELE 1", "DELE 2", "DELE 3")
    if end == "timeout":
        counter.desk.clock.at += 601
        client.wire.timers[0].callback()
        assert client.wire.is_closed
        assert client.wire.take() == b""  # RFC 1939 §3: no response
    elif end == "half close":
        client.session.peer_finished()
        assert client.wire.is_closed
    client.hang_up("" if end != "hang up" else "connection reset")
    assert len(counter.memory.kept[ADA]) == 3
    assert counter.memory.locked == set()
    (event,) = counter.desk.recorder.of("pop3.session")
    assert event.details["removed"] == 0
    assert event.details["lost"]
    assert client.wire.timers[-1].is_cancelled


async def test_the_timer_waits_as_long_as_commands_come() -> None:
    counter = Counter()
    client = counter.connect(tls=True)
    counter.desk.clock.at += 500
    await client.say("CAPA")
    counter.desk.clock.at += 101
    client.wire.timers[0].callback()
    assert not client.wire.is_closed
    assert client.wire.timers[-1].due == pytest.approx(counter.desk.clock.at + 499)


async def test_octets_without_a_line_end_do_not_stop_the_timer() -> None:
    counter = Counter()
    client = counter.connect(tls=True)
    for _ in range(7):
        counter.desk.clock.at += 100
        client.session.data_received(b"x")
    client.wire.timers[0].callback()
    assert client.wire.is_closed
    client.hang_up()


async def test_quit_goes_through_when_the_peer_does_not_wait_for_the_answer() -> None:
    counter = Counter()
    client = counter.connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}", "DELE 1")
    client.session.data_received(b"QUIT\r\n")
    client.hang_up("connection reset")
    await client.settle()
    assert list(counter.memory.kept[ADA]) == ["uid-2", "uid-3"]
    assert counter.memory.locked == set()
    (event,) = counter.desk.recorder.of("pop3.session")
    assert event.details == {"retrieved": 0, "removed": 1, "lost": "connection reset"}


async def test_what_cannot_be_removed_is_told() -> None:
    counter = Counter()
    counter.memory.failing.add("uid-2")
    client = counter.connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}", "DELE 1", "DELE 2")
    assert await client.line("QUIT") == "-ERR [SYS/TEMP] 1 of 2 marked messages could not be removed"
    assert counter.memory.locked == set()  # who comes back at once is not told that it is in use
    assert client.wire.is_closed
    assert list(counter.memory.kept[ADA]) == ["uid-2", "uid-3"]
    client.hang_up()


async def test_a_message_that_is_gone_is_a_temporary_failure_and_the_session_goes_on() -> None:
    counter = Counter()
    client = counter.connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}")
    del counter.memory.kept[ADA]["uid-1"]
    assert await client.say("RETR 1", "STAT") == [
        "-ERR [SYS/TEMP] The maildrop cannot be read now, try again later",
        "+OK 3 76",
    ]
    client.hang_up()


async def test_a_pipelined_group_is_answered_in_order() -> None:
    client = Counter().connect(tls=True)
    replies = await client.say(f"USER {ADA}", f"PASS {PASSWORD}", "STAT", "RETR 3", "LIST 1", "TOP 3 9", "NOOP", "QUIT")
    assert replies == [
        "+OK mx.example.org POP3 server ready",
        "+OK Send the password",
        "+OK 3 messages (76 octets)",
        *("+OK 3 76", "+OK 18 octets", "Subject: three", "", ".", "+OK 1 23"),
        *("+OK The top of it follows", "Subject: three", "", ".", "+OK", "+OK Goodbye"),
    ]
    assert client.wire.is_closed
    client.hang_up()


async def test_a_group_without_waiting_leaves_in_one_write() -> None:
    client = Counter().connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}")
    client.session.data_received(b"STAT\r\nLIST\r\nUIDL\r\nNOOP\r\n")
    assert len(client.wire.written) == 1
    client.hang_up()


async def test_other_sessions_have_their_turn_between_pipelined_commands() -> None:
    counter = Counter()
    flooding, other = counter.connect(tls=True), counter.connect(tls=True)
    for client in (flooding, other):
        await client.say(f"USER {ADA}")
    flooding.session.data_received(b"CAPA\r\n" * 90)
    assert flooding.wire.take().count(b"+OK") == TURN
    assert await other.say("CAPA")
    assert 0 < (await flooding.octets(b"")).count(b"+OK") <= 90 - TURN
    flooding.hang_up()
    other.hang_up()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_any_split_of_the_octets_gives_the_same_answers(size: int) -> None:
    said = f"capa\r\nUSER {ADA}\r\nPASS {PASSWORD}\r\nLIST\r\nRETR 2\r\nNOPE\r\nSTAT\nDELE 9\r\nQUIT\r\n".encode()
    answers = []
    for step in (len(said), size):
        client = Counter().connect(tls=True)
        found = b""
        for at in range(0, len(said), step):
            found += await client.octets(said[at : at + step])
        answers.append(found)
        client.hang_up()
    assert answers[0] == answers[1]
    assert answers[0].endswith(b"+OK Goodbye\r\n")


class EndlessDrop(Maildrop):
    """One message: a header and `pieces` pieces of 128 KiB; counts how many were asked for. fails_at: the piece that
    is lost."""

    def __init__(self, pieces: int, fails_at: int = -1, header: bytes = b"Subject: long\r\n\r\n") -> None:
        self.pieces, self.fails_at, self.header = pieces, fails_at, header
        self.asked, self.is_closed = 0, False

    @property
    def messages(self) -> tuple[Message, ...]:
        return (Message("one", self.pieces << 17),)

    async def read(self, index: int) -> AsyncIterator[bytes]:
        yield self.header
        for number in range(self.pieces):
            if number == self.fails_at:
                raise MaildropError("input/output error")
            self.asked += 1
            yield (b"x" * 126 + b"\r\n") * 1024

    async def remove(self, indexes: tuple[int, ...]) -> int:
        return len(indexes)

    def close(self) -> None:
        self.is_closed = True


class OneDrop:
    """A MaildropStore with that maildrop for everybody."""

    def __init__(self, drop: Maildrop) -> None:
        self.drop = drop

    async def deliver(self, account: str, delivery_id: str, prefix: bytes, content: AsyncIterator[bytes]) -> str:
        raise NotImplementedError

    async def open(self, account: str) -> Maildrop:
        return self.drop

    async def used(self, account: str) -> int:
        return 0


async def test_a_peer_that_never_reads_costs_bounded_memory() -> None:
    drop = EndlessDrop(400)  # 50 MiB
    client = Counter(maildrops=OneDrop(drop)).connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}")
    client.wire.takes.clear()
    client.session.data_received(b"RETR 1\r\nRETR 1\r\n")
    await client.settle()
    assert drop.asked == 1
    assert sum(map(len, client.wire.written)) < 1 << 18
    client.wire.takes.set()
    answer = await client.octets()
    assert drop.asked == 800
    assert answer.count(b"+OK") == 2
    assert len(answer) > 100 << 20
    client.hang_up()


async def test_a_peer_that_goes_in_the_middle_of_a_message_ends_the_reading() -> None:
    drop = EndlessDrop(400)
    counter = Counter(maildrops=OneDrop(drop))
    client = counter.connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}", "DELE 1", "RSET")
    client.wire.takes.clear()
    client.session.data_received(b"RETR 1\r\n")
    await client.settle()
    client.hang_up("connection reset")
    await client.settle()
    assert client.session._task is not None
    assert client.session._task.cancelled()
    assert drop.asked == 1
    assert drop.is_closed
    (event,) = counter.desk.recorder.of("pop3.session")
    assert event.details == {"retrieved": 0, "removed": 0, "lost": "connection reset"}


async def test_a_peer_that_takes_long_is_not_silent() -> None:
    counter = Counter(maildrops=OneDrop(EndlessDrop(3)))
    client = counter.connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}")
    client.wire.takes.clear()
    client.session.data_received(b"RETR 1\r\n")
    await client.settle()
    counter.desk.clock.at += 601
    client.wire.timers[-1].callback()
    assert not client.wire.is_closed
    client.wire.takes.set()
    await client.octets()
    client.wire.timers[-1].callback()
    assert not client.wire.is_closed
    client.hang_up()


async def test_top_reads_no_further_than_it_must() -> None:
    drop = EndlessDrop(400, header=b"Subject: large\r\n\r\n")
    client = Counter(maildrops=OneDrop(drop)).connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}")
    assert (await client.say("TOP 1 0"))[1:] == ["Subject: large", "", "."]
    assert drop.asked == 0
    client.hang_up()


async def test_a_message_that_breaks_off_cuts_the_connection_without_an_end() -> None:
    counter = Counter(maildrops=OneDrop(EndlessDrop(5, fails_at=3)))
    client = counter.connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}")
    answer = await client.octets(b"RETR 1\r\nNOOP\r\n")
    assert answer.startswith(b"+OK")
    assert not answer.endswith(b".\r\n")
    assert client.wire.is_aborted
    client.hang_up()
    (event,) = counter.desk.recorder.of("pop3.session")
    assert "could not be read" in event.details["lost"]


async def test_a_long_list_waits_for_the_peer() -> None:
    counter = Counter()
    counter.memory.put(ADA, *[b"a: b\r\n\r\n"] * 50_000)
    client = counter.connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}")
    client.wire.takes.clear()
    client.session.data_received(b"UIDL\r\n")
    await client.settle()
    assert len(b"".join(client.wire.written)) < 1 << 18
    client.wire.takes.set()
    assert (await client.octets()).count(b"\r\n") == 50_003 + 2
    client.hang_up()


async def test_answers_do_not_pile_up_for_a_peer_that_never_reads() -> None:
    client = Counter().connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}")
    client.wire.takes.clear()
    for _ in range(100):
        client.session.data_received(b"UIDL\r\n" * 2000)
        if client.wire.is_paused:
            break
        await client.settle()
    assert client.wire.is_paused
    assert sum(map(len, client.wire.written)) < 1 << 17
    client.wire.takes.set()
    await client.octets()
    assert not client.wire.is_paused
    client.hang_up()


async def test_too_many_mistakes_before_a_login_end_the_connection() -> None:
    client = Counter().connect(tls=True)
    replies = await client.say(*["GET / HTTP/1.1"] * 50)
    assert replies[1:] == ["-ERR Unknown command"] * 20 + ["-ERR [SYS/PERM] Too many errors, goodbye"]
    assert client.wire.is_closed
    client.hang_up()


async def test_tls_to_the_port_in_clear_is_told_and_closed() -> None:
    client = Counter().connect()
    assert b"-ERR This port speaks POP3 in clear" in await client.octets(b"\x16\x03\x01\x00\xa5\x01\x00")
    assert client.wire.is_closed
    client.hang_up()


async def test_too_many_connections_are_refused_before_anything_else() -> None:
    counter = Counter()
    clients = [counter.connect(tls=True) for _ in range(51)]
    refusal = await clients[-1].octets()
    assert refusal.startswith(b"-ERR [SYS/TEMP] Too many connections")
    assert clients[-1].wire.is_closed
    (await clients[0].octets()).startswith(b"+OK")
    for client in clients:
        client.hang_up()
    assert (await counter.connect(tls=True).octets()).startswith(b"+OK")


async def test_going_down_ends_who_has_not_logged_in_and_lets_the_others_finish() -> None:
    counter = Counter()
    idle, busy = counter.connect(tls=True), counter.connect(tls=True)
    await busy.say(f"USER {ADA}", f"PASS {PASSWORD}", "DELE 1")
    await idle.octets()
    for client in (idle, busy):
        client.session.shut_down()
    assert await idle.octets() == b"-ERR [SYS/TEMP] This server is going down, try again soon\r\n"
    assert idle.wire.is_closed
    assert not busy.wire.is_closed
    assert await busy.line("QUIT") == "+OK Goodbye"
    assert list(counter.memory.kept[ADA]) == ["uid-2", "uid-3"]
    for client in (idle, busy):
        client.hang_up()


async def test_a_half_closed_peer_still_gets_its_answers() -> None:
    counter = Counter()
    client = counter.connect(tls=True)
    client.session.data_received(f"USER {ADA}\r\nPASS {PASSWORD}\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n".encode())
    client.session.peer_finished()
    answer = await client.octets()
    assert answer.endswith(b"+OK Goodbye\r\n")
    assert client.wire.is_closed
    assert "uid-1" not in counter.memory.kept[ADA]
    client.hang_up()


async def test_a_defect_of_ours_ends_this_session_with_a_temporary_failure() -> None:
    counter = Counter()
    client = counter.connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}", "DELE 1")
    client.session.protocol.listing = None  # type: ignore[assignment]
    assert await client.line("STAT") == "-ERR [SYS/TEMP] Internal error, try again later"
    assert client.wire.is_closed
    client.hang_up()
    assert len(counter.memory.kept[ADA]) == 3


async def test_the_dialogue_on_record_is_bounded() -> None:
    counter = Counter()
    client = counter.connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}", *["NOOP"] * 1000)
    client.hang_up()
    (event,) = counter.desk.recorder.of("pop3.session")
    assert len(event.dialogue) < 100
    assert event.dialogue[-1].endswith("more lines)")


@pytest.mark.parametrize(
    "said",
    [
        f"AUTH PLAIN {plain(ADA, PASSWORD)}",
        plain(ADA, PASSWORD),
        f"PASS {PASSWORD}",
        f"PASSWORD {PASSWORD}",
        f"USER {PASSWORD}",
        f"AUTH PLAIN {PASSWORD}",
    ],
)
async def test_no_credential_comes_into_the_record(said: str) -> None:
    counter = Counter()
    client = counter.connect()
    await client.say(said)
    client.hang_up()
    (event,) = counter.desk.recorder.of("pop3.session")
    assert PASSWORD not in str(event)
    assert plain(ADA, PASSWORD)[:12] not in str(event)
