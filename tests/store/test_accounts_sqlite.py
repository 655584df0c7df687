from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from tests.accounts.memory import MemoryAccounts, RemoteAccounts
from tests.conformance.accounts import ADA, AccountStoreConformance

from gatepost.accounts.model import Account, Alias, MailingList
from gatepost.accounts.port import AccountsError
from gatepost.store.sqlite.accounts import MIGRATIONS, TRUSTED_SECONDS, SqliteAccounts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts.db"


class TestSqlite(AccountStoreConformance):
    @pytest.fixture
    def store(self, path: Path) -> Iterator[SqliteAccounts]:
        store = SqliteAccounts(path)
        yield store
        store.close()


class TestMemory(AccountStoreConformance):
    @pytest.fixture
    def store(self) -> MemoryAccounts:
        return MemoryAccounts()


class TestRemote(AccountStoreConformance):
    @pytest.fixture
    def store(self) -> MemoryAccounts:
        return RemoteAccounts()


def in_another_process(path: Path, code: str) -> str:
    program = (
        "import sys; from pathlib import Path as P\n"
        "from gatepost.accounts.model import Account, Alias\n"
        "from gatepost.store.sqlite.accounts import SqliteAccounts\n"
        f"store = SqliteAccounts(P(sys.argv[1]))\n{code}\nstore.close()\n"
    )
    run = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_what_another_process_changes_counts_from_the_next_look_up_on(path: Path) -> None:
    store = SqliteAccounts(path)
    assert store.find("bob@example.org") is None
    in_another_process(path, "store.put(Account('bob@example.org'))")
    assert store.find("bob@example.org") == Account("bob@example.org")
    in_another_process(path, "store.put(Account('bob@example.org', quota=7))")
    assert store.find("bob@example.org") == Account("bob@example.org", quota=7)
    in_another_process(path, "store.remove('bob@example.org')")
    assert store.find("bob@example.org") is None


def test_sqlite_is_asked_no_more_than_every_few_milliseconds_whether_anything_changed(path: Path) -> None:
    now = 100.0
    store, other = SqliteAccounts(path, lambda: now), SqliteAccounts(path)
    assert store.find("bob@example.org") is None
    other.put(Account("bob@example.org"))
    now += TRUSTED_SECONDS * 0.9
    assert store.find("bob@example.org") is None
    now += TRUSTED_SECONDS * 0.2
    assert store.find("bob@example.org") == Account("bob@example.org")
    store.put(Account("bob@example.org", quota=7))
    assert store.find("bob@example.org") == Account("bob@example.org", quota=7), "what it did itself counts at once"


def test_what_was_put_is_there_after_the_process_died_without_closing(path: Path) -> None:
    in_another_process(path, "store.put(Account('bob@example.org'))\nimport os; os._exit(0)")
    assert SqliteAccounts(path).find("bob@example.org") == Account("bob@example.org")


def test_many_processes_that_open_a_new_file_at_once_all_succeed(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path as P\n"
        "from gatepost.store.sqlite.accounts import SqliteAccounts\n"
        "sys.stdin.read(1); print(SqliteAccounts(P(sys.argv[1])).secret('s').hex())\n"
    )
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    secrets = {process.communicate("x")[0] for process in crowd}
    assert [process.returncode for process in crowd] == [0] * 6
    assert len(secrets) == 1  # all see the one that was made first


def test_a_secret_stays_and_each_name_has_its_own(path: Path) -> None:
    store = SqliteAccounts(path)
    first = store.secret("scram")
    store.close()
    again = SqliteAccounts(path)
    assert again.secret("scram") == first
    assert len(first) == 32
    assert again.secret("other") != first


def test_nobody_else_may_read_the_files(path: Path) -> None:
    before = os.umask(0)
    try:
        store = SqliteAccounts(path)
        store.put(ADA)
    finally:
        os.umask(before)
    files = [path, path.with_name("accounts.db-wal"), path.with_name("accounts.db-shm")]
    assert {file.name: oct(stat.S_IMODE(file.stat().st_mode)) for file in files} == {f.name: "0o600" for f in files}


def test_a_file_of_a_newer_version_is_refused_with_advice(path: Path) -> None:
    SqliteAccounts(path).close()
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(AccountsError, match=r"accounts\.db has schema 2, this Gatepost knows 1: a newer one wrote it"):
        SqliteAccounts(path)


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"This is a shopping list, not a database.\n" * 100)
    with pytest.raises(AccountsError, match="no database of accounts"):
        SqliteAccounts(path)
    assert path.read_bytes().startswith(b"This is a shopping list")


def test_a_folder_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(AccountsError, match=r"missing/accounts\.db cannot be opened"):
        SqliteAccounts(tmp_path / "missing" / "accounts.db")


def test_a_damaged_entry_is_named_and_the_others_are_served(path: Path) -> None:
    store = SqliteAccounts(path)
    store.put(ADA)
    store.put(Account("bob@example.org"))
    store._connection.execute("UPDATE entry SET body = x'7b' WHERE address = 'ada@example.org'")
    store._remembered.clear()
    with pytest.raises(AccountsError, match=r"the entry of ada@example\.org is damaged"):
        store.find("ada@example.org")
    assert store.find("bob@example.org") == Account("bob@example.org")


@pytest.mark.parametrize(
    "item",
    [
        Account("Ada@example.org"),
        Account("ada"),
        Account("ada@bücher.example"),
        Account("@example.org"),
        Account("ada@example.org", send_as=("Info@example.org",)),
        Alias("help@example.org", ()),
        Alias("help@example.org", ("nobody",)),
        MailingList("club@example.org", ("a b@c d",), ()),
        MailingList("club@example.org", (), ("owner",)),
    ],
    ids=str,
)
def test_what_could_not_be_looked_up_again_is_refused(path: Path, item: Account | Alias | MailingList) -> None:
    store = SqliteAccounts(path)
    with pytest.raises(AccountsError, match=r"is no address|as a key|needs a target"):
        store.put(item)
    assert store.find(item.address) is None


def test_what_strangers_ask_for_does_not_fill_the_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.store.sqlite.accounts.MAX_REMEMBERED", 10)
    store = SqliteAccounts(path)
    store.put(ADA)
    for number in range(50):
        assert store.find(f"x{number}@example.org") is None
        assert len(store._remembered) <= 10
    assert store.find(ADA.address) == ADA
