"""What `gatepost init` writes, and what it says comes next. The texts of the files are in `templates`."""

from __future__ import annotations

import getpass
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from gatepost.cli.templates import CONFIGURATION, UNIT

SYSTEM_FILE = Path("/etc/gatepost/gatepost.toml")
"""Where commands look without being told."""
HIGH_PORTS = """
# Ports above 1024 need no root. Other servers deliver to port 25: forward it here, or start the server as root."""


@dataclass(frozen=True)
class Ports:
    """Where the services listen."""

    mx: int
    submission: int
    submissions: int
    pop3: int
    pop3s: int

    @classmethod
    def usual(cls) -> Ports:
        """Those of the standards; below 1024, so root binds them."""
        return cls(25, 587, 465, 110, 995)

    @classmethod
    def unprivileged(cls) -> Ports:
        """Some that any user may bind."""
        return cls(2525, 2587, 2465, 2110, 2995)


def configuration_text(hostname: str, domains: list[str], data: str, user: str, ports: Ports) -> str:
    """A gatepost.toml that works as it is and explains itself."""
    return CONFIGURATION.format(
        hostname=hostname,
        data=data,
        user_line=f'user = "{user}"' if user else '# user = "gatepost"',
        domain=domains[0],
        domain_tables="\n".join(f'[domain."{domain}"]' for domain in domains),
        high="" if user else HIGH_PORTS,
        ports=ports,
    )


def unit_text(file: Path, data: Path, user: str, is_system: bool) -> str:
    """A hardened systemd unit that runs this very installation with that configuration."""
    program = _program()
    homes = (Path("/home"), Path("/root"), Path("/run/user"))
    needs_home = any(path.is_relative_to(home) for home in homes for path in (Path(program.split()[0]), file, data))
    return UNIT.format(
        program=program,
        file=_quoted(file),
        identity=f"User={user}\nGroup={user}" if user else f"User={getpass.getuser()}",
        state="StateDirectory=gatepost\nStateDirectoryMode=0711" if is_system else f"ReadWritePaths={_quoted(data)}",
        homes="read-only" if needs_home else "yes",
    )


@dataclass(frozen=True)
class Step:
    """Something to do now. command: that does it, "" where there is none."""

    what: str
    command: str = ""


def next_steps(file: Path, unit: Path, user: str, has_user: bool, domain: str, ports: Ports) -> list[Step]:
    """What a person does now, in order. user: that the server drops to, "" where it was not started by root."""
    known = "" if file == SYSTEM_FILE else f" --config {_quoted(file)}"
    gatepost = f"{_short(_program())}{known}"
    you = f"you@{domain}"
    steps = [Step(f"Read {file}; set postmaster (to {you}, or to whoever reads such mail) and the certificate.")]
    if user and not has_user:
        steps.append(
            Step("Make the user that the server runs as:", f"useradd --system --shell /usr/sbin/nologin {user}")
        )
    steps += [
        Step("Add an account; its address is the login name too:", f"{gatepost} account add {you}"),
        Step("See that all is in order:", f"{gatepost} check config"),
        Step("Start the server, now and at each boot:", f"systemctl enable --now {_quoted(unit)}") if user
        else Step("Start the server, in a terminal of its own:", f"{gatepost} serve"),
        Step("Send a message to yourself:",
             f"printf 'Subject: hello\\n\\nIt works.\\n' | {gatepost} sendmail {you}"),
        Step(f"Read it: in a mail program by POP3 with TLS at port {ports.pop3s} of this host, or here:",
             f"curl --insecure --user {you} pop3s://127.0.0.1:{ports.pop3s}/1"),
        Step("Look at what happened to it:", f"{gatepost} audit tail"),
        Step(f"Tell the DNS: an MX record of {domain} that names this host, a PTR record of its address, and what else "
             "is missing:", f"{gatepost} check dns"),
        Step(f"Open port {ports.mx} to other servers, and {ports.submissions}, {ports.submission}, {ports.pop3s} to "
             "users."),
    ]  # fmt: skip
    return steps


def _program() -> str:
    """The command that runs this installation."""
    beside = Path(sys.executable).with_name("gatepost")
    if beside.exists():
        return _quoted(beside)
    found = shutil.which("gatepost")
    return _quoted(Path(found)) if found else f"{_quoted(Path(sys.executable))} -m gatepost"


def _short(program: str) -> str:
    """The same without its folder where the shell finds it so."""
    found = shutil.which("gatepost")
    return "gatepost" if found and Path(found).resolve() == Path(program.strip('"')).resolve() else program


def _quoted(path: Path) -> str:
    """`path` as one word for systemd and the shell."""
    text = str(path)
    return text if all(character.isalnum() or character in "/._-+:@" for character in text) else f'"{text}"'
