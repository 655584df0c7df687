"""Programs of 1990 and devices that nobody updates: their mail comes in where they are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.desk import Desk, talk

from gatepost.intake.repair import LineEnds
from gatepost.policy.checks import content_framing


async def test_a_helo_client_in_lower_case_gets_its_mail_in() -> None:
    desk = await talk("""
        S: 220 mx.example.org ESMTP
        C: helo client.example.net
        S: 250 mx.example.org
        C: mail from:<bob@example.net>
        S: 250 2.1.0 Sender ok
        C: rcpt to:<ada@example.org>
        S: 250 2.1.5 Recipient ok
        C: data
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: From: bob@example.net
        C:
        C: hello
        C: .
        S: 250 2.0.0 Message accepted
        C: quit
        S: 221 2.0.0 Goodbye
    """)
    assert b"with SMTP id" in desk.spool.only[0].prefix


@pytest.mark.parametrize("desk", [Desk(relay_networks=["192.0.2.0/24"]), Desk(trusted=["192.0.2.0/24"])])
async def test_a_known_peer_may_write_paths_as_old_programs_do(desk: Desk) -> None:
    client = desk.connect()
    await client.read()
    assert await client.line("helo scanner") == "250 mx.example.org"
    assert await client.line("mail from: scanner@example.net") == "250 2.1.0 Sender ok"
    assert await client.line("rcpt to:   <ada@example.org>") == "250 2.1.5 Recipient ok"


async def test_a_stranger_may_not_and_is_told_how_to_write_them() -> None:
    client = Desk().connect()
    await client.read()
    await client.line("helo client.example.net")
    said = await client.line("mail from: bob@example.net")
    assert said == "501 5.5.4 Syntax: MAIL FROM:<address>, without a blank after the colon"


async def scan(desk: Desk) -> list[str]:
    """A scanner that ends every line in LF; the last reply."""
    client = desk.connect()
    await client.read()
    said: list[str] = []
    for octets in (
        b"HELO scanner\nMAIL FROM:<scanner@example.net>\nRCPT TO:<ada@example.org>\n",
        b"DATA\n",
        b"From: scanner@example.net\nSubject: scan\n\npage 1\n.\n",
    ):
        said = await client.say(octets)
        if client.wire.is_closed:
            break
    client.hang_up()
    return said


async def test_a_scanner_that_ends_lines_in_lf_is_repaired_where_an_administrator_named_it() -> None:
    repair = {"content.framing": content_framing.Settings(repair=("192.0.2.7/32",))}
    desk = Desk(policy=repair, relay_networks=["192.0.2.0/24"])
    assert await scan(desk) == ["250 2.0.0 Message accepted"]
    assert desk.spool.only[1] == b"From: scanner@example.net\r\nSubject: scan\r\n\r\npage 1\r\n"
    (session,) = desk.recorder.of("smtp.session")
    assert session.details["bare_lf_repaired"] == 9


@pytest.mark.parametrize(
    "desk",
    [
        Desk(relay_networks=["192.0.2.0/24"]),
        Desk(policy={"content.framing": content_framing.Settings(repair=("192.0.2.7/32",))}),
        Desk(policy={"content.framing": content_framing.Settings(repair=("192.0.2.7/32",))}, trusted=["192.0.2.7"]),
    ],
)
async def test_nobody_else_s_bare_lf_is_repaired(desk: Desk) -> None:
    assert await scan(desk) == ["500 5.5.2 Syntax error: only CRLF ends a line"]
    assert not desk.spool.entries


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"\r", b"."]), max_size=12), st.data())
def test_line_ends_are_mended_wherever_the_octets_are_cut(pieces: list[bytes], data: st.DataObject) -> None:
    octets = b"".join(pieces)
    cut = data.draw(st.integers(0, len(octets)))
    ends = LineEnds()
    mended = ends.mend(octets[:cut]) + ends.mend(octets[cut:])
    assert mended == octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
