"""What a client says in one session, as steps that the load generators play. Not here: how fast, and to whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

Phase = Literal["o", "m", "c"]
"""o: once after the connection was made; m: for each message; c: before it is closed."""
HELO = "client.example.net"
SENDER = "bob@example.net"


class Step(msgspec.Struct, frozen=True):
    """expected: the first digit of the reply. kind: "s" sends `octets` (b"": only waits), "t" starts TLS."""

    phase: Phase
    expected: str
    octets: bytes = b""
    kind: Literal["s", "t"] = "s"


def content(octets: int) -> bytes:
    """A message of about `octets` octets, its header, lines of 76 and the final dot included."""
    head = (
        f"From: Bob <{SENDER}>\r\nTo: Ada <ada@example.org>\r\nSubject: A message of the bench\r\n"
        "Message-ID: <bench@example.net>\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\n"
    ).encode()
    line = b"The quick brown fox jumps over the lazy dog, and does so again and again.." + b"\r\n"
    end = b".\r\n"
    lines, rest = divmod(max(0, octets - len(head) - len(end)), len(line))
    tail = b"x" * (rest - 2) + b"\r\n" if rest > 2 else b""
    return head + line * lines + tail + end


def opening(*, tls: bool = False, login: bytes = b"") -> list[Step]:
    """Greeting and EHLO, STARTTLS where it is wanted, and the AUTH line that logs in."""
    ehlo = Step("o", "2", f"EHLO {HELO}\r\n".encode())
    steps = [Step("o", "2"), ehlo]
    if tls:
        steps += [Step("o", "2", b"STARTTLS\r\n"), Step("o", "2", kind="t"), ehlo]
    if login:
        steps.append(Step("o", "2", login))
    return steps


def message(recipient: str, octets: int) -> list[Step]:
    """One message to one recipient."""
    return [
        Step("m", "2", f"MAIL FROM:<{SENDER}>\r\n".encode()),
        Step("m", "2", f"RCPT TO:<{recipient}>\r\n".encode()),
        Step("m", "3", b"DATA\r\n"),
        Step("m", "2", content(octets)),
    ]


def refused(recipient: str) -> list[Step]:
    """A recipient that the server has to refuse for good."""
    return [
        Step("m", "2", f"MAIL FROM:<{SENDER}>\r\n".encode()),
        Step("m", "5", f"RCPT TO:<{recipient}>\r\n".encode()),
    ]


def nothing() -> list[Step]:
    """A session that is only opened: what it took until then is what counts."""
    return [Step("m", "2", b"NOOP\r\n")]


CLOSING = Step("c", "2", b"QUIT\r\n")


def encode(steps: Sequence[Step]) -> bytes:
    """The script as bench/load.c reads it."""
    return b"".join(
        f"{step.phase} {step.expected} {step.kind} {len(step.octets)}\n".encode() + step.octets for step in steps
    )
