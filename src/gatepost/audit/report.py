"""The report: who used the server in a time, and who abused it, counted from the record.

`Counting` takes lines in any order, from all writers; `report` is what came of it. Everything is bounded: of a million
addresses those that did most stay. Not here: how it is shown (`report_text`, `report_html`), and limits as they stand
now, which are no part of the record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec

from gatepost.audit.criteria import stamp
from gatepost.audit.detectors.observe import seen_in
from gatepost.audit.files import day_of, days, files_of
from gatepost.audit.lines import Line, read_line
from gatepost.audit.report_rows import AbuserRow, AccountRow, CheckRow, ClientRow, GrantRow, Report, Told
from gatepost.audit.scan import lines_with

TOP: Final = 15  # rows of a table
MAX_PARTIES: Final = 50_000  # that are counted at once
MAX_NAMES: Final = 1000  # different ones that are told apart, of one party
MAX_SLOTS: Final = 60  # columns of a plot
SLOTS: Final = (300.0, 600.0, 1800.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0, 86400.0, 7 * 86400.0)
MAX_GRANTS: Final = 200
MAX_TOLD: Final = 20  # alerts, bans and acts, the latest
PLOTTED: Final = ("sessions", "messages", "refusals", "failed logins")
STEP: Final = 20_000  # lines between two signs of life

R = TypeVar("R")


def report(
    folder: Path, since: float, until: float, progress: Callable[[int], None] = lambda lines: None
) -> tuple[Report, Counting]:
    """The report on `since` to `until`, unix times, and what it was made of. folder: `data/audit`.

    progress: called now and then with the number of lines that were read. Raises CannotRead.
    """
    counting = Counting(since, until)
    for number, octets in enumerate(_lines(folder, since, until)):
        counting.take(read_line(octets))
        if number % STEP == 0:
            progress(number)
    return counting.report(), counting


def _lines(folder: Path, since: float, until: float) -> Iterator[bytes]:
    first, last = day_of(since - 86400.0), day_of(until + 86400.0)  # a clock may have been set back over midnight
    for day in days(folder):
        if first <= day <= last:
            for file in files_of(folder, day):
                yield from lines_with(file, ())


class _Parties(Generic[R]):
    """Rows by name; when there are too many, those with the least weight are forgotten."""

    def __init__(self, make: Callable[[str], R], weight: Callable[[R], int]) -> None:
        self._make = make
        self._weight = weight
        self.rows: dict[str, R] = {}

    def __getitem__(self, name: str) -> R:
        row = self.rows.get(name)
        if row is None:
            if len(self.rows) >= MAX_PARTIES:
                kept = sorted(self.rows.items(), key=lambda item: self._weight(item[1]))[MAX_PARTIES // 2 :]
                self.rows = dict(kept)
            row = self.rows[name] = self._make(name)
        return row

    def top(self, weight: Callable[[R], int] | None = None, count: int = TOP) -> list[R]:
        """Those that weigh most, the heaviest first; none without weight."""
        weigh = weight or self._weight
        rows = [row for row in self.rows.values() if weigh(row)]
        return sorted(rows, key=weigh, reverse=True)[:count]


class Counting:
    """Counts what happened between two unix times."""

    def __init__(self, since: float, until: float) -> None:
        self._since, self._until = stamp(since), stamp(until)
        self._start = since
        self.slot_seconds = next((each for each in SLOTS if (until - since) / each <= MAX_SLOTS), SLOTS[-1])
        self._slots = min(int((until - since) / self.slot_seconds) + 1, MAX_SLOTS + 1)
        self._totals: Counter[str] = Counter()
        self._plots: dict[str, Counter[int]] = {name: Counter() for name in PLOTTED}
        self._events = self._unread = 0
        self._clients: _Parties[ClientRow] = _Parties(ClientRow, lambda row: row.weight)
        self._accounts: _Parties[AccountRow] = _Parties(AccountRow, lambda row: row.weight)
        self._checks: dict[str, CheckRow] = {}
        self._guessers: _Parties[AbuserRow] = _Parties(AbuserRow, lambda row: row.weight)
        self._harvesters: _Parties[AbuserRow] = _Parties(AbuserRow, lambda row: len(row.names))
        self._relays: _Parties[AbuserRow] = _Parties(AbuserRow, lambda row: row.weight)
        self._grants: dict[tuple[str, str], GrantRow] = {}
        self._told: dict[str, list[Told]] = {"alert": [], "ban": [], "admin": []}

    @property
    def senders(self) -> list[str]:
        """The accounts that sent most."""
        return [row.account for row in self._accounts.top(lambda row: row.messages, 2000)]

    def take(self, line: Line | None) -> None:
        """Count one event; None is a line that was none."""
        if line is None:
            self._unread += 1
        elif self._since <= line.time < self._until:
            self._events += 1
            count = _COUNTERS.get(line.kind)
            if count is not None:
                count(self, line)

    # --- one kind each -----------------------------------------------------------------------------------------------

    def _session(self, line: Line) -> None:
        told = line.told()
        summed = told.get("sessions")  # a flood of refused ones, in one event
        number = summed if isinstance(summed, int) and summed > 0 else 1
        self._add(line, "sessions", number)
        client = self._client(line)
        if client is not None:
            client.sessions += number
        checks = told.get("checks")
        if isinstance(checks, dict):
            for check, times in checks.items():
                self._verdict(line, str(check), "reject", "enforce", times if isinstance(times, int) else 1)
        else:
            self._verdicts(line)
        if line.kind == "pop3.session":
            for name in ("retrieved", "removed"):
                self._totals[name] += _whole(told.get(name))

    def _message(self, line: Line) -> None:
        if line.service == "delivery":
            self._totals["made here"] += 1
            return
        self._verdicts(line)
        client, slot = self._client(line), self._slot(line)
        for seen in seen_in(line):
            if seen.deed == "unknown":
                self._abuse(self._harvesters[seen.network], seen.whom, line)
            elif seen.deed == "relay":
                self._abuse(self._relays[seen.network], f"{seen.sender} {seen.whom}", line)
            elif seen.deed == "known":
                if seen.network in self._harvesters.rows:
                    self._harvesters.rows[seen.network].others += seen.count
        if not line.reply.startswith("2"):
            return
        self._add(line, "messages", 1)
        self._totals["recipients"] += len(line.recipients)
        self._totals["octets"] += line.octets or 0
        if client is not None:
            client.messages += 1
            client.recipients += len(line.recipients)
        if line.login:
            account = self._accounts[line.login]
            account.messages += 1
            account.recipients += len(line.recipients)
            account.octets += line.octets or 0
            account.plot[slot] = account.plot.get(slot, 0) + 1
            _note_name(account.networks, line.holder)

    def _login(self, line: Line) -> None:
        told, client = line.told(), self._client(line)
        network = line.holder
        if "reason" in told:
            self._add(line, "failed logins", 1)
            tried = str(told.get("tried", ""))
            if client is not None:
                client.failed_logins += 1
            if network:
                self._abuse(self._guessers[network], tried, line)
            if "@" in tried:
                self._accounts[tried].failed_logins += 1
        elif line.login:
            self._totals["logins"] += 1
            account = self._accounts[line.login]
            account.logins += 1
            _note_name(account.networks, network)
            if client is not None:
                client.logins += 1
            if network in self._guessers.rows:
                self._guessers.rows[network].others += 1

    def _attempt(self, line: Line) -> None:
        results = line.told().get("results")
        for each in results if isinstance(results, list) else ():
            if isinstance(each, dict):
                self._totals[f"recipients {each.get('verdict', '')}"] += 1

    def _grant(self, line: Line) -> None:
        told = line.told()
        what, network = told.get("what"), str(told.get("address", line.holder))
        self._totals[f"grants {what}"] += 1
        if what not in ("made", "prolonged", "used") or not line.login:
            return
        row = self._grants.get((line.login, network))
        if row is None:
            if len(self._grants) >= MAX_PARTIES:
                return
            row = self._grants[line.login, network] = GrantRow(line.login, network)
        if what == "used":
            row.messages += 1
            row.last = max(row.last, line.time)
        elif what == "made":
            row.grants += 1

    def _tell(self, line: Line) -> None:
        told = line.told()
        self._totals[{"alert": "alerts", "ban": "bans", "admin": "acts"}[line.kind]] += 1
        lines = self._told[line.kind]
        lines.append(Told(line.time, _in_words(line.kind, told), line.id))
        if len(lines) > 4 * MAX_TOLD:
            lines.sort(key=lambda each: each.time, reverse=True)
            del lines[MAX_TOLD:]

    # --- pieces ------------------------------------------------------------------------------------------------------

    def _client(self, line: Line) -> ClientRow | None:
        network = line.holder
        if not network:
            return None
        client = self._clients[network]
        client.first = min(client.first or line.time, line.time)
        client.last = max(client.last, line.time)
        return client

    def _verdicts(self, line: Line) -> None:
        for each in line.verdicts:
            if each.verdict != "pass":
                self._verdict(line, each.check, each.verdict, each.mode, 1)

    def _verdict(self, line: Line, check: str, verdict: str, mode: str, times: int) -> None:
        row = self._checks.get(check)
        if row is None:
            if len(self._checks) >= MAX_NAMES:
                return
            row = self._checks[check] = CheckRow(check)
        row.event = max(row.event, line.id)
        if mode == "shadow":
            row.shadow += times
            return
        if verdict not in ("reject", "defer"):
            row.other += times
            return
        if verdict == "reject":
            row.rejected += times
        else:
            row.deferred += times
        slot = self._slot(line)
        row.plot[slot] = row.plot.get(slot, 0) + times
        self._add(line, "refusals", times)
        network = line.holder
        if network:
            self._clients[network].refusals += times

    def _abuse(self, row: AbuserRow, name: str, line: Line) -> None:
        row.count += 1
        _note_name(row.names, name)
        row.last = max(row.last, line.time)
        row.event = max(row.event, line.id)

    def _add(self, line: Line, name: str, number: int) -> None:
        self._totals[name] += number
        self._plots[name][self._slot(line)] += number

    def _slot(self, line: Line) -> int:
        return min(max(int((line.at - self._start) / self.slot_seconds), 0), self._slots - 1)

    # --- the result --------------------------------------------------------------------------------------------------

    def report(self) -> Report:
        """What was counted so far."""
        failing = self._accounts.top(lambda row: row.failed_logins)
        return Report(
            since=self._since,
            until=self._until,
            slot_seconds=self.slot_seconds,
            events=self._events,
            unread=self._unread,
            totals=dict(sorted(self._totals.items())),
            plots={name: self._columns(counts) for name, counts in self._plots.items()},
            clients=[_plain(row) for row in self._clients.top(lambda row: row.sessions + row.messages)],
            refused=[_plain(row) for row in self._clients.top(lambda row: row.refusals)],
            accounts=[self._account(row) for row in self._accounts.top(lambda row: row.messages)],
            checks=[self._check(row) for row in self._top_checks()],
            guessers=_abusers(self._guessers.top()),
            targets=[{"account": row.account, "failed_logins": row.failed_logins, "logins": row.logins}
                     for row in failing],
            harvesters=_abusers(self._harvesters.top()),
            relays=_abusers(self._relays.top()),
            grants=[_plain(row) for row in self._top_grants()],
            alerts=self._latest("alert"),
            bans=self._latest("ban"),
            acts=self._latest("admin"),
        )  # fmt: skip

    def _top_checks(self) -> Sequence[CheckRow]:
        return sorted(self._checks.values(), key=lambda row: (row.rejected + row.deferred, row.shadow), reverse=True)

    def _top_grants(self) -> Sequence[GrantRow]:
        """Those that were used, the latest first; a program that only reads mail depends on no grant."""
        used = [row for row in self._grants.values() if row.messages]
        return sorted(used, key=lambda row: row.last, reverse=True)[:MAX_GRANTS]

    def _account(self, row: AccountRow) -> dict[str, Any]:
        return {**_plain(row), "networks": len(row.networks), "plot": self._columns(row.plot)}

    def _check(self, row: CheckRow) -> dict[str, Any]:
        return {**_plain(row), "plot": self._columns(row.plot)}

    def _columns(self, counts: Mapping[int, int]) -> list[int]:
        return [counts.get(slot, 0) for slot in range(self._slots)]

    def _latest(self, kind: str) -> list[dict[str, Any]]:
        return [_plain(each) for each in sorted(self._told[kind], key=lambda each: each.time, reverse=True)[:MAX_TOLD]]


_COUNTERS: Final[Mapping[str, Callable[[Counting, Line], None]]] = {
    "smtp.session": Counting._session,
    "pop3.session": Counting._session,
    "smtp.message": Counting._message,
    "auth": Counting._login,
    "delivery.attempt": Counting._attempt,
    "grant": Counting._grant,
    "alert": Counting._tell,
    "ban": Counting._tell,
    "admin": Counting._tell,
}


def _in_words(kind: str, told: Mapping[str, Any]) -> str:
    """An alert, a ban or an act in one line."""
    if kind == "ban":
        return f"{told.get('what', '')} {told.get('network', '')}: {told.get('reason') or told.get('by', '')}"
    if kind == "admin":
        about = told.get("account") or told.get("address") or told.get("network") or told.get("id") or ""
        return f"{told.get('by', '')}: {told.get('act', '')} {about}".strip()
    problem = told.get("problem") or told.get("reason") or told.get("do") or ""
    return f"{told.get('what', '')}{f': {problem}' if problem else ''}"


def _abusers(rows: Iterable[AbuserRow]) -> list[dict[str, Any]]:
    return [{**_plain(row), "names": len(row.names)} for row in rows]


def _plain(row: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__}


def _note_name(names: set[str], name: str) -> None:
    if name and len(names) < MAX_NAMES:
        names.add(name)


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
