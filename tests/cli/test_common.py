"""What all commands have in common: where options stand, how errors end, what help costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import CONFIG, Command

from gatepost.cli.entry import NOUNS


@pytest.mark.parametrize(
    "words",
    [
        ("--config", "there/x.toml", "--json", "account", "list"),
        ("account", "--config", "there/x.toml", "--json", "list"),
        ("account", "list", "--config", "there/x.toml", "--json"),
        ("--json", "account", "list", "--config=there/x.toml"),
    ],
)
def test_options_stand_before_the_verb_or_behind_it(gatepost: Command, folder: Path, words: tuple[str, ...]) -> None:
    (folder / "gatepost.toml").unlink()
    (folder / "there").mkdir()
    (folder / "there" / "x.toml").write_text(CONFIG)
    ran = gatepost(*words)
    assert (ran.code, ran.json) == (0, [])
    assert (folder / "there" / "data" / "accounts.db").exists()


def test_one_run_does_not_remember_the_options_of_another(gatepost: Command) -> None:
    assert gatepost("account", "list", "--json").out == "[]\n"
    assert gatepost("account", "list").out == ""


@pytest.mark.parametrize(
    "words", [("acount",), ("account", "ad"), ("account", "add"), ("--wrong",), ("alias", "add", "a@b")]
)
def test_wrong_words_exit_with_2_and_say_which(gatepost: Command, words: tuple[str, ...]) -> None:
    ran = gatepost(*words)
    assert ran.code == 2
    assert ran.out == ""
    assert "Error: " in ran.err


def test_a_misspelt_noun_is_answered_with_the_right_one(gatepost: Command) -> None:
    assert "Did you mean 'account'?" in gatepost("acount", "list").err


def test_all_mistakes_of_the_configuration_are_told_and_nothing_is_done(gatepost: Command, folder: Path) -> None:
    (folder / "gatepost.toml").write_text("hostname = 5\nworkers = 0\n")
    ran = gatepost("account", "list")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 2
    assert all(line.startswith(f"gatepost: {folder}/gatepost.toml:") for line in ran.err.splitlines())
    assert not (folder / "data").exists()


def test_a_missing_configuration_is_told_with_what_makes_one(gatepost: Command, folder: Path) -> None:
    (folder / "gatepost.toml").unlink()
    ran = gatepost("account", "list", "--config", "no.toml")
    assert ran.code == 1
    assert 'no.toml does not exist; give the right one with --config, or write one with "gatepost init"' in ran.err


def test_a_mistake_of_ours_is_one_line_that_asks_for_a_report(
    gatepost: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("gatepost.cli.policy.configuration", broken)
    ran = gatepost("policy", "list")
    assert ran.code == 1
    assert ran.err.startswith("gatepost: this is a mistake in Gatepost itself (ZeroDivisionError: oops); ")


def test_a_data_folder_of_a_newer_version_is_left_alone(gatepost: Command, folder: Path) -> None:
    gatepost("account", "list")
    (folder / "data" / "version").write_text("999\n")
    ran = gatepost("account", "list")
    assert ran.code == 1
    assert "version 999 was written by a newer Gatepost" in ran.err


def test_help_names_every_noun_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from gatepost.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'pydantic', 'apsw', 'asyncio', 'cryptography', 'msgspec', 'rich', 'structlog'}"
        " & {name.partition('.')[0] for name in sys.modules}))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert all(f"\n  {noun}" in ran.stdout for noun in NOUNS)
    assert "HEAVY []" in ran.stdout


def test_a_pipe_that_closes_early_is_no_error(folder: Path) -> None:
    command = f"{sys.executable} -m gatepost policy list | head -1"
    ran = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=folder,
    )
    assert ran.stdout.startswith("NAME")
    assert ran.stderr == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_acts_as_the_user_of_the_server(folder: Path) -> None:
    """Files that root left in the data folder would stop the server."""
    folder.chmod(0o755)
    for parent in folder.parents:
        if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/pytest"):
            parent.chmod(0o755)
    (folder / "gatepost.toml").write_text('user = "nobody"\n' + CONFIG)
    words = [sys.executable, "-m", "gatepost", "account", "add", "ada@example.org", "--password-stdin"]
    ran = subprocess.run(
        words, input="three unusual words", capture_output=True, text=True, check=False, timeout=30, cwd=folder
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    owners = {path.stat().st_uid for path in (folder / "data").rglob("*")}
    assert owners == {__import__("pwd").getpwnam("nobody").pw_uid}
