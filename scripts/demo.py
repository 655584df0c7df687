"""`make run`: a mail server on loopback in ./demo, one message through it, one refusal, and the record of both.

Everything is done the way a user would: `gatepost` commands, SMTP and POP3. It goes on serving until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import email.policy
import poplib
import re
import shlex
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "demo"
GATEPOST = str(Path(sys.executable).parent / "gatepost")
HOST = "127.0.0.1"
WANTED = {"mx": 2525, "submission": 2587, "submissions": 2465, "pop3": 2110, "pop3s": 2995, "admin": 2080}
ADA, BOB, TEAM = "ada@example.org", "bob@example.org", "team@example.org"
PASSWORD = "demo only, loopback only"  # it is shown on the screen, and serves loopback
PATIENCE_SECONDS = 20.0


def free_port(wanted: int) -> int:
    """`wanted`, or where something else has it, the next that is free 1000 above."""
    for port in range(wanted, 65536, 1000):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    sys.exit(f"No port is free above {wanted}.")


PORTS = {service: free_port(port) for service, port in WANTED.items()}

CONFIG = f"""\
# Written by `make run`. A real one is written by `gatepost init`.
hostname   = "mx.example.org"
data       = "data"
postmaster = "{ADA}"
trusted    = ["127.0.0.0/8"]
workers    = 2

[domain."example.org"]

[relay.pop_before_smtp]
enabled  = true
networks = ["127.0.0.0/8"]

# The demo's senders live in domains that no DNS has.
[policy."sender.domain"]
mode = "off"
""" + "".join(
    f"""
[[listen]]
address = "{HOST}:{port}"
service = "{service}"
"""
    for service, port in PORTS.items()
)


def main() -> int:
    """Exit status: 0 after Ctrl-C, 1 when something did not work."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the server is stopped then too
    say("Preparing ./demo: the domain example.org, two accounts, a list")
    DEMO.mkdir(exist_ok=True)
    (DEMO / "gatepost.toml").write_text(CONFIG)
    with serving() as server:
        for address in (ADA, BOB):
            if address not in gatepost("account", "list", quiet=True):
                gatepost("account", "add", address, "--password-stdin", stdin=PASSWORD)
        if not gatepost("list", "show", TEAM, quiet=True, may_fail=True):
            gatepost("list", "add", TEAM, ADA, BOB, "--owner", ADA)
        story = send_a_message()
        read_it_back(story)
        send_after_reading()
        refusal = try_to_relay()
        for title, event_id in (("The record of the message", story), ("The record of the refusal", refusal)):
            say(f"{title}: gatepost audit show {event_id}")
            print(gatepost("audit", "show", event_id, quiet=True))
        tell_how_to_talk_to_it()
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()
    return 0


@contextlib.contextmanager
def serving() -> Iterator[subprocess.Popen[bytes]]:
    """The server, until the block ends; its log goes to demo/serve.log."""
    log = DEMO / "serve.log"
    command = [GATEPOST, "--config", str(DEMO / "gatepost.toml"), "serve"]
    say(f"Starting the server: {shlex.join(['gatepost', *command[1:]])}   (its log: demo/serve.log)")
    with log.open("wb") as out:
        # A group of its own: Ctrl-C reaches this script, which then stops the server in order.
        server = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        wait_for_greeting(server, log)
        yield server
    finally:
        if server.poll() is None:
            print("\nStopping: running sessions end first.")
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def wait_for_greeting(server: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when every port answers; ends the program with the server's own words when it does not come up."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError, poplib.error_proto), smtplib.SMTP(HOST, PORTS["mx"], timeout=5):
            poplib.POP3(HOST, PORTS["pop3"], timeout=5).quit()
            return
        time.sleep(0.1)
    sys.exit(f"The server did not come up. It says:\n{log.read_text(errors='replace')}")


def send_a_message() -> str:
    """ada submits to bob, with STARTTLS and a login. The ID that the 250 names."""
    say(f"Submitting a message from {ADA} to {BOB}: port {PORTS['submission']}, STARTTLS, AUTH")
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = ADA, BOB, "The road is open"
    message.set_content("Through submission, spool and Maildir, and out over POP3.\n")
    with smtplib.SMTP(HOST, PORTS["submission"], timeout=30) as client:
        client.starttls(context=any_certificate())
        client.login(ADA, PASSWORD)
        client.mail(ADA)
        client.rcpt(BOB)
        code, text = client.data(message.as_bytes(policy=email.policy.SMTP))
    print(f"  {code} {text.decode()}")
    return id_in(text)


def read_it_back(entry: str) -> None:
    """bob reads his mail over POP3S until the message is there."""
    say(f"Reading it as {BOB}: port {PORTS['pop3s']}, POP3 over TLS")
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        client = poplib.POP3_SSL(HOST, PORTS["pop3s"], context=any_certificate(), timeout=30)
        client.user(BOB)
        client.pass_(PASSWORD)
        count, _ = client.stat()
        for number in range(count, 0, -1):
            lines = client.retr(number)[1]
            if any(entry.encode() in line for line in lines):
                print("\n".join(f"  {line.decode('utf-8', 'replace')}" for line in lines))
                client.quit()
                return
        client.quit()
        time.sleep(0.2)
    sys.exit(f"The message {entry} did not arrive; `gatepost queue show {entry}` says where it is.")


def send_after_reading() -> None:
    """A device of bob's that cannot log in sends: bob has just read his mail from the same address."""
    say(f"A device of {BOB} that knows neither TLS nor a login: port {PORTS['mx']}, POP-before-SMTP")
    if (answer := try_without_login(BOB))[0] != 250:
        sys.exit(f"That should have been accepted: {answer}")
    gatepost("grant", "list")
    gatepost("grant", "revoke", BOB)
    if (answer := try_without_login(BOB))[0] != 550:
        sys.exit(f"That should have been refused: {answer}")


def try_without_login(sender: str) -> tuple[int, bytes]:
    """The answer to a recipient elsewhere; nothing is sent."""
    with smtplib.SMTP(HOST, PORTS["mx"], timeout=30) as client:
        client.ehlo("device.example.net")
        client.mail(sender)
        code, text = client.rcpt("somebody@far.example")
    print(f"  MAIL FROM:<{sender}>, RCPT TO:<somebody@far.example>: {code} {text.decode()}")
    return code, text


def try_to_relay() -> str:
    """A stranger tries to send to somebody elsewhere. The ID that the refusal names."""
    say(f"A stranger tries to relay through port {PORTS['mx']}")
    with smtplib.SMTP(HOST, PORTS["mx"], timeout=30) as client:
        client.ehlo("stranger.example.net")
        client.mail("stranger@example.net")
        code, text = client.rcpt("somebody@far.example")
    print(f"  {code} {text.decode()}")
    if code != 550:
        sys.exit("That should have been refused.")
    return id_in(text)


def tell_how_to_talk_to_it() -> None:
    """What to type next."""
    smtp, mx, pops = PORTS["submission"], PORTS["mx"], PORTS["pop3s"]
    say("It is running. Talk to it from another terminal:")
    print(f"""\
  swaks --server {HOST}:{smtp} -tls --auth-user {ADA} --auth-password '{PASSWORD}' --from {ADA} --to {TEAM}
  swaks --server {HOST}:{mx} --from you@example.net --to {BOB}
  curl --insecure --user '{BOB}:{PASSWORD}' pop3s://{HOST}:{pops}/1

  A mail program: POP3 {HOST} port {pops} (TLS), SMTP {HOST} port {PORTS["submissions"]} (TLS),
  user {ADA}, password "{PASSWORD}"; accept the self-signed certificate.

  .venv/bin/gatepost --config demo/gatepost.toml audit tail
  .venv/bin/gatepost --config demo/gatepost.toml queue list
  .venv/bin/gatepost --config demo/gatepost.toml policy list
  curl http://{HOST}:{PORTS["admin"]}/healthz

Ctrl-C stops it. Everything it wrote is below ./demo.""")


def gatepost(*words: str, stdin: str = "", quiet: bool = False, may_fail: bool = False) -> str:
    """What the command printed. Ends the program when it fails, unless it may."""
    if not quiet:
        print(f"  $ gatepost {shlex.join(words)}")
    command = [GATEPOST, "--config", str(DEMO / "gatepost.toml"), *words]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode and not may_fail:
        sys.exit(f"`gatepost {shlex.join(words)}` failed:\n{done.stdout}{done.stderr}")
    if not quiet and done.stdout.strip():
        print("\n".join(f"  {line}" for line in done.stdout.strip().splitlines()))
    return done.stdout


def id_in(text: bytes) -> str:
    """The event ID at the end of a reply."""
    found = re.search(rb"\(([0-9A-Z]{26})\)$", text)
    if found is None:
        sys.exit(f"No event ID in {text!r}.")
    return found[1].decode()


def any_certificate() -> ssl.SSLContext:
    """The demo's certificate is self-signed."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def say(text: str) -> None:
    """A step, set apart."""
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
