"""The tables of a spool's database, and how entries become rows and rows entries again.

Not here: the statements that move recipients through their states (`spool_rows`).
"""

from __future__ import annotations

import zlib
from typing import Final, Literal

import apsw
import msgspec

from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope, Notify, Recipient
from gatepost.mail.ids import is_id
from gatepost.spool.model import Entry, EntryRecipient, Hold, NewEntry, State
from gatepost.spool.port import SpoolError
from gatepost.store.sqlite.connection import Migration

# A state's number in the database. Those below LEASED wait for their time; the index of due recipients says `< 2`.
CODES: Final = {
    State.DUE: 0,
    State.DEFERRED: 1,
    State.LEASED: 2,
    State.HELD: 3,
    State.DONE: 4,
    State.BOUNCED: 5,
}
STATES: Final = {code: state for state, code in CODES.items()}

# Content is in a table of its own, so that a list of a million entries reads none of it. `damaged` keeps the rows of
# an entry that could not be read; nothing looks at it but people.
MIGRATIONS: Final[tuple[Migration, ...]] = (
    """
    CREATE TABLE entry (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        received_at REAL NOT NULL,
        octets INTEGER NOT NULL,     -- prefix and content
        crc INTEGER NOT NULL,        -- CRC-32 of the content, continued over the prefix
        in_file INTEGER NOT NULL,    -- 1: the content is content/ID, the row of `content` has the prefix only
        head BLOB NOT NULL
    );
    CREATE TABLE content (number INTEGER PRIMARY KEY, prefix BLOB NOT NULL, octets BLOB NOT NULL);
    CREATE TABLE recipient (
        entry INTEGER NOT NULL,
        number INTEGER NOT NULL,
        state INTEGER NOT NULL,
        destination TEXT NOT NULL,
        due REAL NOT NULL,
        attempts INTEGER NOT NULL,
        delay_told INTEGER NOT NULL,
        wish TEXT NOT NULL,          -- an action that waits for the end of the attempt
        reply TEXT NOT NULL,
        remote TEXT NOT NULL,
        head BLOB NOT NULL,
        PRIMARY KEY (entry, number)
    ) WITHOUT ROWID;
    CREATE INDEX recipient_due ON recipient (destination, due) WHERE state < 2;
    CREATE INDEX recipient_leased ON recipient (entry) WHERE state = 2;
    CREATE INDEX recipient_held ON recipient (entry) WHERE state = 3;
    CREATE TABLE damaged (
        id TEXT NOT NULL,
        reason TEXT NOT NULL,
        set_aside_at REAL NOT NULL,
        received_at REAL,
        octets INTEGER,
        head BLOB,
        recipients BLOB NOT NULL,    -- their rows, as msgpack
        prefix BLOB,
        content BLOB                 -- NULL where it is damaged/ID
    );
    """,
    # Why something is held was in `reply`; and who holds it, nobody could tell.
    """
    ALTER TABLE recipient ADD COLUMN held_by TEXT NOT NULL DEFAULT '';  -- `spool.model.Hold`, of what is held
    ALTER TABLE recipient ADD COLUMN hold_reason TEXT NOT NULL DEFAULT '';
    UPDATE recipient SET held_by = 'person' WHERE state = 3;
    UPDATE recipient SET held_by = 'check', hold_reason = reply, reply = ''
        WHERE state = 3 AND attempts = 0 AND reply LIKE 'sender.rate: %';
    """,
)

# A new entry is one row of `arrival` for each of its recipients; `id` is NULL in all but the first. One statement then
# adds all that came together, and SQLite makes it a transaction by itself: for each statement more the writer's thread
# would have to win the interpreter's lock back from a busy loop.
ARRIVAL_COLUMNS: Final = 21
ARRIVAL: Final = f"""
    CREATE TEMP VIEW arrival (
        number, id, received_at, octets, crc, in_file, head, prefix, content,
        recipient, state, destination, due, attempts, delay_told, wish, reply, remote, fixed, held_by, hold_reason
    ) AS SELECT {", ".join(["NULL"] * ARRIVAL_COLUMNS)};
    CREATE TEMP TRIGGER arrive INSTEAD OF INSERT ON arrival BEGIN
        INSERT INTO entry SELECT new.number, new.id, new.received_at, new.octets, new.crc, new.in_file, new.head
            WHERE new.id IS NOT NULL;
        INSERT INTO content SELECT new.number, new.prefix, new.content WHERE new.id IS NOT NULL;
        INSERT INTO recipient VALUES (
            new.number, new.recipient, new.state, new.destination, new.due, new.attempts, new.delay_told, new.wish,
            new.reply, new.remote, new.fixed, new.held_by, new.hold_reason
        );
        INSERT INTO waiting SELECT new.destination, new.due WHERE new.state = 0
            ON CONFLICT (destination) DO UPDATE SET due = excluded.due WHERE excluded.due < due;
    END;
"""  # noqa: S608 - nothing of it is from outside

EntryRow = tuple[str, float, int, int, int, bytes]
RecipientRow = tuple[int, int, str, float, int, int, str, str, str, bytes, str, str]


class Undecodable(Exception):
    """A row is not what was written; the message says which part."""


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What an entry knows beside its recipients; fields are only ever added at the end, with a default."""

    local_part: str
    domain: str
    body: Literal["7BIT", "8BITMIME"]
    smtputf8: bool
    size: int | None
    ret: Literal["", "FULL", "HDRS"]
    envid: str
    login: str
    client: str
    has_8bit: bool
    require_tls: bool


class RecipientHead(msgspec.Struct, frozen=True, array_like=True):
    """What is fixed of a recipient; fields are only ever added at the end, with a default."""

    local_part: str
    domain: str
    notify: tuple[Notify, ...] = ()
    orcpt: str = ""
    served: tuple[str, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(Head).decode
_decode_recipient = msgspec.msgpack.Decoder(RecipientHead).decode


class Prepared(msgspec.Struct, frozen=True):
    """A new entry as rows that lack only their number. Made by the caller's thread, so that what is wrong with an
    entry is told to its own caller and never spoils the batch."""

    entry: EntryRow  # id, received_at, octets, crc, in_file, head
    prefix: bytes
    content: bytes  # empty when it is in a file
    recipients: tuple[RecipientRow, ...]  # as the table's columns from `number` on
    octets: int


def prepare(entry: NewEntry, content: bytes, content_crc: int, content_octets: int, in_file: bool) -> Prepared:
    """The rows of a new entry. Raises SpoolError for an entry that contradicts itself."""
    octets = len(entry.prefix) + content_octets
    _check(entry, octets)
    try:
        head, recipients = _blobs(entry)
    except UnicodeEncodeError as error:  # a lone surrogate: not from the wire, which is decoded strictly
        raise SpoolError(f"entry {entry.id} has text that is no UTF-8 in its envelope") from error
    crc = zlib.crc32(entry.prefix, content_crc)
    row = (entry.id, entry.received_at, octets, crc, int(in_file), head)
    return Prepared(row, entry.prefix, content, recipients, octets)


def _blobs(entry: NewEntry) -> tuple[bytes, tuple[RecipientRow, ...]]:
    envelope = entry.envelope
    head = Head(
        envelope.reverse_path.local_part,
        envelope.reverse_path.domain,
        envelope.body,
        envelope.smtputf8,
        envelope.size,
        envelope.ret,
        envelope.envid,
        entry.login,
        entry.client,
        entry.has_8bit,
        entry.require_tls,
    )
    state = CODES[State.HELD if entry.held else State.DUE]
    due, held_by, reason = entry.received_at, entry.held_by or "", entry.hold_reason if entry.held else ""
    recipients = []
    for number, (recipient, destination) in enumerate(zip(envelope.recipients, entry.destinations, strict=True)):
        path = recipient.path
        fixed = _encode(
            RecipientHead(path.local_part, path.domain, recipient.notify, recipient.orcpt, recipient.served)
        )
        recipients.append((number, state, destination, due, 0, 0, "", "", "", fixed, str(held_by), reason))
    return _encode(head), tuple(recipients)


def _check(entry: NewEntry, octets: int) -> None:
    if not is_id(entry.id):  # it becomes a file name
        raise SpoolError(f"{entry.id!r} is no ID of an entry")
    if not entry.envelope.recipients or len(entry.destinations) != len(entry.envelope.recipients):
        raise SpoolError(f"entry {entry.id} needs a recipient, and a destination for each")
    if octets != entry.octets:
        raise SpoolError(f"entry {entry.id} says {entry.octets} octets, prefix and content have {octets}")


def decode_recipient(row: RecipientRow) -> EntryRecipient:
    """The recipient of a row with the table's columns from `number` on. Raises Undecodable."""
    number, state, destination, due, attempts, delay_told, _, reply, remote, head, held_by, reason = row
    try:
        fixed = _decode_recipient(head)
        recipient = Recipient(Path(fixed.local_part, fixed.domain), fixed.notify, fixed.orcpt, fixed.served)
        return EntryRecipient(
            number, recipient, destination, STATES[state], attempts, due, reply, remote, bool(delay_told),
            Hold(held_by) if held_by else None, reason,
        )  # fmt: skip
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise Undecodable(f"recipient {number} cannot be read: {error}") from error


def decode_entry(row: EntryRow, recipients: tuple[EntryRecipient, ...], spool: str) -> Entry:
    """The entry of a row of `entry` without its number, with those recipients. Raises Undecodable."""
    entry_id, received_at, octets, _, _, blob = row
    try:
        head = _decode_head(blob)
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
        raise Undecodable(f"the envelope cannot be read: {error}") from error
    envelope = Envelope(
        Path(head.local_part, head.domain), (), head.body, head.smtputf8, head.size, head.ret, head.envid
    )
    return Entry(
        entry_id,
        envelope,
        received_at,
        octets,
        head.login,
        head.client,
        head.has_8bit,
        head.require_tls,
        recipients,
        spool,
    )


def use_spool(connection: apsw.Connection) -> None:
    """What only the owner of a spool sets: it writes the log back itself, and keeps its working tables in memory."""
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA journal_size_limit = 16777216")  # the log is cut to it when it starts anew
    connection.execute("PRAGMA cache_size = -16384")  # a batch of 4 MiB fits, with the pages it touches
    connection.execute("PRAGMA temp_store = memory")
    connection.execute("CREATE TEMP TABLE waiting (destination TEXT PRIMARY KEY, due REAL NOT NULL) WITHOUT ROWID")
    connection.execute("CREATE INDEX temp.waiting_due ON waiting (due)")
    connection.execute(ARRIVAL)
