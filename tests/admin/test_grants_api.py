"""`POST /api/grants`: who may announce a login, what makes a grant of it, and what Dovecot reads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.support.desk import Desk

from gatepost.accounts.model import Account
from gatepost.admin.grants import MAX_OCTETS, GrantsApi
from gatepost.admin.health import AdminParts, HealthReport, admin_app
from gatepost.gate.announced import NO_ACCOUNT, Announcements
from gatepost.gate.flood import ONE_BY_ONE, PERIOD_SECONDS
from gatepost.standing.grants import GrantSettings

TOKEN = "a token that nobody guesses"
ADA, HOME = "ada@example.org", "192.0.2.7"
SETTINGS = GrantSettings(enabled=True, networks=("192.0.2.0/24", "2001:db8::/32", "127.0.0.0/8"))
FAILED, ELSEWHERE = "the login did not go well", "no grants are made at that address"
LOGIN = {"account": ADA, "address": HOME, "success": True, "tls": True, "service": "imap"}


class Office:
    """An admin application over a desk; requests go in as ASGI has them."""

    def __init__(self, settings: GrantSettings = SETTINGS, *, token: str = TOKEN) -> None:
        self.desk = Desk(grants=settings)
        gate = self.desk.parts.gate
        floods = self.desk.door.floods
        announcements = Announcements(self.desk.grants, gate.directory, self.desk.recorder, gate.ids, floods)

        async def health() -> HealthReport:
            return HealthReport()

        api = GrantsApi(token, announcements.take, announcements.refused) if token else None
        self.app = admin_app(AdminParts(counts=dict, gauges=dict, health=health, grants=api))

    async def post(
        self,
        content: Any,
        *,
        token: str = f"Bearer {TOKEN}",
        query: str = "",
        ip: str | None = "127.0.0.1",
        scheme: str = "http",
        method: str = "POST",
    ) -> tuple[int, Any]:
        """(status, body as JSON). content: octets, or what is written as JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        if token:
            headers.append((b"authorization", token.encode()))
        scope = {
            "type": "http", "http_version": "1.1", "method": method, "scheme": scheme, "path": "/api/grants",
            "raw_path": b"/api/grants", "query_string": query.encode(), "headers": headers,
            "client": (ip, 40000) if ip is not None else None, "server": ("127.0.0.1", 8025), "root_path": "",
        }  # fmt: skip
        halves = [body[: len(body) // 2], body[len(body) // 2 :]]

        async def pieces() -> AsyncIterator[dict[str, Any]]:
            yield {"type": "http.request", "body": halves[0], "more_body": True}
            yield {"type": "http.request", "body": halves[1], "more_body": False}
            yield {"type": "http.disconnect"}

        coming, sent = pieces(), list[Any]()

        async def receive() -> Any:
            return await anext(coming)

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        answer = b"".join(message.get("body", b"") for message in sent[1:])
        return sent[0]["status"], json.loads(answer) if answer.startswith(b"{") else answer.decode()

    async def granted(self, ip: str = HOME) -> list[str]:
        return [grant.account for grant in self.desk.grants.find(ip)]

    def told(self) -> list[dict[str, Any]]:
        return [event.details for event in self.desk.recorder.of("grant")]


async def test_a_login_that_is_announced_is_granted_and_recorded() -> None:
    office = Office()
    status, answer = await office.post(LOGIN)
    (event,) = office.desk.recorder.of("grant")
    assert (status, answer) == (200, {"status": 0, "msg": "", "granted": True, "until": event.details["until"]})
    assert await office.granted() == [ADA]
    assert event.details["what"] == "made"
    assert event.details["by"] == "api:imap"
    assert event.login == ADA
    assert event.client is not None
    assert event.client.ip == HOME
    assert TOKEN not in str(event)


async def test_it_counts_for_a_message_and_ends_like_any_other() -> None:
    office = Office()
    await office.post({**LOGIN, "account": "Ada@Example.ORG"}, query="command=report")
    client = office.desk.connect("mx", HOME)
    await client.read()
    await client.line("EHLO device.example")
    assert await client.line(f"MAIL FROM:<{ADA}>") == "250 2.1.0 Sender ok"
    assert await client.line("RCPT TO:<x@far.example>") == "250 2.1.5 Recipient ok"
    account = office.desk.accounts.find(ADA)
    assert isinstance(account, Account)
    office.desk.accounts.put(msgspec.structs.replace(account, credentials=()))  # whichever password it was
    await client.line("RSET")
    await client.line("MAIL FROM:<x@example.net>")
    assert await office.granted() == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"success": False}, FAILED),
        ({"policy_reject": True}, FAILED),
        ({"address": "198.51.100.7"}, ELSEWHERE),
        ({"tls": False}, "the login was not encrypted"),
        ({"account": "nobody@example.org"}, NO_ACCOUNT),
        ({"account": "info@example.org"}, NO_ACCOUNT),  # an alias
        ({"account": "ada"}, NO_ACCOUNT),
        ({"account": ""}, NO_ACCOUNT),
    ],
)
async def test_what_makes_no_grant_is_answered_with_its_reason(changes: dict[str, Any], why: str) -> None:
    office = Office()
    status, answer = await office.post({**LOGIN, **changes})
    assert (status, answer) == (200, {"status": 0, "msg": "", "granted": False, "why": why})
    assert await office.granted() == []
    assert [details["why"] for details in office.told()] == ([] if why in (FAILED, ELSEWHERE) else [why])


async def test_a_login_that_does_not_say_that_it_went_well_makes_no_grant() -> None:
    office = Office()
    bare = {name: value for name, value in LOGIN.items() if name != "success"}
    assert (await office.post(bare))[1]["granted"] is False
    assert (await office.post({**LOGIN, "success": 1}))[0] == 400
    assert (await office.post({**LOGIN, "success": "true"}))[0] == 400
    assert await office.granted() == []


async def test_dovecot_that_asks_before_a_login_is_answered_and_nothing_is_granted() -> None:
    office = Office()
    for content in (LOGIN, {"account": ADA, "address": HOME, "service": "imap", "tls": True}):
        assert await office.post(content, query="command=allow") == (200, {"status": 0, "msg": ""})
    assert (await office.post(LOGIN, query="command=else"))[0] == 400
    assert await office.granted() == []
    assert office.told() == []


async def test_in_clear_from_this_machine_is_as_good_as_tls() -> None:
    office = Office()
    assert (await office.post({**LOGIN, "address": "127.0.0.1", "tls": False}))[1]["granted"] is True


@pytest.mark.parametrize(
    "token", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ü"]
)
async def test_without_the_token_nothing_is_granted_and_the_attempt_is_recorded(token: str) -> None:
    office = Office()
    assert (await office.post(LOGIN, token=token))[0] == 401
    assert await office.granted() == []
    (event,) = office.desk.recorder.of("grant")
    assert event.details == {"what": "refused", "why": "the token of admin.grants_token is needed"}
    assert event.client is not None
    assert event.client.ip == "127.0.0.1"


async def test_many_attempts_without_the_token_are_one_event_a_minute_and_not_one_each() -> None:
    office = Office()
    for _ in range(ONE_BY_ONE + 300):
        assert (await office.post(LOGIN, token="Bearer guessed"))[0] == 401
    assert len(office.desk.recorder.of("grant")) == ONE_BY_ONE
    office.desk.clock.at += PERIOD_SECONDS
    office.desk.door.floods.flush()
    told = office.desk.recorder.of("grant")[-1]
    assert told.client is not None
    assert (told.client.ip, told.service, told.details["what"]) == ("127.0.0.1", "admin", "refused")
    assert told.details["checks"] == {"the token of admin.grants_token is needed": 300}


@pytest.mark.parametrize(
    ("ip", "scheme", "status"),
    [("127.0.0.1", "http", 200), ("::1", "http", 200), (None, "http", 200), ("192.0.2.9", "https", 200),
     ("192.0.2.9", "http", 403)],
)  # fmt: skip
async def test_it_takes_tls_or_this_machine(ip: str | None, scheme: str, status: int) -> None:
    office = Office()
    assert (await office.post(LOGIN, ip=ip, scheme=scheme))[0] == status
    assert bool(await office.granted()) is (status == 200)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\x00", b'{"account": 1, "address": 2}', b'{"account": "ada@example.org"}',
     {**LOGIN, "address": "mail.example.org"}, {**LOGIN, "address": ""}, {**LOGIN, "address": "1\r\n2"},
     {**LOGIN, "padding": "x" * MAX_OCTETS}],
)  # fmt: skip
async def test_what_is_no_announcement_is_400_and_says_why(content: Any) -> None:
    office = Office()
    status, answer = await office.post(content)
    assert status == 400
    assert answer["msg"]
    assert await office.granted() == []


async def test_only_post_and_only_with_a_token_configured() -> None:
    assert (await Office().post(LOGIN, method="GET"))[0] == 405
    assert (await Office(token="").post(LOGIN))[0] == 404
    assert (await Office(token="").post(LOGIN, token="Bearer "))[0] == 404


async def test_what_cannot_be_kept_is_503() -> None:
    office = Office()
    office.desk.standing.fail = True
    assert (await office.post(LOGIN))[0] == 503
    office.desk.standing.fail = False
    office.desk.recorder.fails = True
    assert (await office.post(LOGIN))[0] == 503
    assert (await office.post(LOGIN, token=""))[0] == 401
    office.desk.recorder.fails = False
    assert await office.granted() == []


async def test_what_the_other_server_says_is_bounded_and_printable_on_the_record() -> None:
    office = Office()
    await office.post({**LOGIN, "account": "x\r\n" * 1000, "service": "\x1b[31m" * 100})
    (details,) = office.told()
    assert len(details["tried"]) < 2000
    assert details["tried"].isprintable()
    assert details["by"].isprintable()
    assert len(details["by"]) < 40
