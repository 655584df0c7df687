"""Mail with UTF-8 in its header fields, for clients that said UTF8 and for those that never do (RFC 6856); LANG."""

from __future__ import annotations

import pytest
from tests.pickup.counter import ADA, Counter, talk
from tests.support.desk import PASSWORD

from gatepost.mail import downgrade

MAIL = (
    "Subject: Grüße\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    "--b\r\nContent-Description: é\r\n\r\n.ü\r\nlast\r\n--b--\r\n"
).encode()


def with_mail(content: bytes = MAIL) -> Counter:
    counter = Counter()
    counter.memory.kept[ADA].clear()
    counter.memory.put(ADA, content)
    return counter


async def test_a_client_that_never_said_utf8_gets_ascii_fields() -> None:
    counter = await talk(
        f"""
        S: +OK mx.example.org POP3 server ready
        C: USER {ADA}
        S: +OK Send the password
        C: PASS {PASSWORD}
        S: +OK 1 messages ({len(MAIL)} octets)
        C: LIST 1
        S: +OK 1 {len(MAIL)}
        C: RETR 1
        S: +OK The message follows; its header fields held UTF-8 and were made ASCII
        S: Subject: =?UTF-8?B?R3LDvMOfZQ==?=
        S: Content-Type: multipart/mixed; boundary=b
        S:
        S: --b
        S: Content-Description: =?UTF-8?B?w6k=?=
        S:
        S: ..ü
        S: last
        S: --b--
        S: .
        C: TOP 1 4
        S: +OK The message follows; its header fields held UTF-8 and were made ASCII
        S: Subject: =?UTF-8?B?R3LDvMOfZQ==?=
        S: Content-Type: multipart/mixed; boundary=b
        S:
        S: --b
        S: Content-Description: =?UTF-8?B?w6k=?=
        S:
        S: ..ü
        S: .
        C: QUIT
        S: +OK Goodbye
        """,
        with_mail(),
        tls=True,
    )
    assert counter.memory.kept[ADA] == {"uid-4": MAIL}  # what is kept stays as it came


async def test_after_utf8_the_message_comes_as_it_is() -> None:
    client = with_mail().connect(tls=True)
    await client.say("UTF8", f"USER {ADA}", f"PASS {PASSWORD}")
    octets = await client.octets(b"RETR 1\r\n")
    assert octets == b"+OK %d octets\r\n%b.\r\n" % (len(MAIL), MAIL.replace(b"\n.", b"\n.."))
    client.hang_up()


async def test_an_old_charset_passes_as_it_is() -> None:
    content = b"Subject: caf\xe9\r\n\r\nbody\r\n"
    client = with_mail(content).connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}")
    assert await client.octets(b"RETR 1\r\n") == b"+OK %d octets\r\n%b.\r\n" % (len(content), content)
    client.hang_up()


async def test_a_header_without_bounds_is_for_utf8_only_and_the_session_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(downgrade, "MAX_HEADER_OCTETS", 500)
    content = "X: ü\r\n".encode() * 100 + b"\r\n"
    client = with_mail(content).connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}")
    refusal = "-ERR [UTF8] This message can be had after UTF8 only, which comes before the login"
    assert await client.say("RETR 1", "TOP 1 0", "STAT") == [refusal, refusal, f"+OK 1 {len(content)}"]
    client.hang_up()
    client = client_of = with_mail(content).connect(tls=True)
    await client.say("UTF8", f"USER {ADA}", f"PASS {PASSWORD}")
    assert (await client.say("RETR 1"))[0] == f"+OK {len(content)} octets"
    client_of.hang_up()


async def test_utf8_is_forgotten_by_nobody_but_comes_before_the_login_and_after_stls() -> None:
    await talk(f"""
        S: +OK mx.example.org POP3 server ready
        C: STLS
        S: +OK Begin TLS
        (TLS)
        C: UTF8
        S: +OK UTF-8 is understood
        C: STLS
        S: -ERR STLS comes before UTF8
        C: USER {ADA}
        S: +OK Send the password
        C: PASS {PASSWORD}
        S: +OK 3 messages (76 octets)
        C: UTF8
        S: -ERR UTF8 comes before the login
        C: QUIT
        S: +OK Goodbye
        """)


async def test_the_languages_of_the_replies() -> None:
    dialogue = """
        C: LANG
        S: +OK The languages follow
        S: en English
        S: i-default English, the language of this server
        S: .
        C: LANG *
        S: +OK en Replies are in English
        C: lang EN-gb
        S: +OK en Replies are in English
        C: LANG i-default
        S: +OK i-default Replies are in English
        C: LANG fr
        S: -ERR en That language is not spoken here; LANG lists those that are
        C: LANG i-klingon
        S: -ERR en That language is not spoken here; LANG lists those that are
        C: LANG fr en
        S: -ERR A language tag or * is expected
        C: LANG é
        S: -ERR A language tag or * is expected"""
    await talk(
        f"""
        S: +OK mx.example.org POP3 server ready{dialogue}
        C: USER {ADA}
        S: +OK Send the password
        C: PASS {PASSWORD}
        S: +OK 3 messages (76 octets){dialogue}
        """,
        tls=True,
    )
