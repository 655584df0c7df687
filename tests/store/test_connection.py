"""What every SQLite engine stands on: transactions that are whole or nothing, and errors that say what to do."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from gatepost.store.sqlite.connection import SchemaError, connect, explained, migrate, transaction


class Trouble(Exception):
    """The error of an engine."""


def test_what_breaks_off_leaves_nothing_and_the_next_transaction_is_free(tmp_path: Path) -> None:
    connection = connect(tmp_path / "a.db")
    connection.execute("CREATE TABLE one (number INTEGER UNIQUE)")
    with pytest.raises(apsw.ConstraintError), transaction(connection):
        connection.execute("INSERT INTO one VALUES (1); INSERT INTO one VALUES (1)")
    with transaction(connection):
        connection.execute("INSERT INTO one VALUES (2)")
    assert connect(tmp_path / "a.db", read_only=True).execute("SELECT number FROM one").fetchall() == [(2,)]


def test_a_migration_that_fails_is_as_if_it_had_not_begun(tmp_path: Path) -> None:
    connection = connect(tmp_path / "a.db")
    with pytest.raises(apsw.SQLError):
        migrate(connection, ("CREATE TABLE one (number INTEGER)", "no SQL"), tmp_path / "a.db")
    assert migrate(connection, ("CREATE TABLE one (number INTEGER)",), tmp_path / "a.db") == 0


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (SchemaError("too new"), "too new"),
        (apsw.NotADBError("no"), "a.db is no database of keys; restore a backup of it"),
        (apsw.IOError("broken"), "a.db cannot be read: broken; see that the disk and its rights are fine"),
        (PermissionError("denied"), "a.db cannot be read: denied; see that the disk and its rights are fine"),
    ],
)
def test_errors_name_the_file_and_what_to_do(raised: Exception, words: str) -> None:
    with pytest.raises(Trouble) as caught, explained(Path("a.db"), "keys", "read", Trouble):
        raise raised
    assert str(caught.value) == words
