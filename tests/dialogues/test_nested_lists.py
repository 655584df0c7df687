"""Who may post to a list whose members are lists and aliases too."""

from __future__ import annotations

import pytest
from tests.support.desk import Desk

from gatepost.accounts import directory
from gatepost.accounts.model import Alias, MailingList

REFUSED = "550 5.7.2 Only members may post to this list; post from the address that is on it"
OWNER = ("bob@example.org",)


def nested() -> Desk:
    desk = Desk()
    desk.accounts.put(MailingList("all@example.org", ("Choir@example.org", "Direct@far.example"), OWNER))
    desk.accounts.put(MailingList("choir@example.org", ("altos@example.org", "all@example.org"), OWNER))
    desk.accounts.put(Alias("altos@example.org", ("Ada@example.org", "deep@far.example", "altos@example.org")))
    return desk


async def rcpt(desk: Desk, sender: str, recipient: str = "all@example.org") -> str:
    client = desk.connect("mx", "192.0.2.7")
    await client.read()
    await client.line("EHLO client.example.net")
    assert (await client.line(f"MAIL FROM:<{sender}>")).startswith("250")
    return await client.line(f"RCPT TO:<{recipient}>")


@pytest.mark.parametrize("sender", ["direct@far.example", "deep@far.example", "Deep+news@far.example"])
async def test_who_is_behind_a_nested_list_or_alias_may_post(sender: str) -> None:
    assert await rcpt(nested(), sender) == "250 2.1.5 Recipient ok"


async def test_who_is_nowhere_behind_it_may_not_and_a_ring_has_an_end() -> None:
    assert await rcpt(nested(), "other@far.example") == REFUSED


async def test_a_list_above_gives_no_right_to_those_below() -> None:
    desk = Desk()
    desk.accounts.put(MailingList("all@example.org", ("choir@example.org", "direct@far.example"), OWNER))
    desk.accounts.put(MailingList("choir@example.org", ("deep@far.example",), OWNER))
    assert await rcpt(desk, "direct@far.example", "choir@example.org") == REFUSED
    assert await rcpt(desk, "deep@far.example", "choir@example.org") == "250 2.1.5 Recipient ok"


async def test_a_stranger_cannot_make_the_server_look_up_a_whole_club(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_ASKED", 3)
    desk = Desk()
    members = (*(f"m{number}@example.org" for number in range(50)), "choir@example.org", "last@far.example")
    desk.accounts.put(MailingList("all@example.org", members, OWNER))
    desk.accounts.put(MailingList("choir@example.org", ("deep@far.example",), OWNER))
    assert await rcpt(desk, "last@far.example") == "250 2.1.5 Recipient ok"  # named by the list itself
    assert await rcpt(desk, "deep@far.example") == REFUSED
