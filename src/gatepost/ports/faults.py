"""Faults, as a port: the named moments of a durable write, so that a test can break off at each of them."""

from __future__ import annotations

from typing import Final, Protocol

POINTS: Final = (
    # A large message on its way into its file in the spool: before it grows, is synced, gets its place, and before the
    # folder is synced.
    "content.write",
    "content.sync",
    "content.rename",
    "content.folder",
    # A batch of the spool: before and after its commit; before and after the settlement of attempts.
    "commit.before",
    "commit.after",
    "settle.before",
    "settle.after",
    # Before a content file that nobody needs goes, and before the log of the database is written back.
    "unlink",
    "checkpoint.before",
    # A message on its way into a Maildir: before it is written, synced, visible, and before the folder is synced; then
    # before what is left in `tmp` goes.
    "maildir.write",
    "maildir.sync",
    "maildir.link",
    "maildir.folder",
    "maildir.tidy",
    # A line of the record: before and after it is written, before it is synced.
    "record.write",
    "record.written",
    "record.sync",
    # A batch of bans, grants and greylist: before and after its commit.
    "facts.before",
    "facts.after",
)
"""Every point there is. A point that nobody passes is a defect: the tests pass each of them."""


class Faults(Protocol):
    """Called with the name of each point as it is passed, from any thread; production passes `no_fault`."""

    def __call__(self, point: str, /) -> None: ...


def no_fault(point: str, /) -> None:
    """Nothing happens at any point."""
