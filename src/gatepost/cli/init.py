"""`gatepost init`: a first configuration to read and change, the data folder, and a unit for systemd."""

from __future__ import annotations

import os
import pwd
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gatepost.cli import output
from gatepost.cli.errors import USAGE, CommandError
from gatepost.cli.options import AsJson, ConfigFile, single
from gatepost.cli.texts import Ports, configuration_text, next_steps, unit_text

app = single()

SYSTEM_FOLDER = Path("/etc/gatepost")
SYSTEM_DATA = Path("/var/lib/gatepost")
SYSTEM_USER = "gatepost"


@app.command()
def init(
    hostname: Annotated[
        str, typer.Option("--hostname", metavar="HOST", help='The full name of this host, as in "mx.example.org".')
    ],
    domain: Annotated[
        list[str], typer.Option("--domain", metavar="DOMAIN", help="A domain whose mail is kept here; repeatable.")
    ],
    directory: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", show_default=False,
                     help="Where everything goes. Else, as root: /etc/gatepost and /var/lib/gatepost; as another "
                     "user: this folder."),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write a commented gatepost.toml, the data folder and a systemd unit, and say what comes next."""
    names = _checked(hostname, domain)
    is_root = os.geteuid() == 0
    is_system = is_root and directory is None
    folder = SYSTEM_FOLDER if is_system else Path(os.path.abspath(directory or Path()))
    data = SYSTEM_DATA if is_system else folder / "data"
    file, unit = folder / "gatepost.toml", folder / "gatepost.service"
    for path in (file, unit):
        if path.exists():
            raise CommandError(f"{path} exists already, and is left as it is; move it away, or choose another --dir")
    user = SYSTEM_USER if is_root else ""
    ports = Ports.usual() if is_root else Ports.unprivileged()
    folder.mkdir(parents=True, exist_ok=True)
    _make_data(data, user)
    data_text = str(data) if is_system else "data"
    _write(file, configuration_text(names[0], names[1:], data_text, user, ports))
    _write(unit, unit_text(file, data, user, is_system))
    steps = next_steps(file, unit, user, _exists(user), names[1], ports)
    output.thing(
        {"config": str(file), "data": str(data), "unit": str(unit), "next": [asdict(step) for step in steps]},
        f"Written: {file}\n         {unit}\n         {data}\n\nWhat comes next:\n"
        + "\n".join(
            f"{number}. {step.what}" + (f"\n       {step.command}" if step.command else "")
            for number, step in enumerate(steps, 1)
        ),
    )


def _checked(hostname: str, domains: list[str]) -> list[str]:
    """The host name and the domains as they are kept. Raises CommandError."""
    from gatepost.config.hosts import read_domain, read_hostname
    from gatepost.config.problem import Wrong

    try:
        return [read_hostname(hostname), *dict.fromkeys(read_domain(domain) for domain in domains)]
    except Wrong as wrong:
        raise CommandError(str(wrong), USAGE) from None


def _make_data(data: Path, user: str) -> None:
    """The folder, so that it belongs to the right user. What is in it is made by the server."""
    data.mkdir(mode=0o711, parents=True, exist_ok=True)
    if _exists(user) and not any(data.iterdir()):
        entry = pwd.getpwnam(user)
        os.chown(data, entry.pw_uid, entry.pw_gid)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _write(file: Path, text: str) -> None:
    """Never over something that is there. Everybody may read it: secrets have files of their own."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
