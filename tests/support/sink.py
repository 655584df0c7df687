"""A next hop that takes mail and keeps it in a list: aiosmtpd in a thread of its own, SMTP or LMTP.

with Sink() as sink:                # sink.address: "127.0.0.1:PORT"
    sink.wait_for(1)[0].content
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from aiosmtpd.controller import Controller
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session
from tests.support.server import HOST, free_port

PATIENCE_SECONDS: Final = 20.0


class Taken:
    """One message. options: the parameters of MAIL; recipient_options: those of each RCPT."""

    def __init__(self, envelope: Envelope, helo: str) -> None:
        self.reverse_path = envelope.mail_from or ""
        self.recipients = list(envelope.rcpt_tos)
        self.options = list(envelope.mail_options)
        content = envelope.original_content
        assert content is not None
        self.content = content
        self.helo = helo


class Sink:
    """replies: to RCPT, by address; others: to everybody else. at_end: to content that holds the octets."""

    def __init__(
        self,
        replies: Mapping[str, str] | None = None,
        *,
        others: str = "250 2.1.5 Ok",
        at_end: Mapping[bytes, str] | None = None,
        host: str = HOST,
        port: int = 0,
        lmtp: bool = False,
    ) -> None:
        self.host = host
        self.port = port or free_port(host)
        self.taken: list[Taken] = []
        self.asked: list[str] = []
        self._replies = dict(replies or {})
        self._others = others
        self._at_end = dict(at_end or {})
        self._more = threading.Condition()
        self._controller = _Controller(self, lmtp)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()

    def wait_for(self, count: int) -> list[Taken]:
        """What was taken, once it is `count` messages."""
        with self._more:
            if not self._more.wait_for(lambda: len(self.taken) >= count, PATIENCE_SECONDS):
                raise AssertionError(f"{len(self.taken)} messages came instead of {count}; asked for {self.asked}")
            return list(self.taken)

    # --- aiosmtpd's hooks ----------------------------------------------------------------------------------------

    async def handle_RCPT(  # noqa: N802 - the name is aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.asked.append(address)
        reply = self._replies.get(address, self._others)
        if reply.startswith("2"):
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        for octets, reply in self._at_end.items():
            if octets in (envelope.original_content or b""):
                return reply
        with self._more:
            self.taken.append(Taken(envelope, session.host_name or ""))
            self._more.notify_all()
        return "250 2.0.0 Kept"


class _Controller(Controller):
    def __init__(self, sink: Sink, lmtp: bool) -> None:
        super().__init__(sink, hostname=sink.host, port=sink.port)
        self._lmtp = lmtp

    def factory(self) -> SMTP:
        kind: Any = LMTP if self._lmtp else SMTP
        made: SMTP = kind(self.handler, hostname="sink.example.net", enable_SMTPUTF8=True, data_size_limit=0)
        return made
