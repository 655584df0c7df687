"""Dialogues about sizes and numbers: what is over a limit, what that costs, and who hears what."""

from __future__ import annotations

import base64
from typing import Any

from tests.support.desk import PASSWORD, Client, Desk
from tests.support.memory_maildrops import MemoryMaildrops

from gatepost.accounts.model import Account, Alias, MailingList
from gatepost.gate.room import MaildropRoom
from gatepost.mail.units import Quota
from gatepost.policy.check import CheckSettings
from gatepost.policy.checks import message_size, recipient_harvest, recipient_rate, sender_rate
from gatepost.policy.limits import Allowance
from gatepost.standing.port import Level, Peek, Rate

HOUR = 3600.0
CONTENT = b"From: ada@example.org\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\nhello\r\n.\r\n"


def few(messages: int = 3, recipients: int = 10, **more: Any) -> dict[str, CheckSettings]:
    account = Allowance(messages=(Quota(messages, HOUR),), recipients=(Quota(recipients, HOUR),))
    return {"sender.rate": sender_rate.Settings(account=account, **more)}


async def logged_in(desk: Desk, name: str = "ada@example.org", ip: str = "192.0.2.7") -> Client:
    client = desk.connect("submissions", ip, tls=True)
    await client.read()
    await client.say(b"EHLO c.example\r\n")
    token = base64.b64encode(f"\0{name}\0{PASSWORD}".encode()).decode()
    assert (await client.line(f"AUTH PLAIN {token}")).startswith("235")
    return client


async def stranger(desk: Desk, ip: str = "192.0.2.7") -> Client:
    client = desk.connect("mx", ip)
    await client.read()
    await client.say(b"EHLO c.example.net\r\n")
    return client


async def sent(client: Client, *to: str, sender: str = "ada@example.org", content: bytes = CONTENT) -> str:
    """The reply that ended the attempt to send a message."""
    reply = await client.line(f"MAIL FROM:<{sender}>")
    for recipient in to or ("x@far.example",):
        if reply.startswith("250"):
            reply = await client.line(f"RCPT TO:<{recipient}>")
    if not reply.startswith("250"):
        await client.line("RSET")
        return reply
    await client.line("DATA")
    return "\n".join(await client.say(content))


def used(desk: Desk, key: str, quota: Quota) -> float:
    (level,) = desk.standing.tally([Peek(key, Rate(quota.units, quota.period), 0)], desk.clock.unix())
    assert isinstance(level, Level)
    return level.used


def counted(desk: Desk, kind: str = "sent") -> tuple[float, float]:
    """Messages and recipients that count for ada now."""
    return (
        used(desk, f"{kind}:account:ada@example.org:messages:3600", Quota(3, HOUR)),
        used(desk, f"{kind}:account:ada@example.org:recipients:3600", Quota(10, HOUR)),
    )


# --- sender.rate: refused ------------------------------------------------------------------------------------------


async def test_who_sent_as_much_as_may_be_hears_when_to_try_again_and_can_then() -> None:
    desk = Desk(policy=few())
    client = await logged_in(desk)
    for _ in range(3):
        assert await sent(client) == "250 2.0.0 Message accepted"
    over = "451 4.7.1 Too many messages from your account (3 an hour are allowed). Try again in 20 minutes"
    assert await sent(client) == over
    desk.clock.at += 1199
    assert (await sent(client)).endswith("Try again in 1 second")
    desk.clock.at += 1
    assert await sent(client) == "250 2.0.0 Message accepted"
    (evaluated,) = [
        each for event in desk.recorder.of("smtp.message") for each in event.verdicts
        if each.check == "sender.rate" and each.verdict != "pass"
    ][:1]  # fmt: skip
    assert evaluated.verdict == "defer"
    assert evaluated.reason == ("account ada@example.org: 3 of 3/1h messages counted, 1 more fits in 20 minutes")


async def test_the_limit_is_of_the_account_not_of_the_session_or_the_address() -> None:
    desk = Desk(policy=few())
    for number in range(3):
        assert (await sent(await logged_in(desk, ip=f"198.51.100.{number}"))).startswith("250")
    assert (await sent(await logged_in(desk, ip="203.0.113.9"))).startswith("451")
    bob = await logged_in(desk, "bob@example.org")
    own = CONTENT.replace(b"ada", b"bob")
    assert (await sent(bob, sender="bob@example.org", content=own)).startswith("250")


async def test_sessions_in_parallel_get_no_more_than_the_limit_together() -> None:
    """Each of them passed at MAIL and RCPT, where nothing is counted yet."""
    desk = Desk(policy=few())
    clients = [await logged_in(desk) for _ in range(6)]
    for client in clients:
        await client.say(b"MAIL FROM:<ada@example.org>\r\nRCPT TO:<x@far.example>\r\n")
        assert await client.line("DATA") == "354 Start mail input; end with <CRLF>.<CRLF>"
    replies = [(await client.say(CONTENT))[0][:3] for client in clients]
    assert replies == ["250"] * 3 + ["451"] * 3
    assert len(desk.spool.entries) == 3
    assert counted(desk) == (3, 3)


async def test_recipients_that_are_too_many_wait_and_the_others_get_the_message() -> None:
    desk = Desk(policy=few(recipients=3))
    client = await logged_in(desk)
    await client.line("MAIL FROM:<ada@example.org>")
    replies = [await client.line(f"RCPT TO:<x{n}@far.example>") for n in range(5)]
    assert replies[:3] == ["250 2.1.5 Recipient ok"] * 3
    assert replies[3] == (
        "451 4.7.1 Too many recipients from your account (3 an hour are allowed). Try again in 20 minutes"
    )
    await client.line("DATA")
    assert await client.say(CONTENT) == ["250 2.0.0 Message accepted"]
    entry, _ = desk.spool.only
    assert len(entry.destinations) == 3


async def test_octets_are_refused_by_what_is_announced_and_counted_as_they_came() -> None:
    account = Allowance(octets=(Quota(1000, HOUR),))
    desk = Desk(policy={"sender.rate": sender_rate.Settings(account=account)})
    client = await logged_in(desk)
    assert (await client.line("MAIL FROM:<ada@example.org> SIZE=1001")).startswith("550 5.7.1 Too much mail")
    assert (await sent(client, content=b"X: " + b"x" * 900 + b"\r\n" + CONTENT)).startswith("250")
    assert (await client.line("MAIL FROM:<ada@example.org> SIZE=500")).startswith("451 4.7.1 Too much mail")
    assert (await sent(client, content=b"X: " + b"x" * 100 + b"\r\n" + CONTENT)).startswith("451 4.7.1 Too much")


async def test_recipients_that_are_new_to_a_sender_are_limited_and_known_ones_are_not() -> None:
    account = Allowance(new_recipients=(Quota(2, HOUR),))
    desk = Desk(policy={"sender.rate": sender_rate.Settings(account=account)})
    client = await logged_in(desk)
    assert (await sent(client, "a@far.example", "b@far.example")).startswith("250")
    for _ in range(3):
        assert (await sent(client, "A@far.example", "b@far.example")).startswith("250")
    assert await sent(client, "c@far.example") == (
        "451 4.7.1 Too many recipients that are new to you from your account (2 an hour are allowed). "
        "Try again in 30 minutes"
    )
    desk.clock.at += HOUR / 2
    assert (await sent(client, "c@far.example")).startswith("250")
    assert (await sent(client, "a@far.example", "c@far.example")).startswith("250")


async def test_a_recipient_of_a_message_that_was_not_taken_is_still_new() -> None:
    account = Allowance(new_recipients=(Quota(1, HOUR),))
    desk = Desk(policy={"sender.rate": sender_rate.Settings(account=account)})
    client = await logged_in(desk)
    await client.say(b"MAIL FROM:<ada@example.org>\r\nRCPT TO:<a@far.example>\r\nRSET\r\n")
    assert (await sent(client, "a@far.example")).startswith("250")
    assert (await sent(client, "b@far.example")).startswith("451")


async def test_strangers_are_limited_by_address_network_and_sender_domain_where_that_is_set() -> None:
    one = Allowance(messages=(Quota(2, HOUR),))
    for name, same, other in (
        ("address", "192.0.2.7", "192.0.2.8"),
        ("prefix", "192.0.2.8", "192.0.3.8"),
    ):
        desk = Desk(policy={"sender.rate": sender_rate.Settings(**{name: one})})  # type: ignore[arg-type]
        for _ in range(2):
            assert (await sent(await stranger(desk), "ada@example.org", sender="a@b.example")).startswith("250")
        assert (await sent(await stranger(desk, same), "ada@example.org", sender="c@d.example")).startswith("451")
        assert (await sent(await stranger(desk, other), "ada@example.org", sender="a@b.example")).startswith("250")
    desk = Desk(policy={"sender.rate": sender_rate.Settings(domain=one)})
    for number in range(2):
        client = await stranger(desk, f"198.51.{number}.1")
        assert (await sent(client, "ada@example.org", sender="a@B.example")).startswith("250")
    client = await stranger(desk, "203.0.113.5")
    assert await sent(client, "ada@example.org", sender="c@b.example") == (
        "451 4.7.1 Too many messages from your domain (2 an hour are allowed). Try again in 30 minutes"
    )
    assert (await sent(client, "ada@example.org", sender="")).startswith("250")


async def test_strangers_have_no_limit_unless_one_is_set() -> None:
    desk = Desk()
    client = await stranger(desk)
    for _ in range(30):
        assert (await sent(client, "ada@example.org", sender="a@b.example")).startswith("250")


async def test_without_its_counters_an_account_sends_nothing() -> None:
    desk = Desk(policy=few())
    client = await logged_in(desk)
    desk.standing.fail = True
    assert await sent(client) == "451 4.3.0 Temporary failure, try again later"


async def test_a_limit_in_shadow_refuses_nothing_and_is_on_the_record() -> None:
    desk = Desk(policy=few(1, mode="shadow"))
    client = await logged_in(desk)
    for _ in range(3):
        assert (await sent(client)).startswith("250")
    last = desk.recorder.of("smtp.message")[-1]
    assert ("sender.rate", "shadow", "defer") in [(each.check, each.mode, each.verdict) for each in last.verdicts]


# --- what is counted, and what not ---------------------------------------------------------------------------------


async def test_a_message_that_a_check_refuses_costs_no_mail_but_counts_as_an_attempt() -> None:
    desk = Desk(policy=few())
    client = await logged_in(desk)
    circle = b"Delivered-To: x@far.example\r\n" + CONTENT
    assert (await sent(client, content=circle)).startswith("554 5.4.6")
    assert counted(desk) == (0, 0)
    assert counted(desk, "spare") == (1, 1)


async def test_a_recipient_that_is_refused_counts_as_an_attempt_though_the_message_is_sent() -> None:
    desk = Desk(policy=few())
    client = await logged_in(desk)
    await client.line("MAIL FROM:<ada@example.org>")
    await client.line("RCPT TO:<nobody@example.org>")
    await client.line("RCPT TO:<x@far.example>")
    await client.line("DATA")
    assert (await client.say(CONTENT))[0].startswith("250")
    assert counted(desk) == (1, 1)
    assert counted(desk, "spare") == (0, 1)


async def test_nobody_tries_out_more_recipients_than_they_may_write_to() -> None:
    """In one transaction or in many, left or not."""
    unhurried = recipient_harvest.Settings(mode="off")  # its waits are another matter
    desk = Desk(policy={**few(messages=100), "recipient.harvest": unhurried})
    client = await logged_in(desk)
    await client.line("MAIL FROM:<ada@example.org>")
    replies = [await client.line(f"RCPT TO:<nobody{n}@example.org>") for n in range(12)]
    assert [reply[:9] for reply in replies] == ["550 5.1.1"] * 10 + ["451 4.7.1"] * 2
    await client.line("RSET")
    assert await client.line("MAIL FROM:<ada@example.org>") == (
        "451 4.7.1 Too many refused or unfinished attempts from your account (10 an hour are allowed). "
        "Try again in 6 minutes"
    )


async def test_a_transaction_that_is_left_counts_as_an_attempt_with_all_its_recipients() -> None:
    for leave in (b"RSET\r\n", b"MAIL FROM:<ada@example.org>\r\n", b"QUIT\r\n", b"EHLO again.example\r\n"):
        desk = Desk(policy=few())
        client = await logged_in(desk)
        await client.say(b"MAIL FROM:<ada@example.org>\r\nRCPT TO:<x@far.example>\r\nRCPT TO:<y@far.example>\r\n")
        await client.say(leave)
        assert counted(desk) == (0, 0)
        assert counted(desk, "spare") == ((0, 0) if leave.startswith(b"MAIL") else (1, 2)), leave
    desk = Desk(policy=few())
    client = await logged_in(desk)
    await client.say(b"MAIL FROM:<ada@example.org>\r\nRCPT TO:<x@far.example>\r\nDATA\r\nhalf a")
    client.hang_up("connection reset")
    assert counted(desk, "spare") == (1, 1)


async def test_a_transaction_without_a_recipient_counts_nothing() -> None:
    desk = Desk(policy=few())
    client = await logged_in(desk)
    await client.say(b"MAIL FROM:<ada@example.org>\r\nRSET\r\n")
    assert counted(desk, "spare") == (0, 0)


async def test_what_the_server_puts_off_is_counted_when_it_comes_again_and_only_then() -> None:
    """A disk that is full for an hour used up the allowance of everybody who tried again."""
    desk = Desk(policy=few())
    client = await logged_in(desk)
    desk.spool.room = 20
    for _ in range(5):
        assert (await sent(client)).startswith("452 4.3.1")
    assert (counted(desk), counted(desk, "spare")) == ((0, 0), (0, 0))
    desk.spool.room = 1 << 30
    assert (await sent(client)).startswith("250")
    assert counted(desk) == (1, 1)
    desk.recorder.fails = True
    assert (await sent(client)).startswith("421")
    assert counted(desk) == (1, 1)


# --- sender.rate: held ---------------------------------------------------------------------------------------------


async def test_what_is_over_the_limit_is_held_and_its_sender_hears_so() -> None:
    desk = Desk(policy=few(1, action="hold"))
    client = await logged_in(desk)
    assert await sent(client) == "250 2.0.0 Message accepted"
    assert (await sent(client)).startswith("250 2.0.0 Message kept but not sent, your account is over its limit")
    (first, _), (second, _) = desk.spool.entries.values()
    assert not first.held
    assert second.held
    assert second.hold_reason == (
        "sender.rate: account ada@example.org: 1 of 1/1h messages counted, 1 more fits in 60 minutes"
    )
    event = desk.recorder.of("smtp.message")[-1]
    assert ("sender.rate", "hold") in [(each.check, each.verdict) for each in event.verdicts]
    assert event.reply.startswith("250")


async def test_no_more_is_held_than_may_be_sent() -> None:
    """A thief could fill the disk with what is held."""
    desk = Desk(policy=few(2, action="hold"))
    client = await logged_in(desk)
    replies = [(await sent(client))[:3] for _ in range(6)]
    assert replies == ["250"] * 4 + ["451"] * 2
    assert [entry.held for entry, _ in desk.spool.entries.values()] == [False, False, True, True]


async def test_what_should_be_held_and_finds_no_room_is_put_off() -> None:
    desk = Desk(policy=few(1, action="hold"))
    client = await logged_in(desk)
    await sent(client)
    desk.spool.room = 20
    assert (await sent(client)).startswith("452 4.3.1")
    assert counted(desk, "spare") == (0, 0)


# --- release by proof ----------------------------------------------------------------------------------------------


class Releases:
    """Stands where the worker lets go of what is held."""

    def __init__(self, desk: Desk) -> None:
        self.asked: list[tuple[str, str]] = []
        object.__setattr__(desk.parts.gate, "release_held", self.release)  # frozen, as for everybody else

    async def release(self, account: str, network: str) -> list[str]:
        self.asked.append((account, network))
        return ["AN-ENTRY"]


async def overdrawn(desk: Desk, ip: str) -> None:
    """ada sends one message more than may be, from `ip`."""
    client = await logged_in(desk, ip=ip)
    await sent(client)
    assert "kept but not sent" in await sent(client)


async def test_a_fresh_login_from_a_network_in_use_releases_what_is_held_from_there() -> None:
    desk = Desk(policy=few(1, action="hold"))
    releases = Releases(desk)
    await logged_in(desk, ip="198.51.100.7")  # at home, for the first time
    desk.clock.at += 86400
    await overdrawn(desk, "198.51.100.7")
    assert releases.asked == []
    await logged_in(desk, "bob@example.org", ip="198.51.100.7")
    assert releases.asked == []
    await logged_in(desk, ip="198.51.100.200")  # at home, by the /24
    assert releases.asked == [("ada@example.org", "198.51.100.0/24")]
    (event,) = desk.recorder.of("server")
    assert event.details["what"] == "held messages released"
    assert event.details["messages"] == ["AN-ENTRY"]
    await logged_in(desk, ip="198.51.100.200")
    assert len(releases.asked) == 1  # nothing is held any more


async def test_a_login_of_the_user_does_not_let_go_what_a_thief_sent() -> None:
    """The mail program at home logged in every few minutes, and so released what was sent with the stolen password."""
    desk = Desk(policy=few(1, action="hold"))
    releases = Releases(desk)
    await logged_in(desk, ip="198.51.100.7")
    desk.clock.at += 7 * 86400
    await overdrawn(desk, "203.0.113.66")
    await logged_in(desk, ip="198.51.100.7")
    assert releases.asked == []


async def test_a_thief_proves_nothing_by_logging_in_again() -> None:
    desk = Desk(policy=few(1, action="hold"))
    releases = Releases(desk)
    await overdrawn(desk, "203.0.113.66")
    for seconds in (0, 60, 3 * 86400):
        desk.clock.at += seconds
        await logged_in(desk, ip="203.0.113.66")
    assert releases.asked == []


async def test_a_login_through_a_trusted_proxy_or_on_loopback_proves_nothing() -> None:
    for ip in ("127.0.0.1", "192.0.2.99"):
        desk = Desk(policy=few(1, action="hold"), trusted=["192.0.2.99", "127.0.0.1"])
        releases = Releases(desk)
        await logged_in(desk, ip=ip)
        desk.clock.at += 2 * 86400
        await overdrawn(desk, ip)
        await logged_in(desk, ip=ip)
        assert releases.asked == []


async def test_a_network_in_use_is_known_since_its_first_login_however_long_ago() -> None:
    desk = Desk(policy=few(1, action="hold"))
    releases = Releases(desk)
    began = desk.clock.at
    for day in (0.0, 31.0, 62.0, 92.2):
        desk.clock.at = began + day * 86400
        await logged_in(desk, ip="198.51.100.7")
    desk.clock.at = began + 92.4 * 86400
    await overdrawn(desk, "198.51.100.7")
    await logged_in(desk, ip="198.51.100.7")
    assert len(releases.asked) == 1


async def test_a_network_that_was_left_for_months_is_new_again() -> None:
    desk = Desk(policy=few(1, action="hold"))
    releases = Releases(desk)
    await logged_in(desk, ip="198.51.100.7")
    desk.clock.at += 91 * 86400
    await overdrawn(desk, "198.51.100.7")
    await logged_in(desk, ip="198.51.100.7")
    assert releases.asked == []


# --- message.size --------------------------------------------------------------------------------------------------


async def test_ehlo_announces_the_most_that_this_peer_may_send() -> None:
    sizes = message_size.Settings(
        limit=1000, service={"submissions": 2000}, domain={"example.org": 3000}, account={"ada@example.org": 5000}
    )
    desk = Desk(policy={"message.size": sizes})
    client = await stranger(desk)
    assert "250-SIZE 5000" in await client.say(b"EHLO c.example\r\n")  # a login may follow
    client = await logged_in(desk, "bob@example.org")
    assert "250-SIZE 3000" in await client.say(b"EHLO c.example\r\n")
    client = await logged_in(desk)
    assert "250-SIZE 5000" in await client.say(b"EHLO c.example\r\n")


async def test_a_size_limit_of_a_domain_refuses_its_recipients_and_no_others() -> None:
    desk = Desk(policy={"message.size": message_size.Settings(domain={"catch.example": 1000})})
    client = await stranger(desk)
    await client.line("MAIL FROM:<a@b.example> SIZE=2000")
    assert await client.line("RCPT TO:<any@catch.example>") == (
        "552 5.3.4 Message too large: at most 1000 B are accepted"
    )
    assert (await client.line("RCPT TO:<ada@example.org>")).startswith("250")
    await client.line("RSET")
    large = b"X: " + b"x" * 990 + b"\r\n" + CONTENT
    reply = await sent(client, "any@catch.example", "ada@example.org", sender="a@b.example", content=large)
    assert reply.startswith("552 5.3.4")
    assert desk.spool.contents[-1].octets <= 1000  # what is refused anyhow is not kept
    assert (await sent(client, "ada@example.org", sender="a@b.example", content=large)).startswith("250")


async def test_a_size_check_that_is_off_lets_the_whole_message_in() -> None:
    """It was cut at the limit, and accepted."""
    desk = Desk(policy={"message.size": message_size.Settings(limit=100, mode="shadow")})
    client = await stranger(desk)
    assert "250-SIZE 0" in await client.say(b"EHLO c.example\r\n")
    content = b"X: " + b"x" * 900 + b"\r\n" + CONTENT
    assert (await sent(client, "ada@example.org", sender="a@b.example", content=content)).startswith("250")
    assert desk.spool.only[1] == content[:-3]


# --- recipients ----------------------------------------------------------------------------------------------------


async def test_a_recipient_gets_so_many_messages_whoever_they_are_from() -> None:
    settings = recipient_rate.Settings(mode="enforce", messages=(Quota(2, HOUR),))
    desk = Desk(policy={"recipient.rate": settings})
    for number, recipient in enumerate(("ada@example.org", "Ada+shop@example.org")):
        client = await stranger(desk, f"198.51.{number}.1")
        assert (await sent(client, recipient, sender=f"a@b{number}.example")).startswith("250")
    client = await stranger(desk)
    assert await sent(client, "ada+other@example.org", sender="a@b.example") == (
        "450 4.2.1 This recipient gets too many messages at the moment. Try again in 30 minutes"
    )
    assert (await sent(client, "bob@example.org", sender="a@b.example")).startswith("250")
    desk.clock.at += HOUR / 2
    assert (await sent(client, "ada@example.org", sender="a@b.example")).startswith("250")


async def test_a_bomb_in_parallel_sessions_is_stopped_at_the_end_of_each_message() -> None:
    settings = recipient_rate.Settings(mode="enforce", messages=(Quota(2, HOUR),))
    desk = Desk(policy={"recipient.rate": settings})
    clients = [await stranger(desk, f"198.51.{n}.1") for n in range(5)]
    for client in clients:
        await client.say(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<ada@example.org>\r\nDATA\r\n")
    assert [(await client.say(CONTENT))[0][:9] for client in clients] == ["250 2.0.0"] * 2 + ["450 4.2.1"] * 3
    both = await stranger(desk)
    assert (await sent(both, "bob@example.org", sender="a@b.example")).startswith("250")


async def test_left_transactions_do_not_use_up_what_a_recipient_may_get() -> None:
    """Anybody could have kept mail from somebody by RCPT and RSET."""
    settings = recipient_rate.Settings(mode="enforce", messages=(Quota(2, HOUR),))
    desk = Desk(policy={"recipient.rate": settings})
    client = await stranger(desk)
    for _ in range(5):
        await client.say(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<ada@example.org>\r\nRSET\r\n")
    desk.spool.room = 20
    assert (await sent(client, "ada@example.org", sender="a@b.example")).startswith("452")
    desk.spool.room = 1 << 30
    for _ in range(2):
        assert (await sent(client, "ada@example.org", sender="a@b.example")).startswith("250")


def with_quota(*full: str) -> tuple[Desk, MemoryMaildrops]:
    """example.org with quotas of 1000 octets; `full` have 990 in them."""
    desk = Desk()
    for name in ("ada", "bob", "eve"):
        desk.accounts.put(Account(f"{name}@example.org", quota=1000))
    desk.accounts.put(Account("free@example.org"))
    desk.accounts.put(Alias("both@example.org", ("ada@example.org", "bob@example.org")))
    desk.accounts.put(Alias("mixed@example.org", ("ada@example.org", "free@example.org")))
    desk.accounts.put(Alias("away@example.org", ("ada@example.org", "x@far.example")))
    desk.accounts.put(MailingList("team@example.org", ("ada@example.org",), ("bob@example.org",), "anyone"))
    maildrops = MemoryMaildrops()
    for name in full:
        maildrops.put(f"{name}@example.org", b"x" * 1000)
    object.__setattr__(desk.parts.gate, "room", MaildropRoom(maildrops, desk.clock))
    return desk, maildrops


async def test_a_full_maildrop_is_told_at_rcpt() -> None:
    desk, maildrops = with_quota("ada", "bob")
    client = await stranger(desk)
    await client.line("MAIL FROM:<a@b.example>")
    full = "452 4.2.2 The recipient's mailbox is full, try again later"
    for recipient in ("ada@example.org", "ada+shop@example.org", "both@example.org", "postmaster@example.org"):
        assert await client.line(f"RCPT TO:<{recipient}>") == full, recipient
    for recipient in ("eve", "free", "mixed", "away", "team"):
        assert await client.line(f"RCPT TO:<{recipient}@example.org>") == "250 2.1.5 Recipient ok", recipient
    await client.line("RSET")
    await client.line("MAIL FROM:<a@b.example> SIZE=1001")
    assert await client.line("RCPT TO:<eve@example.org>") == full
    await client.say(b"RSET\r\nMAIL FROM:<a@b.example>\r\n")
    maildrops.kept["ada@example.org"].clear()
    assert await client.line("RCPT TO:<ada@example.org>") == full  # looked at a moment ago
    desk.clock.at += 5
    await client.say(b"RSET\r\nMAIL FROM:<a@b.example>\r\n")
    assert await client.line("RCPT TO:<ada@example.org>") == "250 2.1.5 Recipient ok"


async def test_a_list_says_who_may_post_to_it() -> None:
    desk = Desk()
    desk.accounts.put(MailingList("staff@example.org", ("ada@example.org", "Eve@far.example"), ("boss@far.example",)))
    desk.accounts.put(MailingList("news@example.org", ("ada@example.org",), ("bob@example.org",), "owners"))
    desk.accounts.put(MailingList("open@example.org", ("ada@example.org",), ("bob@example.org",), "anyone"))
    refused = "550 5.7.2 Only members may post to this list; post from the address that is on it"
    client = await stranger(desk)
    for sender, recipient, reply in (
        ("eve@far.example", "staff", "250 2.1.5 Recipient ok"),
        ("EVE+lists@far.example", "staff", "250 2.1.5 Recipient ok"),
        ("boss@far.example", "staff", "250 2.1.5 Recipient ok"),
        ("other@far.example", "staff", refused),
        ("", "staff", "250 2.1.5 Recipient ok"),
        ("eve@far.example", "news", "550 5.7.2 Only owners may post to this list; ask one of them to post it"),
        ("other@far.example", "open", "250 2.1.5 Recipient ok"),
    ):
        await client.line(f"MAIL FROM:<{sender}>")
        assert await client.line(f"RCPT TO:<{recipient}@example.org>") == reply, (sender, recipient)
        await client.line("RSET")
    ada = await logged_in(desk)
    for sender in ("ada@example.org", "info@example.org"):  # an alias that names her
        await ada.line(f"MAIL FROM:<{sender}>")
        assert await ada.line("RCPT TO:<staff@example.org>") == "250 2.1.5 Recipient ok"
        assert (await ada.line("RCPT TO:<news@example.org>")).startswith("550 5.7.2")
        await ada.line("RSET")
    bob = await logged_in(desk, "bob@example.org")
    await bob.line("MAIL FROM:<bob@example.org>")
    assert await bob.line("RCPT TO:<staff@example.org>") == refused
    assert await bob.line("RCPT TO:<news@example.org>") == "250 2.1.5 Recipient ok"
