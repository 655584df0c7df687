"""From a line to a command, or to the reply that refuses it: one row a case."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.mail.address import NULL_PATH, Path
from gatepost.mail.envelope import Recipient
from gatepost.protocol.smtp.command_syntax import parse_command, parse_response
from gatepost.protocol.smtp.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Data,
    Ehlo,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Malformed,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
    Xclient,
)
from gatepost.protocol.smtp.parameters import Dialect
from gatepost.protocol.smtp.xclient import XclientAttributes

ALL = Dialect(auth=True, xclient=True)
LMTP = Dialect(lmtp=True)
LENIENT = Dialect(strict=False)
AFTER_HELO = Dialect(extended=False)
ADA = Path("ada", "example.org")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("HELO client.example.net", Helo("client.example.net")),
        ("EHLO [192.0.2.1]", Ehlo("[192.0.2.1]")),
        ("ehlo my old computer ", Ehlo("my old computer")),  # helo.name decides
        ("EHLO caf\u00e9", Ehlo("caf\\xc3\\xa9")),
        ("EHLO a\\b", Ehlo("a\\b")),
        ("DATA", Data()),
        ("data \t", Data()),
        ("RSET\t", Rset()),
        ("NOOP", Noop()),
        ("NOOP whatever it is", Noop()),
        ("QUIT ", Quit()),
        ("HELP", Help()),
        ("HELP mail", Help("mail")),
        ("STARTTLS", StartTls()),
        ("VRFY ada", Vrfy("ada")),
        ("VRFY <ada@example.org>", Vrfy("<ada@example.org>")),
        ("VRFY jos\u00e9 SMTPUTF8", Vrfy("jos\u00e9", True)),
        ("EXPN staff smtputf8", Expn("staff", True)),
        ("EXPN SMTPUTF8x ", Expn("SMTPUTF8x")),
        ("BDAT 0", Bdat(0, False)),
        ("BDAT 86 LAST", Bdat(86, True)),
        ("bdat 86  last", Bdat(86, True)),
        ("AUTH plain", Auth("PLAIN")),
        ("AUTH PLAIN =", Auth("PLAIN", b"")),
        ("AUTH SCRAM-SHA-256 QUJD", Auth("SCRAM-SHA-256", b"ABC")),
        ("XCLIENT ADDR=192.0.2.7", Xclient(XclientAttributes(addr="192.0.2.7"))),
        ("MAIL FROM:<>", Mail(NULL_PATH)),
        ("mail from:<ada@example.org>", Mail(ADA)),
        ("MAIL FROM:<@relay.example.com,@b.example.net:ada@example.org>", Mail(ADA)),
        ("MAIL FROM:<ada@example.org> SIZE=12345678901234567890", Mail(ADA, size=12345678901234567890)),
        ("MAIL FROM:<ada@example.org> size=1 body=8bitmime", Mail(ADA, size=1, body="8BITMIME")),
        ("MAIL FROM:<ada@example.org>  BODY=7BIT ", Mail(ADA)),
        ("MAIL FROM:<jos\u00e9@example.org> SMTPUTF8", Mail(Path("jos\u00e9", "example.org"), smtputf8=True)),
        ("MAIL FROM:<ada@example.org> RET=hdrs ENVID=QQ+2B1+20x", Mail(ADA, ret="HDRS", envid="QQ+1 x")),
        ("MAIL FROM:<ada@example.org> ENVID=" + "x" * 100, Mail(ADA, envid="x" * 100)),
        ("MAIL FROM:<ada@example.org> AUTH=<>", Mail(ADA, auth="<>")),
        ("MAIL FROM:<ada@example.org> AUTH=e+3Dmc2@example.com", Mail(ADA, auth="e=mc2@example.com")),
        ("RCPT TO:<ada@example.org>", Rcpt(Recipient(ADA))),
        ("RCPT TO:<Postmaster>", Rcpt(Recipient(Path("Postmaster", "")))),
        ("RCPT TO:<ada@example.org> NOTIFY=NEVER", Rcpt(Recipient(ADA, ("NEVER",)))),
        ("RCPT TO:<ada@example.org> notify=success,Delay", Rcpt(Recipient(ADA, ("SUCCESS", "DELAY")))),
        (
            "RCPT TO:<ada@example.org> ORCPT=rfc822;a+2Bb@example.net",
            Rcpt(Recipient(ADA, (), "rfc822;a+b@example.net")),
        ),
        (
            "RCPT TO:<ada@example.org> ORCPT=utf-8;jos\\x{E9}@example.net",
            Rcpt(Recipient(ADA, (), "utf-8;jos\u00e9@example.net")),
        ),
        (
            "RCPT TO:<ada@example.org> ORCPT=UTF-8;jos\u00e9@example.net",
            Rcpt(Recipient(ADA, (), "UTF-8;jos\u00e9@example.net")),
        ),
        ("RCPT TO:<jos\u00e9@example.org>", Rcpt(Recipient(Path("jos\u00e9", "example.org")))),  # the session decides
    ],
)
def test_a_line_is_read_as_this_command(line: str, command: Command) -> None:
    assert parse_command(line.encode(), ALL) == command


@pytest.mark.parametrize(
    ("line", "code", "esc"),
    [
        ("", 500, "5.5.2"),
        (" NOOP", 500, "5.5.2"),
        ("FOO", 500, "5.5.2"),
        ("NOOPX", 500, "5.5.2"),
        ("LHLO c", 500, "5.5.2"),
        ("ETRN example.org", 502, "5.5.1"),
        ("turn", 502, "5.5.1"),
        ("HELO", 501, "5.5.4"),
        ("EHLO ", 501, "5.5.4"),
        ("DATA now", 501, "5.5.4"),
        ("RSET x", 501, "5.5.4"),
        ("QUIT x", 501, "5.5.4"),
        ("STARTTLS now", 501, "5.5.4"),
        ("VRFY", 501, "5.5.4"),
        ("VRFY jos\u00e9", 553, "5.6.7"),
        ("AUTH", 501, "5.5.4"),
        ("AUTH PL@IN", 501, "5.5.4"),
        ("AUTH " + "X" * 21, 501, "5.5.4"),
        ("AUTH PLAIN !!!", 501, "5.5.2"),
        ("AUTH PLAIN QUJD=", 501, "5.5.2"),
        ("AUTH PLAIN a b", 501, "5.5.2"),
        ("XCLIENT", 501, "5.5.4"),
        ("XCLIENT FOO=1", 501, "5.5.4"),
        ("MAIL", 501, "5.5.4"),
        ("MAIL FROM", 501, "5.5.4"),
        ("MAIL TO:<ada@example.org>", 501, "5.5.4"),
        ("MAIL FROM <ada@example.org>", 501, "5.5.4"),
        ("MAIL FROM: <ada@example.org>", 501, "5.5.4"),
        ("MAIL FROM:ada@example.org", 501, "5.1.7"),
        ("MAIL FROM:<ada>", 501, "5.1.7"),
        ("MAIL FROM:<postmaster>", 501, "5.1.7"),
        ("MAIL FROM:<ada@example.org", 501, "5.1.7"),
        ("MAIL FROM:<ada@example.org>SIZE=1", 501, "5.1.7"),
        ("MAIL FROM:<ada@[192.0.2.256]>", 501, "5.1.7"),
        ("MAIL FROM:<jos\u00e9@example.org>", 553, "5.6.7"),
        ("MAIL FROM:<ada@b\u00fccher.example>", 553, "5.6.7"),
        ("MAIL FROM:<ada@example.org> SIZE", 501, "5.5.4"),
        ("MAIL FROM:<ada@example.org> SIZE=", 501, "5.5.4"),
        ("MAIL FROM:<ada@example.org> SIZE=-1", 501, "5.5.4"),
        ("MAIL FROM:<ada@example.org> SIZE=\u0661", 501, "5.5.4"),
        ("MAIL FROM:<ada@example.org> SIZE=" + "1" * 21, 501, "5.5.4"),
        ("MAIL FROM:<ada@example.org> SIZE=1 SIZE=1", 501, "5.5.4"),
        ("MAIL FROM:<ada@example.org> BODY=BINARYMIME", 555, "5.5.4"),
        ("MAIL FROM:<ada@example.org> BODY=9BIT", 501, "5.5.4"),
        ("MAIL FROM:<ada@example.org> SMTPUTF8=yes", 501, "5.5.4"),
        ("MAIL FROM:<ada@example.org> SMTPUTF8 SMTPUTF8", 501, "5.5.4"),
        ("MAIL FROM:<ada@example.org> RET=ALL", 501, "5.5.4"),
        ("MAIL FROM:<ada@example.org> ENVID=" + "x" * 101, 501, "5.5.4"),
        ("MAIL FROM:<ada@example.org> ENVID=a+0D+0Ab", 501, "5.5.4"),  # it would end a line in our DSN
        ("MAIL FROM:<ada@example.org> ENVID=a+2b", 501, "5.5.4"),
        ("MAIL FROM:<ada@example.org> AUTH=nobody", 501, "5.5.4"),
        ("MAIL FROM:<ada@example.org> FOO=1", 555, "5.5.4"),
        ("MAIL FROM:<ada@example.org> NOTIFY=NEVER", 555, "5.5.4"),
        ("MAIL FROM:<ada@example.org> REQUIRETLS", 555, "5.5.4"),
        ("MAIL FROM:<ada@example.org> \u00fc=1", 501, "5.5.4"),
        ("MAIL FROM:<ada@example.org> =1", 501, "5.5.4"),
        ("RCPT TO:<>", 501, "5.1.3"),
        ("RCPT TO:<ada>", 501, "5.1.3"),
        ("RCPT TO:ada@example.org", 501, "5.1.3"),
        ("RCPT TO: <ada@example.org>", 501, "5.5.4"),
        ("RCPT FROM:<ada@example.org>", 501, "5.5.4"),
        ("RCPT TO:<ada@example.org> SIZE=1", 555, "5.5.4"),
        ("RCPT TO:<ada@example.org> NOTIFY=NEVER,SUCCESS", 501, "5.5.4"),
        ("RCPT TO:<ada@example.org> NOTIFY=SUCCESS,SUCCESS", 501, "5.5.4"),
        ("RCPT TO:<ada@example.org> NOTIFY=SOMETIMES", 501, "5.5.4"),
        ("RCPT TO:<ada@example.org> NOTIFY=NEVER NOTIFY=NEVER", 501, "5.5.4"),
        ("RCPT TO:<ada@example.org> ORCPT=rfc822", 501, "5.5.4"),
        ("RCPT TO:<ada@example.org> ORCPT=;x@example.net", 501, "5.5.4"),
        ("RCPT TO:<ada@example.org> ORCPT=rfc822;", 501, "5.5.4"),
        ("RCPT TO:<ada@example.org> ORCPT=rfc822;a+0D+0Ab", 501, "5.5.4"),
        ("RCPT TO:<ada@example.org> ORCPT=rfc822;jos\u00e9", 501, "5.5.4"),
        ("RCPT TO:<ada@example.org> ORCPT=utf-8;a\\x{0D}", 501, "5.5.4"),
        ("RCPT TO:<ada@example.org> ORCPT=utf-8;a\\x{D800}", 501, "5.5.4"),
        ("RCPT TO:<ada@example.org> ORCPT=rfc822;" + "x" * 494, 501, "5.5.4"),
    ],
)
def test_a_malformed_line_has_this_reply(line: str, code: int, esc: str) -> None:
    result = parse_command(line.encode(), ALL)
    assert isinstance(result, Malformed)
    assert (result.reply.code, result.reply.esc, result.is_fatal) == (code, esc, False)
    assert result.reason
    assert result.reason.isprintable()


@pytest.mark.parametrize(
    ("line", "esc"),
    [
        (b"MAIL FROM:<jos\xe9@example.org>", "5.1.7"),
        (b"RCPT TO:<jos\xe9@example.org>", "5.1.3"),
        (b"HELP \xe9", "5.5.2"),
    ],
)
def test_what_is_not_utf8_is_refused(line: bytes, esc: str) -> None:
    result = parse_command(line, ALL)
    assert isinstance(result, Malformed)
    assert (result.reply.code, result.reply.esc) == (501, esc)


@pytest.mark.parametrize(
    "line",
    [
        "BDAT",
        "BDAT x",
        "BDAT -1",
        "BDAT 10 LASTLY",
        "BDAT 10LAST",
        "BDAT 1 LAST x",
        "BDAT \u0661",
        "BDAT " + "9" * 20,
        "BDAT \udce9",
    ],
)
def test_a_chunk_of_unknown_size_is_fatal(line: str) -> None:
    """An attacker saw: the content of the chunk read as commands."""
    result = parse_command(line.encode("utf-8", "surrogateescape"), ALL)
    assert isinstance(result, Malformed)
    assert result.is_fatal


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"CONNECT mx.example.org:25 HTTP/1.1"])
def test_a_web_client_is_not_let_go_on(line: bytes) -> None:
    result = parse_command(line, ALL)
    assert isinstance(result, Malformed)
    assert result.is_fatal


@pytest.mark.parametrize(
    ("line", "dialect", "expected"),
    [
        ("LHLO c", LMTP, Lhlo("c")),
        ("EHLO c", LMTP, 500),
        ("HELO c", LMTP, 500),
        ("MAIL FROM: <ada@example.org>", LENIENT, Mail(ADA)),
        ("MAIL FROM:ada@example.org SIZE=1", LENIENT, Mail(ADA, size=1)),
        ("MAIL FROM:   ada@example.org", LENIENT, Mail(ADA)),
        ("RCPT TO: ada@example.org", LENIENT, Rcpt(Recipient(ADA))),
        (f"MAIL FROM:<{'x' * 90}@example.org>", LENIENT, Mail(Path("x" * 90, "example.org"))),
        (f"MAIL FROM:<{'x' * 90}@example.org>", ALL, 501),
        ("MAIL FROM:", LENIENT, 501),
        ("MAIL FROM:<ada@example.org> SIZE=1", AFTER_HELO, 555),
        ("RCPT TO:<ada@example.org> NOTIFY=NEVER", AFTER_HELO, 555),
        ("RCPT TO:<jos\u00e9@example.org>", AFTER_HELO, 553),
        ("VRFY jos\u00e9 SMTPUTF8", AFTER_HELO, 553),
        ("AUTH PLAIN", AFTER_HELO, 501),
        ("BDAT 1", AFTER_HELO, 502),
        ("BDAT 1", Dialect(chunking=False), 502),
        ("MAIL FROM:<ada@example.org> BODY=8BITMIME", Dialect(eight_bit_mime=False), 555),
        ("MAIL FROM:<ada@example.org> SIZE=1", Dialect(size=False), 555),
        ("MAIL FROM:<ada@example.org> RET=FULL", Dialect(dsn=False), 555),
        ("RCPT TO:<ada@example.org> ORCPT=rfc822;x", Dialect(dsn=False), 555),
        ("MAIL FROM:<jos\u00e9@example.org> SMTPUTF8", Dialect(smtputf8=False), 555),
        ("RCPT TO:<jos\u00e9@example.org>", Dialect(smtputf8=False), 553),
        ("MAIL FROM:<ada@example.org> AUTH=<>", Dialect(), 555),
        ("XCLIENT ADDR=192.0.2.1", Dialect(), 500),
    ],
)
def test_the_dialect_decides_what_is_taken(line: str, dialect: Dialect, expected: Command | int) -> None:
    result = parse_command(line.encode(), dialect)
    assert (result.reply.code if isinstance(result, Malformed) else result) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", AuthResponse(b"")),
        (b"QUJD", AuthResponse(b"ABC")),
        (b"*", AuthResponse(None)),
        (b"QUJ", 501),
        (b"=", 501),
        (b" ", 501),
    ],
)
def test_auth_responses(line: bytes, expected: AuthResponse | int) -> None:
    result = parse_response(line)
    assert (result.reply.code if isinstance(result, Malformed) else result) == expected


def test_no_password_stands_in_the_text_of_a_command() -> None:
    secret = b"\0ada\0hunter2"
    assert "hunter2" not in repr(Auth("PLAIN", secret)) + str(AuthResponse(secret))


@pytest.mark.parametrize(
    "line",
    [b"AUTH\tPLAIN aHVudGVyMg==", b"AUTH PLAIN aHVudGVyMg== x", b"AUTH PLAIN aHVudGVyMg==\xff", b"FOO aHVudGVyMg=="],
)
def test_no_password_stands_in_the_reason_of_a_refusal(line: bytes) -> None:
    result = parse_command(line, ALL)
    assert isinstance(result, Malformed)
    assert "aHVudGVyMg" not in result.reason + str(result.reply)


_WORDS = st.sampled_from(
    [
        *(
            "MAIL FROM:",
            "RCPT TO:",
            "EHLO",
            "BDAT",
            "AUTH",
            "VRFY",
            "XCLIENT",
            "NOOP",
            "<",
            ">",
            "@",
            "a",
            "[",
            "]",
            "IPv6:",
        ),
        *(
            " ",
            ".",
            '"',
            "\\",
            "=",
            "+",
            "+2B",
            "SIZE",
            "ORCPT=rfc822;",
            "utf-8;",
            "\\x{",
            "}",
            "\u00fc",
            "\ud7ff",
            "xn--",
            "1",
        ),
        *("\u200d", "\u0130", "\u3002", "\uff0e", "\u05d0", "\u0660", "-", "%", "PORT", "LAST", "\x85", "\x1b"),
    ]
)


@given(
    st.lists(_WORDS, max_size=12).map(lambda words: "".join(words).encode()) | st.binary(max_size=80),
    st.booleans(),
    st.booleans(),
)
@example(b'MAIL FROM:<"\\"@[', True, True)
def test_no_octets_raise_and_replies_stay_one_printable_line(line: bytes, strict: bool, extended: bool) -> None:
    result = parse_command(line, Dialect(strict=strict, extended=extended, auth=True, xclient=True))
    if isinstance(result, Malformed):
        encoded = result.reply.encode()
        assert 500 <= result.reply.code < 600
        assert encoded.count(b"\r\n") == 1
        assert len(encoded) <= 512
        assert encoded[:-2].decode("ascii").isprintable()
        assert result.reason.isprintable()


@given(st.binary(max_size=60))
def test_no_response_raises(line: bytes) -> None:
    parse_response(line)


@given(
    st.sampled_from(
        [
            ADA,
            Path('odd "one" \\ here', "example.org"),
            Path("", "example.org"),
            Path("jos\u00e9", "b\u00fccher.example"),
        ]
    )
)
def test_a_path_that_we_print_is_read_back(path: Path) -> None:
    assert parse_command(f"MAIL FROM:<{path}> SMTPUTF8".encode(), ALL) == Mail(path, smtputf8=True)
