"""Final delivery: recipients of ours into maildrops, aliases and lists into new entries.

Not here: how a maildrop keeps a message (`store.maildir`), and what an address means (`accounts.directory`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from inspect import isawaitable
from typing import Any, Final, Protocol

from gatepost.accounts.model import Resolution, Target
from gatepost.accounts.port import AccountsError
from gatepost.delivery.course import Course, Reach
from gatepost.delivery.expansion import Expansion, LoopError, success_of
from gatepost.delivery.outcome import Attempt, Ended, Outcome, broken_inside
from gatepost.gate.expanding import delivered_to
from gatepost.mail.address import Path
from gatepost.mail.envelope import EVERYBODY
from gatepost.mail.reply import Reply
from gatepost.maildrop.port import Arrival, MaildropError, MaildropFullError, MaildropStore
from gatepost.ports.clock import Clock
from gatepost.spool.destination import LOCAL
from gatepost.spool.model import Entry, EntryRecipient, NewEntry
from gatepost.spool.port import Content, SpoolError, SpoolStore

MAX_TOGETHER: Final = 64  # copies that are put into maildrops in one go
WHOLE_OCTETS: Final = 256 * 1024  # a longer message passes in pieces
DELIVERED: Final = Reply(250, "2.1.5", "delivered")


class Addresses(Protocol):
    """What delivery asks of `accounts.directory.Directory`."""

    def resolve(self, path: Path) -> Resolution | Awaitable[Resolution]: ...
    def expand(self, path: Path, *, is_notice: bool = False) -> list[Target] | Awaitable[list[Target]]: ...


class LocalDelivery:
    """Delivers the recipients whose destination is "local"."""

    def __init__(
        self,
        hostname: str,
        addresses: Addresses,
        maildrops: MaildropStore,
        spool: SpoolStore,
        expansion: Expansion,
        clock: Clock,
    ) -> None:
        self._hostname = hostname
        self._addresses = addresses
        self._maildrops = maildrops
        self._spool = spool
        self._expansion = expansion
        self._clock = clock

    async def attempt_all(self, entries: Sequence[Entry], course: Course) -> list[Ended]:
        """One outcome for each recipient of `entries`; what goes into maildrops goes there together. Cut off, it has
        outcomes for those whose turn had come."""
        runs = [_Run(entry, self._clock.monotonic()) for entry in entries]
        course.so_far = lambda: [(run.entry, self._attempt(run)) for run in runs if run.outcomes]
        keeping: list[_Kept] = []
        for run in runs:
            for recipient in run.entry.recipients:
                if course.is_cut:
                    return course.so_far()
                try:
                    kept = await self._begin(run, recipient, course)
                except Exception as error:  # a defect of ours: this recipient waits, all others go on
                    run.outcomes.append(broken_inside(run.entry, recipient, error))
                    continue
                if kept is not None:
                    keeping.append(kept)
                if len(keeping) == MAX_TOGETHER:
                    await self._keep_all(keeping, course)
                    keeping = []
        if keeping and not course.is_cut:
            await self._keep_all(keeping, course)
        return course.so_far()

    def _attempt(self, run: _Run) -> Attempt:
        took_ms = round((self._clock.monotonic() - run.began) * 1000)
        return Attempt(tuple(run.outcomes), took_ms, tuple(run.new), {"destination": LOCAL, **run.places})

    async def _begin(self, run: _Run, recipient: EntryRecipient, course: Course) -> _Kept | None:
        """What is to be put into a maildrop with others; None: the recipient has its outcome."""
        path = recipient.recipient.path
        try:
            found = self._addresses.expand(path, is_notice=run.entry.envelope.reverse_path.is_null)
            targets = await found if isawaitable(found) else found
        except AccountsError as error:
            reply = Reply(451, "4.3.0", f"the accounts cannot be read: {error}")
            run.outcomes.append(Outcome(recipient, "deferred", reply))
            return None
        served = recipient.recipient.served
        if served == EVERYBODY:
            run.outcomes.append(_served_before(recipient, targets))
            return None
        if not targets or [target.kind for target in targets] == ["unknown"]:
            reply = Reply(550, "5.1.1", "there is no such mailbox here")
            run.outcomes.append(Outcome(recipient, "failed", reply))
            return None
        only = targets[0]
        if served:
            others = [target for target in targets if str(target.path) not in served]
            outcome = await self._pass_on(run, recipient, others, len(targets)) if others else None
            run.outcomes.append(outcome or _served_before(recipient, targets))
            return None
        if len(targets) == 1 and only.kind in ("maildrop", "aside") and only.reverse_path is None:
            kept = _Kept(run, recipient, only)
            if run.entry.octets <= WHOLE_OCTETS:
                return kept
            await self._keep_large(kept, course)
        else:
            run.outcomes.append(await self._pass_on(run, recipient, targets, len(targets)))
        return None

    async def _pass_on(
        self, run: _Run, recipient: EntryRecipient, targets: list[Target], all_targets: int
    ) -> Outcome:  # fmt: skip
        """To several, or to others: by new entries."""
        try:
            made, success = await self._expansion.entries(run.entry, recipient, targets, all_targets)
        except LoopError as error:
            return Outcome(recipient, "failed", Reply(554, "5.4.6", str(error)))
        except SpoolError as error:
            return Outcome(recipient, "deferred", Reply(452, "4.3.1", f"there is no room for the copies: {error}"))
        run.new += made
        passed_on = run.places.setdefault("expanded", {})
        passed_on[str(recipient.recipient.path)] = [str(target.path) for target in targets[:20]]
        reply = Reply(250, "2.1.5", f"passed on to {len(targets)}")
        return Outcome(recipient, "delivered", reply, success=success, is_expanded=True)

    async def _keep_all(self, keeping: Sequence[_Kept], course: Course) -> None:
        """Those are in their maildrops, or have the outcome that says why not."""
        arrivals, arriving = [], []
        for kept in keeping:
            run = kept.run
            try:
                if run.content is None:
                    run.content = b"".join([piece async for piece in self._spool.read(run.entry.id)])
            except SpoolError as error:
                run.outcomes.append(kept.outcome(error))
                continue
            arrivals.append(Arrival(kept.account, kept.delivery_id, kept.prefix(self._hostname), run.content))
            arriving.append(kept)
        if course.is_cut:
            return
        course.reaches(Reach.WRITING)
        try:
            ended: Sequence[str | Exception] = await self._maildrops.deliver_all(arrivals)
        except Exception as error:  # a defect of ours
            ended = [error] * len(arriving)
        finally:
            course.reaches(Reach.OPEN)
        for kept, place in zip(arriving, ended, strict=True):
            kept.run.outcomes.append(kept.outcome(place))

    async def _keep_large(self, kept: _Kept, course: Course) -> None:
        """The same for one message that should not be in memory as a whole."""
        entry_id = kept.run.entry.id
        place: str | Exception
        course.reaches(Reach.WRITING)
        try:
            content = self._spool.read(entry_id)
            prefix = kept.prefix(self._hostname)
            place = await self._maildrops.deliver(kept.account, kept.delivery_id, prefix, content)
        except (MaildropError, SpoolError) as error:
            place = error
        finally:
            course.reaches(Reach.OPEN)
        kept.run.outcomes.append(kept.outcome(place))


class _Run:
    """What the attempt for one entry has come to. content: whole, once it was read."""

    __slots__ = ("began", "content", "entry", "new", "outcomes", "places")

    def __init__(self, entry: Entry, began: float) -> None:
        self.entry = entry
        self.began = began
        self.outcomes: list[Outcome] = []
        self.new: list[tuple[NewEntry, Content]] = []
        self.places: dict[str, Any] = {}
        self.content: bytes | None = None


class _Kept:
    """A recipient on the way into one maildrop, whose account is the target's address."""

    __slots__ = ("account", "recipient", "run", "target")

    def __init__(self, run: _Run, recipient: EntryRecipient, target: Target) -> None:
        self.run = run
        self.recipient = recipient
        self.target = target
        self.account = str(target.path)

    @property
    def delivery_id(self) -> str:
        return f"{self.run.entry.id}-{self.recipient.number}"

    def prefix(self, hostname: str) -> bytes:
        return trace_prefix(self.run.entry.envelope.reverse_path, self.recipient.recipient.path, hostname)

    def outcome(self, place: str | Exception) -> Outcome:
        """By its place in the maildrop, or by what came in the way."""
        recipient = self.recipient
        if isinstance(place, str):
            self.run.places.setdefault("places", {})[self.account] = place
            if self.target.kind == "aside":
                self.run.places["aside"] = True
            return Outcome(recipient, "delivered", DELIVERED, success="delivered")
        if isinstance(place, MaildropFullError):
            reply = Reply(452, "4.2.2", "the mailbox is full")
            return Outcome(recipient, "deferred", reply, expired="5.2.2", at=str(place))
        if isinstance(place, MaildropError):
            return Outcome(
                recipient, "deferred", Reply(451, "4.3.0", "the mailbox cannot be written now"), at=str(place)
            )
        if isinstance(place, SpoolError):
            return Outcome(recipient, "held", Reply(451, "4.3.0", "the message cannot be read"), at=str(place))
        return broken_inside(self.run.entry, recipient, place)


def _served_before(recipient: EntryRecipient, targets: Sequence[Target]) -> Outcome:
    """Of an alias or a list whose members all have messages of their own."""
    reply = Reply(250, "2.1.5", "passed on when it was accepted")
    return Outcome(recipient, "delivered", reply, success=success_of(targets, len(targets)))


def trace_prefix(reverse_path: Path, forward_path: Path, hostname: str) -> bytes:
    """Return-Path (RFC 5321 §4.4, at final delivery only) and Delivered-To, CRLF."""
    return f"Return-Path: <{reverse_path}>\r\nDelivered-To: {delivered_to(forward_path, hostname)}\r\n".encode()
