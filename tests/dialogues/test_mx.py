"""Dialogues of a stranger with the mx service."""

from __future__ import annotations

import asyncio

from tests.support.desk import Desk, talk


async def test_a_message_for_an_account_is_kept_before_250_is_said() -> None:
    desk = await talk("""
        S: 220 mx.example.org ESMTP
        C: EHLO client.example.net
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 52428800
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-CHUNKING
        S: 250-DSN
        S: 250-ENHANCEDSTATUSCODES
        S: 250-STARTTLS
        S: 250 LIMITS RCPTMAX=100
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 Sender ok
        C: RCPT TO:<ada@example.org>
        S: 250 2.1.5 Recipient ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: From: bob@example.net
        C: Subject: hello
        C:
        C: ..a line that begins with a dot
        C: .
        S: 250 2.0.0 Message accepted
        C: QUIT
        S: 221 2.0.0 Goodbye
    """)
    entry, content = desk.spool.only
    assert content == b"From: bob@example.net\r\nSubject: hello\r\n\r\n.a line that begins with a dot\r\n"
    assert entry.destinations == ("local",)
    found, _, trace = entry.prefix.partition(b"\r\nReceived: ")
    assert found.startswith(b"Authentication-Results: mx.example.org;\r\n\tspf=none ")
    assert found.endswith(b";\r\n\tdkim=none")
    assert trace.startswith(b"from client.example.net ([192.0.2.7])\r\n\tby mx.example.org with ESMTP id ")
    assert b"for <ada@example.org>" in entry.prefix
    assert desk.notified == 1
    (event,) = desk.recorder.of("smtp.message")
    assert event.id == entry.id
    assert event.reply == f"250 2.0.0 Message accepted ({entry.id})"
    (session,) = desk.recorder.of("smtp.session")
    assert session.dialogue[1] == "C: EHLO client.example.net"
    assert not any("begins with a dot" in line for line in session.dialogue)


async def test_a_stranger_cannot_relay_and_the_session_goes_on() -> None:
    desk = await talk("""
        S: 220 mx.example.org ESMTP
        C: HELO client.example.net
        S: 250 mx.example.org
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 Sender ok
        C: RCPT TO:<someone@far.example>
        S: 550 5.7.1 Relaying denied: log in, or send to an address of this server
        C: RCPT TO:<nobody@example.org>
        S: 550 5.1.1 No such recipient here; check the spelling of the address
        C: DATA
        S: 503 5.5.1 Bad sequence of commands: no valid recipients
        C: RCPT TO:<postmaster>
        S: 250 2.1.5 Recipient ok
        C: QUIT
        S: 221 2.0.0 Goodbye
    """)
    assert not desk.spool.entries
    (event,) = desk.recorder.of("smtp.message")
    assert [refused["recipient"] for refused in event.details["refused"]] == [
        "someone@far.example",
        "nobody@example.org",
    ]
    assert [v.check for v in event.verdicts if v.verdict == "reject"] == ["relay", "recipient.exists"]


async def test_a_pipelined_group_is_answered_in_one_write() -> None:
    desk = Desk()
    client = desk.connect()
    await client.read()
    client.session.data_received(
        b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<ada@example.org>\r\nRCPT TO:<x@far.example>\r\nDATA\r\n"
    )
    assert len(client.wire.written) == 1
    codes = [line[:4] for line in await client.read() if line[3] == " "]
    assert codes == ["250 ", "250 ", "250 ", "550 ", "354 "]


async def test_bare_line_feeds_do_not_end_data_and_end_the_connection() -> None:
    """What an attacker saw elsewhere: a second message behind LF.LF, from a sender that was never checked."""
    desk = Desk()
    client = desk.connect()
    await client.read()
    await client.say(b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ada@example.org>\r\nDATA\r\n")
    said = await client.say(
        b"From: a@b.example\r\n\r\nhello\n.\nMAIL FROM:<ceo@example.org>\r\nRCPT TO:<bob@example.org>\r\n\r\n.\r\n"
        b"MAIL FROM:<x@example.net>\r\n"
    )
    assert said == ["550 5.6.0 Lines must end in CR LF; bare CR, bare LF and NUL are not accepted"]
    assert client.wire.is_closed
    assert not desk.spool.entries


async def test_a_message_sent_in_chunks_arrives_octet_for_octet() -> None:
    desk = Desk()
    client = desk.connect()
    await client.read()
    await client.say(b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ada@example.org>\r\n")
    first, last = b"From: a@b.example\r\n\r\n.not stuffed\r", b"\n..nor here\r\n"
    assert await client.say(b"BDAT %d\r\n%s" % (len(first), first)) == [f"250 2.0.0 {len(first)} octets received"]
    assert await client.say(b"BDAT %d LAST\r\n%s" % (len(last), last)) == ["250 2.0.0 Message accepted"]
    assert desk.spool.only[1] == first + last


async def test_a_refused_chunk_is_read_and_not_taken_for_commands() -> None:
    desk = Desk()
    client = desk.connect()
    await client.read()
    said = await client.say(b"EHLO c.example\r\nBDAT 24 LAST\r\nMAIL FROM:<a@b.example>\nNOOP\r\n")
    assert said[-2:] == ["503 5.5.1 Bad sequence of commands", "250 2.0.0 Ok"]


async def test_a_full_disk_defers_the_message_and_the_server_goes_on() -> None:
    desk = Desk()
    desk.spool.room = 10
    transcript = """
        S: 220 mx.example.org ESMTP
        C: HELO c.example
        S: 250 mx.example.org
        C: MAIL FROM:<a@b.example>
        S: 250 2.1.0 Sender ok
        C: RCPT TO:<ada@example.org>
        S: 250 2.1.5 Recipient ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: From: a@b.example
        C:
        C: hello
        C: .
        S: {end}
        C: NOOP
        S: 250 2.0.0 Ok
    """
    await talk(transcript.format(end="452 4.3.1 Insufficient system storage, try again later"), desk)
    assert desk.spool.contents[0].is_discarded
    desk.spool.room = 1000
    await talk(transcript.format(end="250 2.0.0 Message accepted"), desk)


async def test_without_a_record_nothing_is_accepted() -> None:
    desk = Desk()
    client = desk.connect()
    await client.read()
    await client.say(b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ada@example.org>\r\nDATA\r\n")
    desk.recorder.fails = True
    said = await client.say(b"From: a@b.example\r\n\r\nhello\r\n.\r\n")
    assert said == ["421 4.3.0 This server cannot keep its record, try again later"]
    assert client.wire.is_closed
    assert not desk.spool.entries


async def test_an_announced_and_an_actual_size_over_the_limit_are_refused() -> None:
    desk = Desk()
    client = desk.connect()
    await client.read()
    said = await client.say(b"EHLO c.example\r\nMAIL FROM:<a@b.example> SIZE=52428801\r\n")
    assert said[-1] == "552 5.3.4 Message too large: at most 50 MiB are accepted"


async def test_a_peer_that_calls_itself_as_we_are_is_refused_at_rcpt_but_reaches_postmaster() -> None:
    await talk("""
        S: 220 mx.example.org ESMTP
        C: EHLO mx.example.org
        S: 250*
        C: MAIL FROM:<a@b.example>
        S: 250 2.1.0 Sender ok
        C: RCPT TO:<ada@example.org>
        S: 550 5.7.1 That name is ours: greet with your own host name
        C: RCPT TO:<postmaster@example.org>
        S: 250 2.1.5 Recipient ok
    """)


async def test_vrfy_tells_a_stranger_nothing_and_expn_is_refused() -> None:
    await talk("""
        S: 220 mx.example.org ESMTP
        C: VRFY ada@example.org
        S: 252 2.0.0 Cannot VRFY, but will take mail for a user of this server
        C: VRFY nobody@example.org
        S: 252 2.0.0 Cannot VRFY, but will take mail for a user of this server
        C: EXPN team@example.org
        S: 550 5.7.1 Access denied: log in to expand lists
        C: HELP
        S: 214 2.0.0 Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY EXPN HELP STARTTLS AUTH
    """)


async def test_auth_is_not_offered_on_mx() -> None:
    await talk("""
        S: 220 mx.example.org ESMTP
        C: EHLO c.example
        S: 250*
        C: AUTH PLAIN AGFkYUBleGFtcGxlLm9yZwBndWVzcw==
        S: 502 5.5.1 AUTH is not offered here; use the submission port
    """)


async def test_too_many_connections_from_one_address_are_told_to_come_later() -> None:
    desk = Desk()
    clients = [desk.connect() for _ in range(50)]
    one_more = desk.connect()
    assert await one_more.read() == ["421 4.7.0 Too many connections from your network, try again later"]
    assert one_more.wire.is_closed
    one_more.hang_up()
    clients[0].hang_up()
    assert (await desk.connect().read()) == ["220 mx.example.org ESMTP"]


async def test_starttls_forgets_what_was_said_and_drops_what_was_sent_ahead() -> None:
    desk = Desk()
    client = desk.connect()
    await client.read()
    said = await client.say(b"EHLO c.example\r\nSTARTTLS\r\nMAIL FROM:<injected@evil.example>\r\n")
    assert said[-1] == "220 2.0.0 Ready to start TLS"
    client.session.data_received(b"")
    await client.start_tls()
    assert await client.read() == []
    assert (await client.line("MAIL FROM:<a@b.example>")).startswith("503 5.5.1")
    said = await client.say(b"EHLO c.example\r\n")
    assert "250-STARTTLS" not in said
    client.hang_up()
    assert any("dropped" in line for line in desk.recorder.of("smtp.session")[0].dialogue)


async def test_an_address_whose_handshake_failed_is_offered_no_starttls_for_an_hour() -> None:
    desk = Desk()
    client = desk.connect()
    await client.read()
    await client.say(b"EHLO c.example\r\nSTARTTLS\r\n")
    client.hang_up("TLS handshake failed: no shared cipher")
    again = desk.connect()
    await again.read()
    assert "250-STARTTLS" not in await again.say(b"EHLO c.example\r\n")
    desk.clock.at += 3601
    later = desk.connect()
    await later.read()
    assert "250-STARTTLS" in await later.say(b"EHLO c.example\r\n")


async def test_a_silent_peer_is_told_so_after_five_minutes() -> None:
    desk = Desk()
    client = desk.connect()
    await client.read()
    desk.clock.at += 301
    client.wire.timers[-1].callback()
    assert await client.read() == ["421 4.4.2 Timeout: no command for too long"]
    assert client.wire.is_closed


async def test_a_peer_that_is_gone_before_its_message_is_being_kept_leaves_a_record_and_nothing_else() -> None:
    desk = Desk()
    client = desk.connect("mx")
    await client.read()
    for line in ("EHLO c.example.net", "MAIL FROM:<bob@example.net>", "RCPT TO:<ada@example.org>", "DATA"):
        await client.line(line)
    client.session.data_received(
        b"From: bob@example.net\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\nhello\r\n.\r\n"
    )
    client.hang_up("connection reset")  # in the same turn of the loop
    await asyncio.sleep(0)
    assert desk.spool.entries == {}
    assert all(content.is_discarded for content in desk.spool.contents)
    (event,) = desk.recorder.of("smtp.message")
    assert event.details["ended"] == "connection reset"
