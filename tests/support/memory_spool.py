"""A spool in memory, without threads: for tests in virtual time of what stands above the port."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence

import msgspec

from gatepost.spool.model import SETTLED, Entry, EntryRecipient, NewEntry, Settlement, State
from gatepost.spool.port import Content, SpoolError
from gatepost.spool.transitions import Standing, act, parse_action, settle

WAITING = (State.DUE, State.DEFERRED)


class MemoryContent:
    def __init__(self) -> None:
        self.kept = b""
        self.is_discarded = False

    @property
    def octets(self) -> int:
        return len(self.kept)

    def write(self, octets: bytes) -> None:
        self.kept += octets

    def finish(self) -> None:
        pass

    def discard(self) -> None:
        self.is_discarded = True

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.kept


class MemorySpool:
    """SpoolStore. broken: what each call that writes raises. unreadable: IDs whose content is damaged."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.octets: dict[str, bytes] = {}
        self.left: dict[str, tuple[Entry, bytes]] = {}  # entries that are settled
        self.broken: SpoolError | None = None
        self.unreadable: set[str] = set()
        self.commits = 0
        self.leases = 0

    def new_content(self, *, for_sealing: bool = False) -> MemoryContent:
        return MemoryContent()

    async def add(self, entry: NewEntry, content: Content) -> None:
        self._check()
        self._add(entry, content)

    async def add_all(self, new: Sequence[tuple[NewEntry, Content]]) -> None:
        self._check()
        for entry, content in new:
            self._add(entry, content)

    async def lease(
        self, now: float, limit: int, exclude: Collection[str] = (), per_destination: int = 50
    ) -> list[Entry]:
        self._check()
        self.leases += 1
        leased: list[Entry] = []
        taken: Counter[str] = Counter()
        for entry in list(self.entries.values()):
            for key in dict.fromkeys(recipient.destination for recipient in entry.recipients):
                due = [r for r in entry.recipients if r.destination == key and r.state in WAITING and r.due <= now]
                if not due or key in exclude or taken[key] >= per_destination or len(leased) >= limit:
                    continue
                taken[key] += 1
                changed = tuple(msgspec.structs.replace(recipient, state=State.LEASED) for recipient in due)
                self._replace(entry.id, changed)
                leased.append(msgspec.structs.replace(entry, recipients=changed))
        return leased

    async def settle(self, settlements: Sequence[Settlement], new: Sequence[tuple[NewEntry, Content]] = ()) -> None:
        self._check()
        self.commits += 1
        for entry, content in new:
            self._add(entry, content)
        for settlement in settlements:
            entry_now = self.entries[settlement.entry_id]
            before = next(r for r in entry_now.recipients if r.number == settlement.number)
            assert before.state is State.LEASED, "only what is leased is settled"
            after = settle(Standing(before.state, before.attempts, before.due), settlement, 0.0)
            self._replace(
                settlement.entry_id,
                (
                    msgspec.structs.replace(
                        before,
                        state=after.state,
                        attempts=after.attempts,
                        due=after.due,
                        reply=settlement.reply,
                        remote=settlement.remote,
                        delay_told=settlement.delay_told,
                        held_by=after.held_by,
                    ),
                ),
            )
            self._leave(settlement.entry_id)

    async def read(self, entry_id: str) -> AsyncIterator[bytes]:
        if entry_id in self.unreadable or entry_id not in self.octets:
            raise SpoolError(f"entry {entry_id} is damaged")
        octets = self.octets[entry_id]
        for at in range(0, len(octets), 256 * 1024):
            yield octets[at : at + 256 * 1024]

    async def next_due(self, exclude: Collection[str] = ()) -> float | None:
        waiting = [
            recipient.due
            for entry in self.entries.values()
            for recipient in entry.recipients
            if recipient.state in WAITING and recipient.destination not in exclude
        ]
        return min(waiting, default=None)

    async def change(self, entry_id: str, action: str, now: float) -> bool:
        entry = self.entries.get(entry_id)
        if entry is None:
            return False
        changed = []
        for r in entry.recipients:
            after = act(Standing(r.state, r.attempts, r.due, held_by=r.held_by), parse_action(action), now)
            changed.append(
                msgspec.structs.replace(
                    r, state=after.state, attempts=after.attempts, due=after.due, held_by=after.held_by,
                    hold_reason=r.hold_reason if after.held_by else "",
                )
            )  # fmt: skip
        self._replace(entry_id, tuple(changed))
        self._leave(entry_id)
        return True

    async def close(self) -> None:
        pass

    def recipients(self, entry_id: str) -> dict[str, EntryRecipient]:
        """By address, also of an entry that has left."""
        entry = self.entries.get(entry_id) or self.left[entry_id][0]
        return {str(recipient.recipient.path): recipient for recipient in entry.recipients}

    def made(self, *, but: Collection[str] = ()) -> list[tuple[Entry, bytes]]:
        """Every entry there ever was, with its octets, in order, without those whose ID is in `but`."""
        all_of_them = [*self.left.values(), *((entry, self.octets[entry.id]) for entry in self.entries.values())]
        return sorted((item for item in all_of_them if item[0].id not in but), key=lambda item: item[0].id)

    def _add(self, entry: NewEntry, content: Content) -> None:
        assert isinstance(content, MemoryContent)
        assert not content.is_discarded
        recipients = tuple(
            EntryRecipient(
                number, recipient, entry.destinations[number], State.HELD if entry.held else State.DUE,
                due=entry.received_at, held_by=entry.held_by, hold_reason=entry.hold_reason,
            )
            for number, recipient in enumerate(entry.envelope.recipients)
        )  # fmt: skip
        self.octets[entry.id] = entry.prefix + content.kept
        assert len(self.octets[entry.id]) == entry.octets
        self.entries[entry.id] = Entry(
            entry.id, msgspec.structs.replace(entry.envelope, recipients=()), entry.received_at, entry.octets,
            entry.login, entry.client, entry.has_8bit, entry.require_tls, recipients,
        )  # fmt: skip

    def _replace(self, entry_id: str, changed: tuple[EntryRecipient, ...]) -> None:
        by_number = {recipient.number: recipient for recipient in changed}
        entry = self.entries[entry_id]
        recipients = tuple(by_number.get(recipient.number, recipient) for recipient in entry.recipients)
        self.entries[entry_id] = msgspec.structs.replace(entry, recipients=recipients)

    def _leave(self, entry_id: str) -> None:
        if all(recipient.state in SETTLED for recipient in self.entries[entry_id].recipients):
            self.left[entry_id] = (self.entries.pop(entry_id), self.octets.pop(entry_id))

    def _check(self) -> None:
        if self.broken is not None:
            raise self.broken
