"""`gatepost backup` and `gatepost restore`: thin calls of `app`, with their progress and what they leave to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatepost.cli import output
from gatepost.cli.options import AsJson, ConfigFile, given, single

if TYPE_CHECKING:
    from gatepost.store.backup import Report

backup_app = single()
restore_app = single()
apps = {"backup": backup_app, "restore": restore_app}

STEP = 500  # files between two signs of life


@backup_app.command()
def backup(
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="A folder that is not there yet.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Save the data folder and the configuration, while the server runs or not."""
    from gatepost.app.keeping import save
    from gatepost.config.locate import find_config

    report = save(find_config(given.config), dest, _progress())
    _tell(report, f"{report.path}: {_extent(report)} are saved.", "is needed too, and is not in it; save it yourself")


@restore_app.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help='What "gatepost backup" made.')],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup back, into a data folder that is empty or not there. The configuration that was saved with it is
    put where there is none."""
    from gatepost.app.keeping import put_back

    file = _configuration_file()
    report = put_back(source, file, _progress())
    _tell(report, f"{report.path}: {_extent(report)} are back. \"gatepost --config {file} check config\" looks at the "
          "rest.", "was needed then, and was not saved; see that it is there")  # fmt: skip


def _configuration_file() -> Path:
    """The one that is there, or where it will be."""
    from gatepost.config.locate import FILE_NAME, SYSTEM_FILE, find_config
    from gatepost.config.problem import ConfigError

    try:
        return find_config(given.config)
    except ConfigError:
        return SYSTEM_FILE if os.geteuid() == 0 else Path(FILE_NAME)


def _progress() -> Callable[[int, int], None]:
    """Tells a person at a terminal how far it is."""
    from gatepost.mail.units import show_size

    def tell(files: int, octets: int) -> None:
        if files % STEP == 0:
            print(f"\r{files} files, {show_size(octets)} ", end="", file=sys.stderr, flush=True)

    return tell if sys.stderr.isatty() else lambda files, octets: None


def _extent(report: Report) -> str:
    from gatepost.mail.units import show_size

    return f"{report.files} files, {show_size(report.octets)},"


def _tell(report: Report, text: str, advice: str) -> None:
    for path in report.elsewhere:
        output.note(f"{path} {advice}")
    output.done(text, path=str(report.path), files=report.files, octets=report.octets,
                elsewhere=[str(path) for path in report.elsewhere])  # fmt: skip
