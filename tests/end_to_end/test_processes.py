"""The whole server through its life: start, reload, deaths, backup, restore, stop; mail is never lost on the way."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import smtplib
import stat
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from tests.end_to_end.running import ADA, CONFIG, Running, eventually, gatepost, running

import gatepost as gatepost_package

NOBODY = "nobody"


def send(client: smtplib.SMTP, token: str) -> None:
    """Raises SMTPException where it is not answered 250."""
    client.sendmail("bob@example.net", [ADA], f"From: bob@example.net\r\nSubject: {token}\r\n\r\nHello.\r\n".encode())


def subjects(messages: Sequence[bytes]) -> set[str]:
    lines = [line for message in messages for line in message.split(b"\r\n") if line.startswith(b"Subject: ")]
    return {line.removeprefix(b"Subject: ").decode() for line in lines}


def test_a_message_that_arrives_while_generations_change_is_kept_and_the_session_goes_on(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        client = server.smtp()
        client.mail("bob@example.net")
        client.rcpt(ADA)
        client.docmd("DATA")
        client.send(b"From: bob@example.net\r\nSubject: across\r\n\r\nfirst half, ")
        before = set(server.status()["workers"].values())
        reloaded = gatepost(tmp_path, "reload")
        assert (reloaded.returncode, reloaded.stderr) == (0, "")
        assert before.isdisjoint(server.status()["workers"].values())
        client.send(b"second half\r\n.\r\n")
        code, text = client.getreply()
        assert code == 250, text
        send(client, "after")  # the same session, with the worker of before
        client.quit()
        eventually(lambda: subjects(server.messages()) == {"across", "after"})
        with server.smtp() as idle:
            assert server.stop() == 0
            assert idle.getreply()[0] == 421, "who is in no transaction is told at once"
        assert not list((tmp_path / "data" / "run").glob("*.sock"))


def test_a_bad_configuration_is_told_line_by_line_and_changes_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        workers = server.status()["workers"]
        (tmp_path / "gatepost.toml").write_text(CONFIG + '[relay]\nnetworks = ["0.0.0.0/0"]\nsmarthots = 1\n')
        reloaded = gatepost(tmp_path, "reload")
        assert reloaded.returncode == 1
        assert f"gatepost: {tmp_path}/gatepost.toml:18: relay.networks: " in reloaded.stderr
        assert "did you mean smarthost?" in reloaded.stderr
        assert "The server goes on with the configuration that it had." in reloaded.stderr
        (tmp_path / "gatepost.toml").write_text(CONFIG.replace("hostname", "hostnam", 1))
        assert "hostnam: there is no such setting; did you mean hostname?" in gatepost(tmp_path, "reload").stderr
        assert server.status()["workers"] == workers
        (tmp_path / "gatepost.toml").write_text(CONFIG.replace('data = "data"', 'data = "other"'))
        assert "no server is running with" in gatepost(tmp_path, "reload").stderr


def test_what_cannot_be_started_says_why_and_a_second_server_says_which_is_running(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        second = gatepost(tmp_path, "serve")
        assert second.returncode == 1
        assert f"a server is running with this data folder (process {server.process.pid})" in second.stderr
        other = tmp_path / "other"
        other.mkdir()
        port = server.port("mx")
        (other / "gatepost.toml").write_text(CONFIG.replace("127.0.0.1:0", f"127.0.0.1:{port}", 1))
        taken = gatepost(other, "serve")
        assert taken.returncode == 1
        assert f"listen on 127.0.0.1:{port}: the address is in use" in taken.stderr
        unreadable = CONFIG + '[tls]\ncertificate = "no.pem"\nkey = "no.pem"\n'
        (other / "gatepost.toml").write_text(unreadable)
        assert "no.pem" in gatepost(other, "serve").stderr
        assert gatepost(tmp_path, "reload").returncode == 0  # nobody harmed the first one


def have_others(server: Running, killed: set[int]) -> bool:
    """Whether workers serve, and none is one of those."""
    return server.is_up() and killed.isdisjoint(server.status()["workers"].values())


def test_mail_that_a_killed_worker_had_accepted_is_delivered_and_the_record_says_how_it_ended(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        sent = set()
        for turn in range(3):
            client = server.smtp()
            for number in range(5):
                send(client, f"{turn}-{number}")
                sent.add(f"{turn}-{number}")
            killed = set(server.status()["workers"].values())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            eventually(partial(have_others, server, killed))
            client.close()
        eventually(lambda: subjects(server.messages()) >= sent)
        found = gatepost(tmp_path, "audit", "search", "--kind", "alert", "--json")
        problems = [event["details"].get("problem", "") for event in json.loads(found.stdout)]
        assert [text for text in problems if "was killed by signal 9 (SIGKILL)" in text]


class Senders:
    """Sessions that submit one message after the other. answered: what was answered 250."""

    def __init__(self, server: Running) -> None:
        self.answered: set[str] = set()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(server.smtp(), name)) for name in "abc"]

    def _send(self, client: smtplib.SMTP, name: str) -> None:
        number = 0
        while not self._done.is_set():
            send(client, f"{name}-{number}")
            self.answered.add(f"{name}-{number}")
            number += 1
        client.quit()

    def __enter__(self) -> Senders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


def test_a_backup_made_while_mail_flows_is_restored_and_served_with_all_that_was_answered_250(tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    with running(first) as server, Senders(server) as senders:
        eventually(lambda: len(senders.answered) > 50)
        before = set(senders.answered)
        saved = gatepost(first, "backup", str(tmp_path / "saved"))
        assert saved.returncode == 0, saved.stderr
        refused = gatepost(first, "restore", str(tmp_path / "saved"))
        assert refused.returncode == 1
        assert "a server is running" in refused.stderr
    again.mkdir()
    restored = gatepost(again, "restore", str(tmp_path / "saved"))
    assert restored.returncode == 0, restored.stderr
    with running(again, is_new=False) as server:
        eventually(lambda: subjects(server.messages()) >= before)
        verified = gatepost(again, "audit", "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr


def python_for_all() -> str:
    """A Python that another user may execute, for what root gives up."""
    for python in (sys.executable, "/usr/bin/python3"):
        entry = pwd.getpwnam(NOBODY)
        with_rights = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        code = f"import sys, apsw; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
        try:
            if not subprocess.run([python, "-c", code], env=environment(), check=False, **with_rights).returncode:  # type: ignore[call-overload]
                return python
        except OSError:
            continue
    pytest.skip("no Python that the user nobody could run, which is what this test is about")


def environment() -> dict[str, str]:
    """What another Python of the same version needs to find what ours has installed."""
    paths = [str(Path(root).parents[0]) for root in gatepost_package.__path__]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*paths, *(path for path in sys.path if "site-packages" in path)]),
    }


def test_root_starts_it_and_nobody_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        refused = tmp_path / "gatepost.toml"
        refused.write_text(CONFIG.replace("workers", f'user = "{NOBODY}"\nworkers'))
        assert f"only root can become {NOBODY}" in gatepost(tmp_path, "serve").stderr
        return
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    program = (python_for_all(), "-m", "gatepost")
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    config = CONFIG.replace("workers", f'user = "{NOBODY}"\nworkers')
    uid = pwd.getpwnam(NOBODY).pw_uid
    with running(tmp_path, program=program, config=config) as server:
        status = server.status()
        for pid in (status["pid"], status["leader"], *status["workers"].values()):
            uids = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:")]
            assert uids == [f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}"]
        client = server.smtp()
        send(client, "for ada")
        client.quit()
        eventually(lambda: subjects(server.messages()) == {"for ada"})
        assert gatepost(tmp_path, "reload", program=program).returncode == 0
        saved = gatepost(tmp_path, "backup", str(tmp_path / "saved"), program=program)
        assert saved.returncode == 0, saved.stderr
        owners = {path.stat().st_uid for path in server.data.rglob("*")}
        assert owners == {uid}, "what root did made nothing that the server could not write"
        assert server.stop() == 0
    shutil.rmtree(tmp_path / "data")
    assert gatepost(tmp_path, "restore", str(tmp_path / "saved"), program=program).returncode == 0
    with running(tmp_path, is_new=False, program=program) as server:
        assert subjects(server.messages()) == {"for ada"}
