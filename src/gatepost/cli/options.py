"""Options that all commands have, before the verb or behind it, and what was given in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer


@dataclass
class Given:
    """What stands on the command line beside the verb's own words. entry.main makes it anew for each run."""

    config: Path | None = None
    as_json: bool = False


given = Given()


def forget() -> None:
    """Nothing is given yet."""
    given.config, given.as_json = None, False


def _remember_config(value: Path | None) -> Path | None:
    if value is not None:
        given.config = value
    return value


def _remember_json(value: bool) -> bool:
    given.as_json = given.as_json or value
    return value


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", show_default=False, callback=_remember_config,
        help="The configuration; else $GATEPOST_CONFIG, ./gatepost.toml, /etc/gatepost/gatepost.toml.",
    ),
]  # fmt: skip
AsJson = Annotated[
    bool, typer.Option("--json", show_default=False, callback=_remember_json, help="Print JSON, for programs.")
]


def noun(summary: str, **more: Any) -> typer.Typer:
    """A group of verbs that takes the common options before the verb too."""
    app = typer.Typer(help=summary, no_args_is_help=True, rich_markup_mode=None, add_completion=False, **more)

    @app.callback()
    def common(config: ConfigFile = None, as_json: AsJson = False) -> None: ...

    common.__doc__ = summary
    return app


def single(**more: Any) -> typer.Typer:
    """A command without verbs."""
    return typer.Typer(rich_markup_mode=None, add_completion=False, **more)
