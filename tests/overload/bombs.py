"""Messages that are made to cost: pieces to send, and with which digits the answer may begin."""

from __future__ import annotations

from collections.abc import Iterator

MIB = 1024 * 1024
HEADER = b"From: bob@example.net\r\nTo: ada@example.org\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\nSubject: bomb\r\n"


def nested(depth: int) -> Iterator[bytes]:
    """A multipart in a multipart, and so on."""
    yield HEADER + b"MIME-Version: 1.0\r\n"
    for level in range(depth):
        yield b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (level, level)
    yield b"Content-Type: text/plain\r\n\r\nat the bottom\r\n"


BOMBS = {
    "100,000 header fields": ([HEADER, *[b"X:y\r\n" * 10_000] * 10, b"\r\nhello\r\n"], b"5"),
    "a header section without an end": ([HEADER, *[b"X-Long: " + b"y" * 900 + b"\r\n"] * 20_000, b"\r\n"], b"5"),
    "one field folded 200,000 times": (
        [HEADER, b"X-Folded: y\r\n", *[b" y\r\n" * 20_000] * 10, b"\r\nhello\r\n"],
        b"5",
    ),
    "2,000 From fields": ([b"From: a@b.example, c@d.example\r\n" * 2000, b"\r\nhello\r\n"], b"5"),
    "one From field of 200,000 addresses": (
        [HEADER.replace(b"bob@example.net", b"a@b.example,\r\n " * 20_000 + b"a@b.example"), b"\r\nhello\r\n"],
        b"5",
    ),
    "comments in comments": ([b"From: " + b"(" * 900 + b")" * 50 + b" a@b.example\r\n\r\nhello\r\n"], b"25"),
    "10,000 multiparts in each other": ([*nested(10_000)], b"25"),
    "a line of 50 MB": ([HEADER + b"\r\n", *[b"x" * MIB] * 48, b"\r\n"], b"5"),
    "CR, LF and NUL": ([HEADER + b"\r\n", *[b"\r\n\0\n\r." * 20_000] * 10, b"\r\n"], b"5"),
    "dots": ([HEADER + b"\r\n", *[b"..\r\n" * 50_000] * 20], b"25"),
}
