"""The ways by which alerts reach people: a message to the postmaster through the spool, and a webhook.

Not here: which alerts are told, when and in what words (`audit.alerts`).
"""

from __future__ import annotations

import quopri
from collections.abc import Callable, Sequence
from inspect import isawaitable
from typing import Final

from gatepost.accounts.directory import Directory
from gatepost.accounts.port import AccountsError
from gatepost.audit.alerts import Alert, CannotTell, Courier, Tell, payload, subject, text
from gatepost.audit.event import Recorder, RecordError
from gatepost.audit.settings import AlertSettings
from gatepost.delivery.record import ASIDE, alert_event
from gatepost.mail.address import NULL_PATH, Path, parse_mailbox
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.text import printable
from gatepost.mail.trace import date
from gatepost.net.fetch import HttpsFetcher
from gatepost.ports.clock import Clock, Ids
from gatepost.ports.fetch import Fetcher, FetchError
from gatepost.ports.resolver import Resolver
from gatepost.spool.destination import destination
from gatepost.spool.model import NewEntry
from gatepost.spool.port import SpoolError, SpoolStore

MAIL_SECONDS: Final = 900.0  # between two messages to the postmaster; what comes meanwhile is in the next one
HOOK_SECONDS: Final = 10.0  # between two posts to the webhook
MAX_SUBJECT: Final = 150
TIMEOUT: Final = 30.0
AGAIN: Final = frozenset({408, 425, 429})  # of 4xx: ask again later (RFC 9110 §15.5.9, RFC 8470, RFC 6585)


def couriers(hostname: str, settings: AlertSettings, mail: Tell, resolver: Resolver) -> list[Courier]:
    """One for each way that the settings want."""
    found: list[Courier] = []
    if settings.mail:
        # Mail about mail that is kept aside would be kept aside too.
        found.append(Courier("mail", mail, MAIL_SECONDS, lambda alert: alert.what.startswith(ASIDE)))
    if settings.webhook:
        fetcher = HttpsFetcher(resolver, private=settings.private)
        found.append(Courier("webhook", Webhook(hostname, settings.webhook, settings.token, fetcher), HOOK_SECONDS))
    return found


class PostmasterMail:
    """An `audit.alerts.Tell`: a message from this server to its postmaster, with a null reverse-path, so that nothing
    comes back from it. postmaster: None for nobody; it is kept aside then."""

    def __init__(
        self,
        hostname: str,
        postmaster: Path | None,
        directory: Directory,
        spool: SpoolStore,
        recorder: Recorder,
        clock: Clock,
        ids: Ids,
        notify: Callable[[], None],
    ) -> None:
        self._hostname = hostname
        self._to = postmaster or parse_mailbox(f"postmaster@{hostname}")
        self._directory = directory
        self._spool = spool
        self._recorder = recorder
        self._clock = clock
        self._ids = ids
        self._notify = notify

    async def __call__(self, alerts: Sequence[Alert], more: int) -> str:
        """The ID of the message, which is in the spool and on the record."""
        entry_id = self._ids.new()
        octets = self._message(entry_id, alerts, more)
        content = self._spool.new_content()
        try:
            found = self._directory.resolve(self._to)
            resolution = await found if isawaitable(found) else found
            content.write(octets)
            content.finish()
            recipients = (Recipient(self._to, notify=("NEVER",)),)
            entry = NewEntry(
                id=entry_id,
                envelope=Envelope(reverse_path=NULL_PATH, recipients=recipients, smtputf8=not self._to.is_ascii),
                received_at=self._clock.unix(),
                prefix=b"",
                octets=len(octets),
                destinations=(destination(self._to, kept_here=resolution.kind not in ("foreign", "relay")),),
            )
            self._recorder.record(alert_event(entry, [alert.id for alert in alerts]))
            await self._spool.add(entry, content)
        except (AccountsError, RecordError, SpoolError) as error:
            content.discard()
            raise CannotTell(str(error)) from error
        self._notify()
        return entry_id

    def _message(self, entry_id: str, alerts: Sequence[Alert], more: int) -> bytes:
        header = (
            f"From: Gatepost <postmaster@{self._hostname}>",
            f"To: <{self._to}>",
            f"Subject: {printable(subject(self._hostname, alerts), MAX_SUBJECT)}",
            f"Date: {date(self._clock.now())}",
            f"Message-ID: <{entry_id.lower()}@{self._hostname}>",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: quoted-printable",
        )
        body = quopri.encodestring(text(self._hostname, alerts, more).encode("utf-8", "backslashreplace"))
        return "\r\n".join([*header, "", ""]).encode() + body.replace(b"\n", b"\r\n")


class Webhook:
    """An `audit.alerts.Tell`: a POST of JSON."""

    def __init__(self, hostname: str, url: str, token: str, fetcher: Fetcher) -> None:
        self._hostname = hostname
        self._url = url
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        self._fetcher = fetcher

    async def __call__(self, alerts: Sequence[Alert], more: int) -> str:
        """The status of the answer. A refusal that another try would not change is final."""
        body = payload(self._hostname, alerts, more)
        try:
            answer = await self._fetcher.fetch(
                self._url, method="POST", body=body, headers=self._headers, timeout=TIMEOUT
            )
        except FetchError as error:
            raise CannotTell(str(error)) from error
        if 200 <= answer.status < 300:
            return str(answer.status)
        is_final = 300 <= answer.status < 500 and answer.status not in AGAIN
        raise CannotTell(f"the webhook answers {answer.status}", is_final=is_final)
