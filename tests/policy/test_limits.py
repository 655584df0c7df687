# ruff: noqa: E501 - a row stands on one line
"""Limits: which there are for whom, how long something has to wait, and how that is told."""

from __future__ import annotations

import math

import pytest
from tests.policy import facts as f

from gatepost.mail.units import Quota
from gatepost.policy.checks import sender_rate
from gatepost.policy.checks.sender_rate import Settings, account_limits, sender_limits
from gatepost.policy.facts import Stage
from gatepost.policy.limits import Allowance, Cost, OwnAllowance, in_words, limits_of, shortage, show_quota
from gatepost.policy.verdict import Verdict


def shown(settings: Settings, domain: str = "example.net", **peer: object) -> list[str]:
    return [f"{limit.subject} {limit.of} {limit.unit} {show_quota(limit)}"
            for limit in sender_limits(settings, f.session(**peer), domain)]  # fmt: skip


ALL = Settings(
    address=Allowance(messages=(Quota(60, 3600.0),)),
    prefix=Allowance(octets=(Quota(10 * 2**20, 86400.0),)),
    domain=Allowance(new_recipients=(Quota(5, 900.0),)),
)


def test_an_account_has_the_limits_of_accounts_wherever_it_comes_from() -> None:
    expected = [
        "account ada@example.org messages 200/1h",
        "account ada@example.org messages 1000/1d",
        "account ada@example.org recipients 500/1h",
    ]
    for by in ("login", "certificate", "grant"):
        assert shown(ALL, service="submission", **{by: "ada@example.org"}) == expected


def test_a_peer_without_an_account_is_limited_by_address_network_and_domain() -> None:
    expected = [
        "address 192.0.2.7 messages 60/1h",
        "prefix 192.0.2.0/24 octets 10 MiB/1d",
        "domain example.net new_recipients 5/15m",
    ]
    assert shown(ALL) == expected
    assert shown(ALL, network_may_relay=True) == expected
    assert shown(ALL, client_ip="2001:db8::7")[1] == "prefix 2001:db8::/64 octets 10 MiB/1d"
    assert shown(ALL, domain="") == expected[:2]  # a bounce has no domain
    assert shown(ALL, trusted=True) == shown(ALL, client_ip="", trusted=True) == expected[2:]  # others' door
    assert shown(Settings()) == []


def test_what_one_account_has_of_its_own_goes_before_that_of_all() -> None:
    settings = Settings(
        accounts={
            "news@example.org": OwnAllowance(messages=(Quota(5000, 3600.0),)),
            "free@example.org": OwnAllowance(messages=(), recipients=()),
        }
    )
    news = [show_quota(limit) for limit in account_limits(settings, "news@example.org")]
    assert news == ["5000/1h", "500/1h"]
    assert account_limits(settings, "free@example.org") == ()
    assert len(account_limits(settings, "ada@example.org")) == 3


def test_of_two_rates_for_one_period_the_lower_one_counts() -> None:
    """They share a counter, which counted each message twice."""
    allowance = Allowance(messages=(Quota(9, 60.0), Quota(5, 60.0), Quota(7, 60.0)))
    assert [limit.quota.units for limit in limits_of(allowance, "account", "a@example.org")] == [5]


def test_no_two_counters_have_one_key() -> None:
    limits = [
        *limits_of(
            Allowance(messages=(Quota(1, 60.0), Quota(2, 61.0)), recipients=(Quota(1, 60.0),)), "account", "a@b"
        ),
        *limits_of(Allowance(messages=(Quota(1, 60.0),)), "account", "c@b"),
        *limits_of(Allowance(messages=(Quota(1, 60.0),)), "recipient", "a@b"),
    ]
    keys = [key for limit in limits for key in (limit.key, limit.spare_key)]
    assert len(set(keys)) == len(keys) == 10


def test_the_limit_that_keeps_it_out_for_longest_is_told() -> None:
    levels = (
        f.level("messages", 200, "200/1h"),
        f.level("messages", 1000, "1000/1d"),
        f.level("recipients", 0, "9/1h"),
    )
    short = shortage(levels, Cost(recipients=3))
    assert short is not None
    assert short.level.limit.quota == Quota(1000, 86400.0)
    assert short.wait == pytest.approx(86.4)
    assert shortage(levels[2:], Cost(recipients=9)) is None
    whole, split = shortage(levels[2:], Cost(recipients=10)), shortage(levels[2:], Cost(recipients=10), splits=True)
    assert whole is not None
    assert split is not None
    assert (whole.wait, split.wait) == (math.inf, 400.0)
    octets = (f.level("octets", 0, "100/1h"),)
    assert shortage(octets, Cost(octets=101), splits=True) == shortage(octets, Cost(octets=101))


@pytest.mark.parametrize(
    ("used", "left"), [(0, 200), (0.4, 199), (199, 1), (199.000001, 1), (199.5, 0), (200, 0), (250, 0)]
)
def test_what_is_left_are_whole_messages(used: float, left: int) -> None:
    assert f.level("messages", used).left == left


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.01, "in 1 second"), (1.0, "in 1 second"), (1.1, "in 2 seconds"), (89, "in 89 seconds"), (90, "in 2 minutes"),
        (720, "in 12 minutes"), (721, "in 13 minutes"), (5340, "in 89 minutes"), (5400, "in 2 hours"),
        (35 * 3600, "in 35 hours"), (36 * 3600, "in 2 days"), (30 * 86400, "in 30 days"),
    ],
)  # fmt: skip
def test_a_wait_in_words_is_never_too_short(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def verdict(levels: tuple[object, ...], **settings: object) -> Verdict:
    check = sender_rate.CHECK
    step = next(step for step in check.steps if step.stage is Stage.MAIL)
    facts = f.mail(service="submission", login="ada@example.org", size=2 * 10**6, allowances=levels)
    found = step.decide(facts, Settings(**settings))  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("level", "text"),
    [
        (f.level("messages", 240, "200/1h"), "Too many messages from your account (200 an hour are allowed). Try again in 13 minutes"),
        (f.level("recipients", 500, "500/1d"), "Too many recipients from your account (500 a day are allowed). Try again in 3 minutes"),
        (f.level("octets", 1, "2MB/15m"), "Too much mail from your account (2 MB in 15m is allowed). Try again in 1 second"),
        (f.level("octets", 0, "1MB/1d"), "Too much mail from your account (1 MB a day is allowed). Send less at a time"),
        (f.level("messages", 0, "9/1m", spare=9), "Too many refused or unfinished attempts from your account (9 a minute are allowed). Try again in 7 seconds"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_allowed_and_when_to_try_again(level: object, text: str) -> None:
    found = verdict((level,))
    assert found.reply.text == text
    assert len(str(found.reply)) < 300
    assert "ada@example.org" in found.reason
    assert "ada@example.org" not in found.reply.text
