"""Finds the configuration file, and the little of it that a program may want which cannot read the whole.

Kept apart from `config.read`, so that commands in a hurry (`sendmail`) load little.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gatepost.config.document import read_document
from gatepost.config.files import file_in
from gatepost.config.hosts import read_hostname
from gatepost.config.problem import ConfigError, Problem, Problems, Wrong

FILE_NAME: Final = "gatepost.toml"
VARIABLE: Final = "GATEPOST_CONFIG"
SYSTEM_FILE: Final = Path("/etc/gatepost/gatepost.toml")
DATA: Final = Path("/var/lib/gatepost")
"""Where the data folder is when the configuration does not say."""


def sendmail_socket(data: Path) -> Path:
    """Where programs of this machine submit: the server serves `submission` there, and the kernel tells who calls."""
    return data / "run" / "submit.sock"


def find_config(
    explicit: Path | None = None, environment: Mapping[str, str] = os.environ, *, here: bool = True
) -> Path:
    """The file to read: `explicit` (--config), $GATEPOST_CONFIG, ./gatepost.toml, /etc/gatepost/gatepost.toml.

    What is named is taken as it is, there or not: reading it tells. here: False leaves the current folder out, for
    programs that are called wherever others happen to be. Raises ConfigError when nothing is named or found.
    """
    if explicit is not None:
        return explicit
    if environment.get(VARIABLE):
        return Path(environment[VARIABLE])
    for file in (Path(FILE_NAME), SYSTEM_FILE) if here else (SYSTEM_FILE,):
        if file.is_file():
            return file
    places = f"neither {FILE_NAME} in this folder nor {SYSTEM_FILE}" if here else f"{SYSTEM_FILE} does not exist"
    found = f"there is no configuration: {places}"
    advice = f'name one with --config or ${VARIABLE}, or write one with "gatepost init --hostname HOST --domain DOMAIN"'
    raise ConfigError((Problem(SYSTEM_FILE, 0, "", found, advice),))


def locate(file: Path) -> tuple[str, Path]:
    """(hostname, data folder) of `file`, without a look at anything else: its secrets may be closed to the caller.

    Raises ConfigError for what is wrong with these two.
    """
    file = Path(os.path.abspath(file))
    document, lines = read_document(file)
    problems = Problems(file, lines)
    hostname = ""
    try:
        if "hostname" not in document:
            raise Wrong(
                "this setting is missing", 'write the full name of this host, as in hostname = "mx.example.org"'
            )
        hostname = read_hostname(document["hostname"])
    except Wrong as wrong:
        problems.wrong(("hostname",), wrong)
    data = _data(file, document, problems)
    if problems.errors:
        raise ConfigError(tuple(problems.errors))
    return hostname, data


def locate_data(file: Path) -> Path:
    """The data folder alone, whatever else is wrong: who asks a running server hears from it what that is.

    Raises ConfigError for what is wrong with it.
    """
    file = Path(os.path.abspath(file))
    document, lines = read_document(file)
    problems = Problems(file, lines)
    data = _data(file, document, problems)
    if problems.errors:
        raise ConfigError(tuple(problems.errors))
    return data


def _data(file: Path, document: Mapping[str, Any], problems: Problems) -> Path:
    try:
        return file_in(file.parent, document.get("data", str(DATA)))
    except Wrong as wrong:
        problems.wrong(("data",), wrong)
        return DATA
