"""Real mail of many programs, odd and broken as it is, passes through a real server octet for octet: in by DATA and by
BDAT, through spool and Maildir, out by POP3. What is refused is named here, with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import pytest
from tests.support.server import ADA, SECRET, Server

CORPUS: Final = Path(__file__).parents[1] / "corpus" / "mime"
NO_SAMPLES: Final = {"LICENSE", "SOURCE.txt", ".gitattributes"}
SAMPLES: Final = sorted(path for path in CORPUS.rglob("*") if path.is_file() and path.name not in NO_SAMPLES)

NO_FIELD: Final = b"the header section is malformed (a line without a field name)"
REFUSED: Final = {
    "bounces-crlf/lhost-ezweb-01.eml": NO_FIELD,  # the first line is that of an mbox file, here and below
    "bounces-crlf/lhost-x6-01.eml": NO_FIELD,
    "bounces-crlf/rhost-cox-01.eml": NO_FIELD,
    "bounces-crlf/rhost-spectrum-01.eml": NO_FIELD,
    "mimekit/multipart-digest.txt": NO_FIELD,
    "mimekit/feedback-report.txt": NO_FIELD,  # a byte order mark in front of the first field's name
    "mimekit/issue358.txt": NO_FIELD,  # a signature folded without a blank
    "mimekit/stack-overflow.txt": b"the header section has over 128 KiB",
}
"""Samples that `content.headers` and `content.lines` do not let pass, and the words of the refusal."""


def on_the_wire(sample: Path) -> bytes:
    """The sample with CRLF at the end of each line, which is all that SMTP can carry. One without a From field gets
    one: whoever sends has to (RFC 5322 §3.6), and these were cut out of larger messages."""
    octets = re.sub(rb"\r?\n", b"\r\n", sample.read_bytes())
    if not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    head = octets.partition(b"\r\n\r\n")[0]
    return octets if re.search(rb"^from:", head, re.M | re.I) else b"From: sample@example.net\r\n" + octets


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), ("mx", "pop3")) as server:
        yield server


class Client:
    """A bare SMTP or POP3 client: octets as they come."""

    def __init__(self, server: Server, service: str) -> None:
        self._socket = server.connect(service)
        self._file: BinaryIO = self._socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def say(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def line(self) -> bytes:
        return self._file.readline()

    def reply(self) -> bytes:
        """The last line of an SMTP reply."""
        while (line := self.line())[3:4] == b"-":
            pass
        return line

    def rest(self) -> bytes:
        """A multi-line answer of POP3, without dot-stuffing."""
        octets = b""
        while (line := self.line()) != b".\r\n":
            assert line, "the server closed the connection"
            octets += line.removeprefix(b".") if line.startswith(b".") else line
        return octets


def send(server: Server, content: bytes, *, chunked: bool) -> bytes:
    """The final reply."""
    envelope = b"EHLO client.example.net\r\nMAIL FROM:<bob@example.net> BODY=8BITMIME\r\nRCPT TO:<ada@example.org>\r\n"
    with Client(server, "mx") as client:
        client.reply()
        client.say(envelope)
        assert [client.reply()[:3] for _ in range(3)] == [b"250"] * 3
        if chunked:
            third = len(content) // 3  # wherever that is: in a line, between CR and LF
            pieces = [content[:third], content[third : 2 * third], content[2 * third :]]
            for number, piece in enumerate(pieces):
                client.say(b"BDAT %d%s\r\n%s" % (len(piece), b" LAST" if number == 2 else b"", piece))
            replies = [client.reply() for _ in pieces]
        else:
            client.say(b"DATA\r\n")
            assert client.reply()[:3] == b"354"
            client.say(re.sub(rb"^\.", b"..", content, flags=re.M) + b".\r\n")
            replies = [client.reply()]
        client.say(b"QUIT\r\n")
        return replies[-1]


def collect(server: Server) -> bytes:
    """The one message in ada's maildrop, which is then removed."""
    server.wait_for_mail(ADA)
    with Client(server, "pop3") as client:
        client.line()
        # Who does not say UTF8 gets ASCII in the header fields, whatever came (RFC 6856).
        client.say(f"UTF8\r\nUSER {ADA}\r\nPASS {SECRET}\r\nSTAT\r\nRETR 1\r\n".encode())
        status = [client.line() for _ in range(5)][1:]
        assert status[2].startswith(b"+OK 1 "), status
        content = client.rest()
        client.say(b"DELE 1\r\nQUIT\r\n")
        assert [client.line()[:3] for _ in range(2)] == [b"+OK"] * 2
        assert status[2] == b"+OK 1 %d\r\n" % len(content)
        return content


def _name(sample: Path) -> str:
    return str(sample.relative_to(CORPUS))


@pytest.mark.parametrize("chunked", [False, True], ids=["DATA", "BDAT"])
@pytest.mark.parametrize("sample", [s for s in SAMPLES if _name(s) not in REFUSED], ids=_name)
def test_the_sample_passes_octet_for_octet(server: Server, sample: Path, chunked: bool) -> None:
    sent = on_the_wire(sample)
    assert b"\r" not in sent.replace(b"\r\n", b"")
    assert b"\x00" not in sent
    reply = send(server, sent, chunked=chunked)
    assert reply.startswith(b"250 2.0.0"), reply
    received = collect(server)
    assert received.endswith(sent)
    trace = received.removesuffix(sent).decode("ascii")
    names = [line.partition(":")[0] for line in trace.splitlines() if not line.startswith("\t")]
    assert names == ["Return-Path", "Delivered-To", "Authentication-Results", "Received"]


@pytest.mark.parametrize("chunked", [False, True], ids=["DATA", "BDAT"])
@pytest.mark.parametrize(("name", "why"), REFUSED.items(), ids=REFUSED)
def test_what_is_no_sound_message_is_refused_with_the_reason(
    server: Server, name: str, why: bytes, chunked: bool
) -> None:
    reply = send(server, on_the_wire(CORPUS / name), chunked=chunked)
    assert reply.startswith(b"554 5.6.0 Message not acceptable: " + why), reply
    assert server.mail(ADA) == []


@pytest.mark.parametrize("chunked", [False, True], ids=["DATA", "BDAT"])
@pytest.mark.parametrize("stray", [b"\r", b"\n", b"\x00", b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n"], ids=repr)
def test_a_sample_with_a_stray_cr_lf_or_nul_is_refused(server: Server, stray: bytes, chunked: bool) -> None:
    sent = on_the_wire(CORPUS / "bounces-crlf" / "rfc3464-01.eml")
    middle = len(sent) // 2
    reply = send(server, sent[:middle] + b"x" + stray + b"x" + sent[middle:], chunked=chunked)
    assert reply.startswith(b"550 5.6.0"), reply
    assert server.mail(ADA) == []


def test_there_are_samples() -> None:
    """Or everything above passes because it is empty."""
    assert len(SAMPLES) > 95
    assert {_name(sample) for sample in SAMPLES} >= REFUSED.keys()
