"""The files that `gatepost init` writes, and what it says comes next."""

from __future__ import annotations

import getpass
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

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
    user_line = f'user = "{user}"' if user else '# user = "gatepost"'
    domain_tables = "\n".join(f'[domain."{domain}"]' for domain in domains)
    high = "" if user else HIGH_PORTS
    return f"""\
# Gatepost's whole configuration. "gatepost check config" tells what is wrong with it, "gatepost reload" puts a change
# to work. Durations are "30s" "5m" "2h" "7d", sizes "50MB" or "50MiB"; relative paths start at this file's folder.

# The name of this host in the DNS: its address should resolve to it, and it to its address.
hostname = "{hostname}"
# Mail, accounts, queue and record: what has to survive, and what a backup holds.
data = "{data}"
# Started by root, the server drops to this user after it has bound its ports.
{user_line}
# Never banned, and believed where a listener takes PROXY or XCLIENT. No right to relay comes with it.
trusted = ["127.0.0.0/8", "::1"]
# Who gets the mail for postmaster, abuse, hostmaster and root of every domain: an account here, or any other address.
# postmaster = "you@{domains[0]}"
{high}
[[listen]]                          # mail from other servers
address = "0.0.0.0:{ports.mx}"
service = "mx"
[[listen]]
address = "[::]:{ports.mx}"
service = "mx"

[[listen]]                          # mail from your users, who log in; TLS from the start
address = "0.0.0.0:{ports.submissions}"
service = "submissions"
[[listen]]
address = "[::]:{ports.submissions}"
service = "submissions"

[[listen]]                          # the same, with STARTTLS
address = "0.0.0.0:{ports.submission}"
service = "submission"
[[listen]]
address = "[::]:{ports.submission}"
service = "submission"

[[listen]]                          # your users fetch their mail; TLS from the start
address = "0.0.0.0:{ports.pop3s}"
service = "pop3s"
[[listen]]
address = "[::]:{ports.pop3s}"
service = "pop3s"

# A certificate for {hostname}. Without one the server makes a self-signed one, which mail programs complain about.
# It is read again when it changes.
# [tls]
# certificate = "fullchain.pem"
# key         = "key.pem"

# The domains whose mail is kept here. With relay_to = "smtp://10.0.0.5:25" it goes on to another server instead.
{domain_tables}

# Who may send to others without a login. Leave it empty unless a device cannot log in.
[relay]
networks = []
# Send everything through another server:
# smarthost = "smtps://USER@smart.example:465"
# smarthost_password = {{ file = "smarthost.secret" }}

[limits]                            # the defaults
message_size = "50MiB"
recipients   = 100                  # of a message; users may have 1000
connections  = {{ total = 20000, per_address = 50 }}
"""


def unit_text(file: Path, data: Path, user: str, is_system: bool) -> str:
    """A hardened systemd unit that runs this very installation with that configuration."""
    program = _program()
    homes = (Path("/home"), Path("/root"), Path("/run/user"))
    needs_home = any(path.is_relative_to(home) for home in homes for path in (Path(program.split()[0]), file, data))
    identity = f"User={user}\nGroup={user}" if user else f"User={getpass.getuser()}"
    state = "StateDirectory=gatepost\nStateDirectoryMode=0711" if is_system else f"ReadWritePaths={_quoted(data)}"
    return f"""\
[Unit]
Description=Gatepost mail server
After=network-online.target nss-lookup.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} --config {_quoted(file)} serve
ExecReload={program} --config {_quoted(file)} reload
# The first start may look through a large spool; the server ends its sessions within 60 seconds.
TimeoutStartSec=360
TimeoutStopSec=90
KillMode=mixed
WatchdogSec=60
Restart=on-failure
RestartSec=2
{identity}
{state}
LimitNOFILE=65536
UMask=0077

# Ports below 1024 without root
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE

# Nothing else
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={"read-only" if needs_home else "yes"}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


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
