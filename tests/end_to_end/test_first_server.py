"""What `gatepost init` says comes next leads to a server, a message in it, and that message read."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

from tests.programs import program
from tests.support.server import GATEPOST, PATIENCE_SECONDS, free_port

PASSWORD = "correct horse battery staple"
USUAL = {"25", "465", "587", "995", "2525", "2465", "2587", "2995"}


def shell(command: str, *, stdin: str = "") -> str:
    """What a person types; what it prints. A command that fails ends the test."""
    ran = subprocess.run(["sh", "-c", command], check=False, input=stdin, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def test_the_words_of_init_followed_one_by_one_lead_to_a_message_that_is_read(tmp_path: Path) -> None:
    program("curl")
    init = [str(GATEPOST), "init", "--hostname", "mx.example.org", "--domain", "example.org", "--dir", str(tmp_path)]
    said = json.loads(subprocess.run([*init, "--json"], capture_output=True, text=True, check=True).stdout)
    file = Path(said["config"])
    ports = {usual: str(free_port()) for usual in USUAL}
    text = file.read_text().replace("# postmaster = ", "postmaster = ").replace('user = "gatepost"', "")
    for usual, free in ports.items():
        text = text.replace(f'0.0.0.0:{usual}"', f'127.0.0.1:{free}"').replace(f'[::]:{usual}"', f'[::1]:{free}"')
    file.write_text(text)
    commands: dict[str, str] = {}  # by their verb; the first of each
    for command in filter(None, (step["command"] for step in said["next"])):
        commands.setdefault(command.rpartition(f"{file} ")[2].split()[0], command)
    shell(f"{commands['account']} --password-stdin", stdin=f"{PASSWORD}\n")
    assert "is in order" in shell(commands["check"])
    serve = commands.get("serve", f"{GATEPOST} --config {file} serve")  # as root it is systemd that does it
    log = tmp_path / "serve.log"
    with log.open("wb") as out:
        server = subprocess.Popen(["sh", "-c", f"exec {serve}"], stderr=out, stdout=out)
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while "info: serving " not in log.read_text() and time.monotonic() < until and server.poll() is None:
            time.sleep(0.05)
        assert "info: serving mx on 127.0.0.1:" in log.read_text(), log.read_text()
        shell(commands["sendmail"])
        read = commands["curl"].replace("you@example.org", f'"you@example.org:{PASSWORD}"')
        for usual, free in ports.items():
            read = read.replace(f"127.0.0.1:{usual}/", f"127.0.0.1:{free}/")
        while (ran := subprocess.run(["sh", "-c", read], check=False, capture_output=True, text=True)).returncode != 0:
            assert time.monotonic() < until, ran.stderr + log.read_text()
            time.sleep(0.05)
        assert "Subject: hello" in ran.stdout
        assert "\nIt works." in ran.stdout
        assert "250 2.1.5 delivered" in shell(commands["audit"])
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    assert "error" not in log.read_text()
    assert "info: stopped" in log.read_text()
