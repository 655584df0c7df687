"""Dialogues of users with the submission service."""

from __future__ import annotations

import base64

from tests.support.desk import PASSWORD, Desk, talk


def plain(name: str, password: str) -> str:
    return base64.b64encode(f"\0{name}\0{password}".encode()).decode()


async def test_a_user_logs_in_and_sends_to_anybody() -> None:
    desk = await talk(f"""
        S: 220 mx.example.org ESMTP
        C: EHLO laptop.example
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 52428800
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-CHUNKING
        S: 250-DSN
        S: 250-ENHANCEDSTATUSCODES
        S: 250-STARTTLS
        S: 250 LIMITS RCPTMAX=1000
        C: AUTH PLAIN {plain("ada@example.org", PASSWORD)}
        S: 538 5.7.11 Encryption required: use STARTTLS before you log in
        C: STARTTLS
        S: 220 2.0.0 Ready to start TLS
        (TLS)
        C: EHLO laptop.example
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 52428800
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-CHUNKING
        S: 250-DSN
        S: 250-ENHANCEDSTATUSCODES
        S: 250-AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN
        S: 250 LIMITS RCPTMAX=1000
        C: MAIL FROM:<ada@example.org>
        S: 530 5.7.0 Authentication required: log in before you send
        C: AUTH PLAIN {plain("ada@example.org", PASSWORD)}
        S: 235 2.7.0 Authentication successful
        C: MAIL FROM:<bob@example.org>
        S: 553 5.7.1 You may not send as this address; use one of your own
        C: MAIL FROM:<ada+shop@example.org>
        S: 250 2.1.0 Sender ok
        C: RCPT TO:<someone@far.example>
        S: 250 2.1.5 Recipient ok
        C: RCPT TO:<bob@example.org>
        S: 250 2.1.5 Recipient ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: From: ada@example.org
        C: Bcc: secret@far.example,
        C:  other@far.example
        C: Subject: hello
        C:
        C: hello
        C: .
        S: 250 2.0.0 Message accepted
        C: VRFY bob
        S: 250 2.1.5 <bob@example.org>
        C: VRFY nobody
        S: 550 5.1.1 No such recipient here
        C: EXPN team@example.org
        S: 250-2.1.5 <ada@example.org>
        S: 250 2.1.5 <far@example.net>
    """, service="submission")  # fmt: skip
    entry, content = desk.spool.only
    assert content == b"From: ada@example.org\r\nSubject: hello\r\n\r\nhello\r\n"
    assert entry.destinations == ("far.example", "local")
    assert entry.login == "ada@example.org"
    assert b"192.0.2.7" not in entry.prefix
    assert b"with ESMTPSA" in entry.prefix
    assert b"\r\nDate: " in entry.prefix
    assert b"\r\nMessage-ID: <" in entry.prefix
    (auth,) = desk.recorder.of("auth")
    assert auth.login == "ada@example.org"
    everything = repr(desk.recorder.events)
    assert PASSWORD not in everything
    assert plain("ada@example.org", PASSWORD) not in everything


async def test_a_wrong_password_and_an_unknown_name_hear_the_same() -> None:
    desk = Desk()
    client = desk.connect("submissions", tls=True)
    await client.read()
    await client.say(b"EHLO c.example\r\n")
    wrong = await client.line(f"AUTH PLAIN {plain('ada@example.org', 'guess')}")
    unknown = await client.line(f"AUTH PLAIN {plain('my secret typed here', 'guess')}")
    assert wrong == unknown == "535 5.7.8 Authentication credentials invalid"
    tried = [event.details["tried"] for event in desk.recorder.of("auth")]
    assert tried[0] == "ada@example.org"
    assert tried[1].startswith("unknown:")
    client.hang_up()
    assert "secret typed" not in repr(desk.recorder.events)


async def test_guessing_ends_the_session_and_then_locks_the_network_but_nobody_else() -> None:
    desk = Desk()
    for attempt in range(11):
        client = desk.connect("submissions", tls=True)
        await client.read()
        await client.say(b"EHLO c.example\r\n")
        said = await client.line(f"AUTH PLAIN {plain('ada@example.org', f'guess {attempt}')}")
        client.hang_up()
    assert said == "421 4.7.0 Too many failed logins from your network, try again later"
    assert client.wire.is_closed
    other = desk.connect("submissions", "198.51.100.9", tls=True)
    await other.read()
    await other.say(b"EHLO c.example\r\n")
    assert await other.line(f"AUTH PLAIN {plain('ada@example.org', PASSWORD)}") == "235 2.7.0 Authentication successful"


async def test_a_password_after_a_refused_auth_is_not_recorded() -> None:
    desk = Desk()
    client = desk.connect("submission")
    await client.read()
    await client.say(b"EHLO c.example\r\n")
    secret = plain("ada@example.org", PASSWORD)
    assert (await client.line("AUTH\tPLAIN " + secret)).startswith("50")
    assert (await client.line("AUTH PLAIN")).startswith("538")
    assert (await client.line(secret)).startswith("500")
    client.hang_up()
    assert secret not in repr(desk.recorder.events)


async def test_an_exchange_in_steps_and_its_cancellation() -> None:
    desk = Desk()
    client = desk.connect("submissions", tls=True)
    await client.read()
    await client.say(b"EHLO c.example\r\n")
    assert await client.line("AUTH LOGIN") == "334 VXNlcm5hbWU6"
    assert await client.line("*") == "501 5.7.0 Authentication cancelled"
    assert await client.line("AUTH LOGIN") == "334 VXNlcm5hbWU6"
    assert await client.line(base64.b64encode(b"ada@example.org").decode()) == "334 UGFzc3dvcmQ6"
    assert await client.line(base64.b64encode(PASSWORD.encode()).decode()) == "235 2.7.0 Authentication successful"
    assert (await client.line("AUTH LOGIN")).startswith("503")


async def test_a_relay_network_sends_without_a_login() -> None:
    desk = Desk(relay_networks=["192.0.2.0/28"])
    await talk(
        """
        S: 220 mx.example.org ESMTP
        C: EHLO scanner.example
        S: 250*
        C: MAIL FROM:<scanner@example.org>
        S: 250 2.1.0 Sender ok
        C: RCPT TO:<someone@far.example>
        S: 250 2.1.5 Recipient ok
        """,
        desk,
    )


async def test_being_trusted_gives_no_right_to_relay() -> None:
    desk = Desk(trusted=["192.0.2.0/24"])
    await talk(
        """
        S: 220 mx.example.org ESMTP
        C: EHLO proxy.example
        S: 250*
        C: MAIL FROM:<a@b.example>
        S: 250 2.1.0 Sender ok
        C: RCPT TO:<someone@far.example>
        S: 550 5.7.1 Relaying denied: log in, or send to an address of this server
        """,
        desk,
    )


async def test_xclient_names_the_client_and_never_a_login() -> None:
    desk = Desk(trusted=["192.0.2.7"], relay_networks=["192.0.2.7"])
    await talk(
        """
        S: 220 mx.example.org ESMTP
        C: EHLO proxy.example
        S: 250*
        C: XCLIENT ADDR=203.0.113.5 LOGIN=ada@example.org
        S: 220 mx.example.org ESMTP
        C: EHLO client.example
        S: 250*
        C: MAIL FROM:<a@b.example>
        S: 250 2.1.0 Sender ok
        C: RCPT TO:<someone@far.example>
        S: 550 5.7.1 Relaying denied: log in, or send to an address of this server
        """,
        desk,
        xclient=True,
    )
    assert desk.recorder.of("smtp.message")[0].client.ip == "203.0.113.5"
