"""The tables of `client.access` as values: networks and host names, read from lines, looked up. No file is opened."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from gatepost.mail.address import AddressError, to_ascii_domain
from gatepost.mail.network import CODES, NetworkSet, NetworkSetBuilder

FILE: Final = "file:"
MAX_TOLD: Final = 20  # bad lines that are named; of the others only their number
MAX_NAME: Final = 253
Buffer = Any
"""What can be written as octets: bytes, an array."""
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")  # underscores are seen in the names of hosts


class BadLine(msgspec.Struct, frozen=True):
    """A line that is no entry. number: from 1."""

    number: int
    problem: str


class AccessList(msgspec.Struct, frozen=True):
    """Entries of one origin. origin: for the record, a file or "the configuration". names: "mail.example.net", or
    ".example.net" for every host below it; lower case, A-labels."""

    origin: str
    networks: NetworkSet = NetworkSet()
    names: frozenset[str] = frozenset()


class HandedOver(msgspec.Struct, frozen=True):
    """The beginning of an AccessList on its way from the process that read it: what is not in its columns, which
    follow, and what was wrong with the lines. lengths: of the columns."""

    lengths: list[int] = []
    names: list[str] = []
    bad: list[BadLine] = []
    bad_total: int = 0
    error: str = ""  # the file could not be read at all


class AccessTable:
    """One side of the check, `allow` or `deny`: its lists, in their order. Immutable."""

    __slots__ = ("_lists", "has_names", "is_empty")

    def __init__(self, lists: Iterable[AccessList] = ()) -> None:
        self._lists = tuple(one for one in lists if one.networks or one.names)
        self.is_empty = not self._lists
        self.has_names = any(one.names for one in self._lists)

    def address(self, ip: str) -> str:
        """The origin of the first list that holds `ip`, "" for none."""
        for one in self._lists:
            if ip in one.networks:
                return one.origin
        return ""

    def name(self, name: str) -> str:
        """The same for a host name in lower case."""
        if not self.has_names:
            return ""
        parents = [name]
        at = name.find(".")
        while at >= 0:
            parents.append(name[at:])
            at = name.find(".", at + 1)
        for one in self._lists:
            if not one.names.isdisjoint(parents):
                return one.origin
        return ""


def host_name(text: str) -> str:
    """The entry in its normal form: lower case, A-labels, a leading dot kept. Raises ValueError."""
    dot = "." if text.startswith(".") else ""
    try:
        name = to_ascii_domain(text.removeprefix(".").removesuffix("."))
    except (AddressError, UnicodeError):
        raise ValueError(f"{text!r} is no host name") from None
    labels = name.split(".")
    # "192.0.2.300" is a mistyped address, not a host below "300".
    if len(name) > MAX_NAME or labels[-1].isdigit() or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{text!r} is no host name")
    return dot + name


def read_list(lines: Iterable[str], origin: str) -> tuple[AccessList, list[BadLine], int]:
    """The entries in `lines`, the first lines that are none, and how many such lines there are.

    An entry is a network, an address or a host name; `#` begins a comment, empty lines are fine. A line that is none
    of these is passed over: one typing error among a million must not unlock all others.
    """
    builder = NetworkSetBuilder()
    names: set[str] = set()
    bad: list[BadLine] = []
    bad_total = 0
    for number, line in builder.take(lines):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        try:
            builder.add(entry)
        except ValueError as error:
            problem = _name_or_problem(entry, names, error)
            if problem:
                bad_total += 1
                if bad_total <= MAX_TOLD:
                    bad.append(BadLine(number, problem))
    return AccessList(origin, builder.build(), frozenset(names)), bad, bad_total


def _name_or_problem(entry: str, names: set[str], error: ValueError) -> str:
    """ "" where `entry` is a host name, which is kept in `names`; else what is wrong."""
    shown = entry if len(entry) <= 60 else entry[:57] + "..."
    if "/" in entry or ":" in entry:
        return str(error) if "host bits" in str(error) else f"{shown!r} is no network"
    try:
        names.add(host_name(entry))
    except ValueError:
        return f"{shown!r} is neither an address, nor a network, nor a host name"
    return ""


def split_entries(entries: Sequence[str]) -> tuple[AccessList, tuple[str, ...]]:
    """What a setting lists itself, and the files that it names, in their order. Raises ValueError for what is none."""
    files = tuple(entry.removeprefix(FILE) for entry in entries if entry.startswith(FILE))
    own, bad, _ = read_list((entry for entry in entries if not entry.startswith(FILE)), "the configuration")
    if bad:
        raise ValueError(bad[0].problem)
    return own, files


def hand_over(found: AccessList, bad: Sequence[BadLine], bad_total: int) -> Iterator[Buffer]:
    """What another process of this machine makes the list from (`taken_over`), in pieces, to be written one by one."""
    columns = found.networks.columns()
    handed = HandedOver([len(column) for column in columns], list(found.names), list(bad), bad_total)
    yield from framed(handed)
    yield from columns


def framed(handed: HandedOver) -> Iterator[Buffer]:
    """The beginning: how long it is, and itself."""
    octets = msgspec.msgpack.encode(handed)
    yield len(octets).to_bytes(8, "big")
    yield octets


def taken_over(read: Callable[[int], bytes], origin: str) -> tuple[AccessList, HandedOver]:
    """What `hand_over` made. read: the next so many octets. Raises ValueError for anything else.

    Octets become arrays column by column, so that a large table is not in memory three times over.
    """
    try:
        handed = msgspec.msgpack.decode(read(int.from_bytes(read(8), "big")), type=HandedOver)
    except (msgspec.MsgspecError, OverflowError, MemoryError) as error:
        raise ValueError(f"what was handed over is no table: {error}") from error
    columns = []
    for code, length in zip(CODES, handed.lengths or [0] * len(CODES), strict=True):
        column = array(code)
        octets = read(length * column.itemsize)
        if len(octets) != length * column.itemsize:
            raise ValueError("what was handed over ends too early")
        column.frombytes(octets)
        columns.append(column)
    return AccessList(origin, NetworkSet.of_columns(columns), frozenset(handed.names)), handed
