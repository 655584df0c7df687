"""What a check decides, what a stage decides, and what a check still needs to know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from gatepost.mail.reply import Reply

Mode = Literal["enforce", "shadow", "off"]
Action = Literal["reject", "defer", "discard", "quarantine", "hold", "slow", "note"]


class Verdict(msgspec.Struct, frozen=True):
    """One check's decision against letting it pass.

    name: of the check or rule; stable, used by record, metrics and manual. reply: what the peer reads. reason: what
    the operator reads: the facts that decided. close: the connection ends after the reply. action: "" for what the
    reply's code says (4yz defers, 5yz rejects); "slow" refuses nothing, only the answer waits; "note" is a pass
    that the record tells a reason and facts of. wait: seconds before the
    reply leaves. "hold" and "quarantine" refuse nothing either: the message is kept, answered with `reply`, and not
    delivered until it is let go. later: a refusal that waits for RCPT, so that the record names sender and recipient
    (`policy.md`). ban: seconds for which this peer is to be banned, 0 for not. silent: at the connection, it is closed
    without the reply.
    """

    name: str
    reply: Reply
    reason: str
    close: bool = False
    action: Action | Literal[""] = ""
    wait: float = 0.0
    later: bool = False
    ban: float = 0.0
    silent: bool = False

    @property
    def word(self) -> Action | Literal["pass"]:
        """The verdict in one word, as records and `policy ask` say it."""
        if self.action == "note":
            return "pass"
        return self.action or ("defer" if self.reply.is_transient else "reject")

    @property
    def freezes(self) -> bool:
        """Whether the message is kept and not delivered."""
        return self.action in ("quarantine", "hold")


def freezing(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The one that freezes the message: the first "quarantine", else the first "hold", which more may let go."""
    found = [verdict for verdict in verdicts if verdict.freezes]
    return next((verdict for verdict in found if verdict.action == "quarantine"), found[0] if found else None)


class Evaluated(msgspec.Struct, frozen=True, omit_defaults=True):
    """One check that ran, for the record: what it decided, why, and the facts that it read."""

    check: str
    mode: str
    verdict: str
    reason: str = ""
    facts: dict[str, Any] = {}


class Decision(msgspec.Struct, frozen=True):
    """The outcome of a stage.

    verdict: the first enforced refusal, None to go on; once the whole message is there also what freezes it.
    evaluated: every check that ran, in order; the same object for each stage in which all passed, so that a record can
    prepare it once. later: enforced refusals that wait, and what freezes a message that is still to come. wait: seconds
    before the answer leaves, whichever it is.
    """

    verdict: Verdict | None
    evaluated: tuple[Evaluated, ...]
    later: tuple[Verdict, ...] = ()
    wait: float = 0.0


class Course(msgspec.Struct):
    """How far a stage came, once one of its checks has not just passed; the fields are those of `Decision`."""

    evaluated: list[Evaluated]
    later: list[Verdict] = []
    wait: float = 0.0

    def decision(self, verdict: Verdict | None) -> Decision:
        return Decision(verdict, tuple(self.evaluated), tuple(self.later), self.wait)


class Needs(msgspec.Struct, frozen=True):
    """Facts that must be gathered before the stage can be decided.

    waiting: by the name of a field of the stage's facts, the awaitable of what belongs there; UNSET where nobody
    brings it. The rest is for `Policy.decide`, when they are there: it goes on once, from here. at: the step that needs
    them. course: None while all have just passed.
    """

    waiting: dict[str, Any]
    at: int = 0
    course: Course | None = None
