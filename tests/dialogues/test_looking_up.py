"""What a session looks up, and how often."""

from __future__ import annotations

from collections.abc import Awaitable

from tests.accounts.memory import MemoryAccounts
from tests.support.desk import Desk

from gatepost.accounts.model import Account, Found
from gatepost.mail.units import Quota
from gatepost.policy.checks import recipient_rate


class Counting(MemoryAccounts):
    """Tells which addresses were looked up."""

    def __init__(self, *items: Found) -> None:
        super().__init__(*items)
        self.asked: list[str] = []

    def find(self, address: str) -> Found | None | Awaitable[Found | None]:
        self.asked.append(address)
        return super().find(address)


async def test_a_recipient_is_looked_up_once_and_by_the_next_rcpt_anew() -> None:
    accounts = Counting(Account("ada@example.org"))
    limited = recipient_rate.Settings(mode="enforce", messages=(Quota(100, 3600.0),))  # it wants to know who it is, too
    client = Desk(accounts=accounts, policy={recipient_rate.NAME: limited}).connect()
    await client.say(b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n")
    accounts.asked.clear()
    assert await client.line("RCPT TO:<ada@example.org>") == "250 2.1.5 Recipient ok"
    assert accounts.asked == ["ada@example.org"]
    del accounts.items["ada@example.org"]
    assert (await client.line("RCPT TO:<ada@example.org>")).startswith("550 5.1.1")
