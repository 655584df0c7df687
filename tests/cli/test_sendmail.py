"""`gatepost sendmail`: the words of sendmail, the message it makes, and what its exit code tells the caller."""

from __future__ import annotations

import os
import pwd
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.conftest import Command

from gatepost.app.places import submission_socket
from gatepost.cli.message import Message
from gatepost.cli.sendmail_words import Words, parse
from gatepost.cli.sysexits import SendmailError, code_for
from gatepost.config.locate import sendmail_socket

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
OWN = f"{pwd.getpwuid(os.getuid()).pw_name}@mx.example.org"


# --- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ada@example.org root", Words(recipients=["ada@example.org", "root"])),
        ("-t -i", Words(from_header=True, dots=False)),
        ("-ti", Words(from_header=True, dots=False)),
        ("-oi -t", Words(from_header=True, dots=False)),
        ("-o i -oem -odi -odb -t", Words(from_header=True, dots=False)),
        ("-f bob@example.net -FBob a", Words(recipients=["a"], sender="bob@example.net", name="Bob")),
        ("-fbob@example.net -F Bob a", Words(recipients=["a"], sender="bob@example.net", name="Bob")),
        ("-r <bob@example.net> a", Words(recipients=["a"], sender="bob@example.net")),
        ("-f <> a", Words(recipients=["a"], sender="")),
        ("-bm -v -- -odd", Words(recipients=["-odd"], verbose=True)),
        ("-B8BITMIME -Lsyslog -O QueueDirectory=/x -h 3 -d0.4 -U -G -n a", Words(recipients=["a"])),
        ("-N never -R hdrs -V id a", Words(recipients=["a"], notify="NEVER", ret="HDRS", envid="id")),
        ("-C/x.toml a -t", Words(recipients=["a"], config=Path("/x.toml"), from_header=True)),
        ("--config=/x.toml a", Words(recipients=["a"], config=Path("/x.toml"))),
        ("-bi", Words(mode="aliases")),
        ("-I", Words(mode="aliases")),
        ("-bp", Words(mode="queue")),
    ],
)
def test_what_programs_say_to_sendmail_is_understood(line: str, expected: Words) -> None:
    assert parse(line.split(" ")) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-bs", "SMTP on standard input is not offered; connect to a submission port"),
        ("-bd -q30m", 'the server is started with "gatepost serve"'),
        ("-q", "gatepost queue retry --all"),
        ("-bz", "-bz: there is no such mode"),
        ("-b ", "-b: there is no such mode"),
        ("-Z a", "-Z: sendmail has no such option here"),
        ("--turbo a", "takes single letters"),
        ("-f", "-f needs a value behind it"),
        ("-N never,delay a", "write never, or some of success,failure,delay"),
        ("-R some a", "write full or hdrs"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_to_do(line: str, said: str) -> None:
    with pytest.raises(SendmailError, match=re.escape(said)) as caught:
        parse(line.split(" "))
    assert caught.value.code == 64


@given(st.lists(st.text(st.sampled_from("-btifFNqoR =a@"), max_size=6), max_size=5))
def test_no_words_raise_anything_else(arguments: list[str]) -> None:
    with suppress(SendmailError):
        parse(arguments)


# --- messages ------------------------------------------------------------------------------------------------------


def completed(text: bytes, *, dots: bool = True, sender: str = "ada@example.org", name: str = "") -> bytes:
    message = Message(text, dots=dots)
    message.complete(sender=sender, name=name, hostname="mx.example.org", message_id="01x", now=NOW)
    return message.octets()


ADDED = (
    b"From: ada@example.org\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <01x@mx.example.org>\r\n"
)  # fmt: skip


def test_missing_fields_are_added_below_those_that_are_there() -> None:
    assert completed(b"Subject: x\n\nHello\n") == b"Subject: x\r\n" + ADDED + b"\r\nHello\r\n"


def test_fields_that_are_there_stay_octet_for_octet() -> None:
    text = (
        b"FROM :  Ada <ada@example.org>\r\nDate: yesterday\r\nmessage-id: <x>\r\nX-Odd:\xff\r\n  folded\r\n\r\n\xff\r\n"
    )
    assert completed(text) == text


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (b"just a line\n", b"just a line\r\n"),
        (b"just a line", b"just a line\r\n"),
        (b"\nSubject: no field\n", b"Subject: no field\r\n"),
        (b"", b"\r\n"),
        (b"50%\r100%\rdone\n", b"50%\r\n100%\r\ndone\r\n"),
        (b"a\0b\n", b"ab\r\n"),
        (b"Subject: x\nforgot the blank line\n", b"forgot the blank line\r\n"),
        (b"From ada Tue Nov 24\nSubject: mbox\n\nx\n", b"x\r\n"),
    ],
)
def test_what_local_programs_write_becomes_a_message(text: bytes, body: bytes) -> None:
    header, _, found = completed(text).partition(b"\r\n\r\n")
    assert found == body or (body == b"\r\n" and found in (b"", b"\r\n"))
    assert b"Message-ID: <01x@mx.example.org>" in header
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", completed(text))


def test_a_single_dot_ends_the_message_unless_dots_are_ignored() -> None:
    text = b"Subject: x\n\nbefore\n..\n.\nafter\n"
    assert completed(text).endswith(b"\r\nbefore\r\n..\r\n")
    assert completed(text, dots=False).endswith(b"\r\nbefore\r\n..\r\n.\r\nafter\r\n")


def test_bcc_is_read_and_removed() -> None:
    message = Message(b"To: a@example.org\nBCC: b@example.org,\n c@example.org\nSubject: x\n\n", dots=True)
    assert message.recipients() == ["a@example.org", "b@example.org", "c@example.org"]
    message.complete(sender="", name="", hostname="h", message_id="x", now=NOW)
    assert b"example.org" not in message.octets().replace(b"To: a@example.org", b"")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"To: root\n", ["root"]),
        (b'To: "Lovelace, Ada" <ada@example.org>, Bob <bob@example.net>\n', ["ada@example.org", "bob@example.net"]),
        (b"To: friends: a@example.org, b@example.org;\n", ["a@example.org", "b@example.org"]),
        (b"To: undisclosed-recipients:;\nCc: a@example.org (Ada)\n", ["a@example.org"]),
        (b"To: old@example.org\nResent-To: new@example.org\n", ["new@example.org"]),
        (b"To:\n", []),
        ("To: jörg@bücher.example\n".encode(), ["jörg@bücher.example"]),
    ],
)
def test_recipients_come_from_the_header(header: bytes, expected: list[str]) -> None:
    assert Message(header + b"\nx\n", dots=True).recipients() == expected


def test_a_from_without_a_domain_gets_ours() -> None:
    assert b"From: Cron Daemon <root@mx.example.org>\r\n" in completed(b"From: root (Cron Daemon)\n\nx\n")


def test_names_are_written_so_that_they_are_names() -> None:
    assert b'From: "Lovelace, Ada" <ada@example.org>\r\n' in completed(b"\nx", name="Lovelace, Ada")
    assert b"From: =?utf-8?" in completed(b"\nx", name="J\N{LATIN SMALL LETTER O WITH DIAERESIS}rg")
    assert completed(b"\nx", name="x\nBcc: eve@far.example").lower().count(b"\r\nbcc") == 0


@given(st.binary(max_size=200))
def test_any_octets_become_lines_that_end_in_crlf(text: bytes) -> None:
    octets = completed(text)
    assert octets.endswith(b"\r\n")
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", octets)
    with suppress(SendmailError):
        Message(b"To: " + text, dots=False).recipients()


# --- the command -----------------------------------------------------------------------------------------------------


class Server:
    """An SMTP server at a unix socket that answers as told. heard: the lines it was sent; content: the message."""

    def __init__(self, path: Path) -> None:
        self.answers: dict[str, str] = {}
        self.extensions = "SIZE 1000000\n8BITMIME\nDSN\nSMTPUTF8"
        self.heard: list[str] = []
        self.content = b""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rwb") as stream:
            self._say(stream, self.answers.get("greeting", "220 mx.example.org"))
            while line := stream.readline():
                # Pythons differ in the case of what has none: "mail FROM:", "mail from:" (RFC 5321 §2.4).
                words, colon, rest = line.decode().rstrip("\r\n").partition(":")
                verb, blank, argument = words.partition(" ")
                command = verb.upper() + blank + (argument.upper() + colon + rest if colon else argument)
                self.heard.append(command)
                if command == "QUIT":
                    self._say(stream, "221 2.0.0 Goodbye")
                    return
                self._answer(stream, command)

    def _answer(self, stream: object, command: str) -> None:
        told = next((reply for start, reply in self.answers.items() if command.startswith(start)), None)
        if command.startswith("EHLO"):
            *more, last = ["mx.example.org", *self.extensions.split("\n")]
            self._say(stream, "\r\n".join([*(f"250-{line}" for line in more), f"250 {last}"]))
        elif command == "DATA" and told is None:
            self._say(stream, "354 Go on")
            while not self.content.endswith(b"\r\n.\r\n"):
                self.content += stream.readline()  # type: ignore[attr-defined]
            self._say(stream, self.answers.get("content", "250 2.0.0 Kept (01X)"))
        else:
            self._say(stream, told or "250 2.0.0 Fine")

    def _say(self, stream: object, reply: str) -> None:
        stream.write(f"{reply}\r\n".encode())  # type: ignore[attr-defined]
        stream.flush()  # type: ignore[attr-defined]


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    made = Server(folder / "data" / "run" / "submit.sock")
    yield made
    made.close()


SENDMAIL = ("--config", "gatepost.toml", "sendmail")


def test_a_message_is_submitted_as_the_user_that_calls(gatepost: Command, server: Server) -> None:
    ran = gatepost(*SENDMAIL, "root", "Ada@example.org", stdin="Subject: x\n\nHello\n.hidden\n")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    size = len(server.content) - len(b".\r\n") - 1  # the end of data, and the dot that was stuffed
    assert server.heard == [
        "EHLO mx.example.org", f"MAIL FROM:<{OWN}> SIZE={size}", "RCPT TO:<root@mx.example.org>",
        "RCPT TO:<Ada@example.org>", "DATA", "QUIT",
    ]  # fmt: skip
    assert server.content.startswith(b"Subject: x\r\n")
    assert f"<{OWN}>\r\n".encode() in server.content or f"From: {OWN}\r\n".encode() in server.content
    assert server.content.endswith(b"\r\n\r\nHello\r\n..hidden\r\n.\r\n")


def test_recipients_in_the_header_and_sender_by_option(gatepost: Command, server: Server) -> None:
    text = "To: ada@example.org\nBcc: eve@example.org\n\nJ\N{LATIN SMALL LETTER O WITH DIAERESIS}rg\n"
    words = ["-t", "-i", "-f", "bob@example.org", "-N", "never", "-R", "hdrs", "-V", "a+b"]
    ran = gatepost(*SENDMAIL, *words, stdin=text)
    assert ran.code == 0
    mail, *recipients = (line for line in server.heard if line.startswith(("MAIL", "RCPT")))
    assert mail.startswith("MAIL FROM:<bob@example.org> SIZE=")
    assert mail.endswith(" BODY=8BITMIME RET=HDRS ENVID=a+2Bb")
    assert recipients == ["RCPT TO:<ada@example.org> NOTIFY=NEVER", "RCPT TO:<eve@example.org> NOTIFY=NEVER"]
    assert b"eve@" not in server.content


def test_an_address_beyond_ascii_asks_for_smtputf8(gatepost: Command, server: Server) -> None:
    assert gatepost(*SENDMAIL, "jörg@example.org", stdin="x\n").code == 0
    assert server.heard[1].endswith(" SMTPUTF8")


OUTCOMES = [
    ({"MAIL": "553 5.7.1 Not yours"}, 77, f"sender {OWN}: 553 5.7.1 Not yours"),
    ({"RCPT TO:<a@": "550 5.1.1 No such recipient"}, 67, "recipient a@example.org: 550 5.1.1 No such recipient"),
    ({"RCPT TO:<b@": "451 4.3.0 Later"}, 75, "recipient b@example.org: 451 4.3.0 Later"),
    ({"content": "552 5.3.4 Too large"}, 65, "message: 552 5.3.4 Too large"),
    ({"content": "452 4.3.1 Disk full"}, 75, "message: 452 4.3.1 Disk full"),
    ({"DATA": "421 4.3.0 No record"}, 75, "message: 421 4.3.0 No record"),
    ({"greeting": "421 4.3.2 Too busy"}, 75, "the server does not take mail now: 421 4.3.2 Too busy"),
    ({"MAIL": "what?"}, 76, "sender"),
    ({"DATA": "250 2.0.0 Fine"}, 76, "message: 250, where 354 was expected"),
]  # fmt: skip


@pytest.mark.parametrize(("answers", "code", "said"), OUTCOMES)
def test_the_exit_code_tells_whether_to_try_again(
    gatepost: Command, server: Server, answers: dict[str, str], code: int, said: str
) -> None:
    server.answers = answers
    ran = gatepost(*SENDMAIL, "a@example.org", "b@example.org", stdin="x\n")
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_one_that_is_refused_for_good_does_not_keep_the_others_from_theirs(gatepost: Command, server: Server) -> None:
    server.answers = {"RCPT TO:<a@": "550 5.1.1 No such recipient"}
    assert gatepost(*SENDMAIL, "a@example.org", "b@example.org", stdin="x\n").code == 67
    assert server.content


def test_one_that_is_refused_for_now_stops_all_as_the_caller_tries_again(gatepost: Command, server: Server) -> None:
    server.answers = {"RCPT TO:<b@": "451 4.3.0 Later"}
    assert gatepost(*SENDMAIL, "a@example.org", "b@example.org", stdin="x\n").code == 75
    assert server.content == b""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 64, "no recipients; name them behind the options, or use -t"),
        (("-t",), 64, "no recipients"),
        (("a b@example.org",), 65, "'a b@example.org' is not an address"),
        (("a@example.org\r\nRCPT TO:<eve@far.example>",), 65, "is not an address"),
        (("-bs",), 64, "not offered"),
        (
            ("a@example.org",),
            75,
            "data/run: No such file or directory; the message was not taken; see that the server runs",
        ),
    ],
)
def test_what_never_reaches_the_server(gatepost: Command, words: tuple[str, ...], code: int, said: str) -> None:
    ran = gatepost(*SENDMAIL, *words, stdin="x\n")
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_a_server_that_is_not_there_is_a_reason_to_try_again(gatepost: Command, folder: Path) -> None:
    made = Server(folder / "data" / "run" / "submit.sock")
    made.close()
    ran = gatepost(*SENDMAIL, "a@example.org", stdin="x\n")
    assert ran.code == 75
    assert "submit.sock: Connection refused; the message was not taken" in ran.err


def test_the_configuration_of_a_strange_folder_is_not_believed(
    gatepost: Command, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Root's cron job in a folder of somebody else's would hand its mail to them."""
    monkeypatch.setattr("gatepost.config.locate.SYSTEM_FILE", tmp_path / "none.toml")
    ran = gatepost("sendmail", "a@example.org", stdin="x\n")
    assert ran.code == 78
    assert server.heard == []


def test_secrets_that_the_caller_may_not_read_do_not_matter(gatepost: Command, server: Server, folder: Path) -> None:
    with (folder / "gatepost.toml").open("a") as file:
        file.write('[relay]\nsmarthost = "smtps://u@h.example"\nsmarthost_password = { file = "closed" }\n')
    assert gatepost(*SENDMAIL, "a@example.org", stdin="x\n").code == 0


def test_the_queue_and_newaliases_under_their_old_names(gatepost: Command, folder: Path) -> None:
    assert gatepost("sendmail", "-bi").code == 0
    ran = gatepost("sendmail", "-bp")
    assert (ran.code, ran.err) == (0, "Nothing waits.\n")
    link = folder / "mailq"
    link.symlink_to(Path(sys.executable).with_name("gatepost"))
    ran_link = subprocess.run([link], capture_output=True, text=True, check=False, timeout=30, cwd=folder)
    assert (ran_link.returncode, ran_link.stderr) == (0, "Nothing waits.\n")


def test_a_link_called_sendmail_is_sendmail(folder: Path, server: Server) -> None:
    link = folder / "sendmail"
    link.symlink_to(Path(sys.executable).with_name("gatepost"))
    words: list[str | Path] = [link, "-C", folder / "gatepost.toml", "-oi", "root"]
    ran = subprocess.run(words, input=b"x\n.\ny\n", capture_output=True, check=False, timeout=30)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert server.content.endswith(b"x\r\n..\r\ny\r\n.\r\n")


def test_help_is_help(gatepost: Command) -> None:
    ran = gatepost("sendmail", "--help")
    assert ran.code == 0
    assert "-f FROM" in ran.out


@pytest.mark.parametrize(
    ("reply", "text", "code"),
    [(450, "4.2.1 x", 75), (550, "5.1.1 x", 67), (550, "5.1.2 x", 68), (556, "5.1.10 x", 68), (550, "5.7.1 x", 77),
     (554, "5.6.0 x", 65), (552, "5.3.4 x", 65), (554, "no code", 69)],
)  # fmt: skip
def test_replies_as_exit_codes(reply: int, text: str, code: int) -> None:
    assert code_for(reply, text) == code


def test_the_server_listens_where_sendmail_asks() -> None:
    assert submission_socket(Path("/data")) == sendmail_socket(Path("/data"))
