"""A clock that is set does not make a message older than it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.support.clock import HandClock

from gatepost.delivery.clock_steps import ClockSteps
from gatepost.delivery.ending import end
from gatepost.delivery.outcome import Outcome
from gatepost.delivery.schedule import Schedule
from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.reply import Reply
from gatepost.spool.model import Entry, EntryRecipient, State

CAME = 1_795_000_000.0
DAY = 86400.0


class SetClock(HandClock):
    """A clock that can be set, beside a time that only grows."""

    def __init__(self) -> None:
        super().__init__(CAME)
        self.ticks = 1000.0

    def monotonic(self) -> float:
        return self.ticks

    def passes(self, seconds: float) -> None:
        self.at += seconds
        self.ticks += seconds


@pytest.mark.parametrize(
    ("steps", "skipped"),
    [
        ((), 0.0),
        ((59.0,), 0.0),
        ((DAY,), DAY),
        ((-DAY,), 0.0),
        ((DAY, -DAY), 0.0),
        ((DAY, -DAY + 10), 0.0),
        ((-DAY, DAY), 0.0),
        ((DAY, DAY), 2 * DAY),
        ((56 * 365 * DAY,), 56 * 365 * DAY),  # from 1970: a machine without a clock of its own
    ],
)
def test_only_what_the_clock_was_set_forward_by_did_not_pass(steps: tuple[float, ...], skipped: float) -> None:
    clock = SetClock()
    watch = ClockSteps(clock)
    for step in steps:
        clock.passes(3600)
        watch.skipped(CAME)
        clock.at += step
        watch.skipped(CAME)
    clock.passes(3600)
    assert watch.skipped(CAME) == pytest.approx(skipped)
    assert watch.skipped(clock.unix()) == 0.0, "what came since has the age that it seems to have"


def entry() -> Entry:
    to = Recipient(Path("dave", "far.example"))
    return Entry(
        id="01JDEADBEEF000000000000000", envelope=Envelope(Path("bob", "example.net"), (to,)), received_at=CAME,
        octets=10, login="", client="192.0.2.7", has_8bit=False, require_tls=False,
        recipients=(EntryRecipient(0, to, "far.example", State.DUE),),
    )  # fmt: skip


@pytest.mark.parametrize(("days", "state"), [(4, State.DEFERRED), (6, State.BOUNCED)])
@pytest.mark.parametrize("step", [0.0, 3 * DAY])
def test_a_message_is_given_up_after_the_days_that_passed(step: float, days: int, state: State) -> None:
    clock = SetClock()
    watch = ClockSteps(clock)
    clock.passes(days * DAY)
    clock.at += step
    waits = entry()
    outcome = Outcome(waits.recipients[0], "deferred", Reply(451, "4.3.0", "Later"))
    now = datetime.fromtimestamp(clock.unix(), UTC)
    ending = end(waits, outcome, now, Schedule(lifetime=timedelta(days=5)), watch.skipped(waits.received_at))
    assert ending.settlement.state is state
    assert ending.settlement.due <= clock.unix() + 4 * 3600
