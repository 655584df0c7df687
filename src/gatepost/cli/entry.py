"""The entry point: finds the noun, loads its module and no other, and turns every error into a text and a code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from importlib import import_module
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from gatepost import __version__
from gatepost.cli import options
from gatepost.cli.errors import report
from gatepost.cli.options import AsJson, ConfigFile

NOUNS: Final = {
    "init": "init",
    "check": "check",
    "serve": "serve",
    "reload": "serve",
    "backup": "backup",
    "restore": "backup",
    "account": "account",
    "alias": "alias",
    "list": "mailing_list",
    "queue": "queue",
    "quarantine": "quarantine",
    "grant": "grant",
    "ban": "ban",
    "audit": "audit",
    "policy": "policy",
    "dns": "dns",
    "key": "key",
    "seal": "seal",
    "open": "open",
    "sendmail": "sendmail",
    "bench": "bench",
}
"""The module of each noun, in the order of the help."""
CALLED_AS: Final = {
    "sendmail": ("sendmail",),
    "mailq": ("queue", "list"),
    "newaliases": ("sendmail", "-bi"),
}
"""What a link of that name to this program means: its old names."""


class _Commands(MutableMapping[str, Any]):
    """The commands by noun; a module is loaded when its command is asked for."""

    def __getitem__(self, name: str) -> Any:
        module = import_module(f"gatepost.cli.{NOUNS[name]}")
        command = typer.main.get_command(module.apps[name] if hasattr(module, "apps") else module.app)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(NOUNS)

    def __len__(self) -> int:
        return len(NOUNS)

    def __setitem__(self, name: str, command: Any) -> None:
        raise TypeError("commands are listed in NOUNS")

    def __delitem__(self, name: str) -> None:
        raise TypeError("commands are listed in NOUNS")


class _Lazy(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(NOUNS)


app = typer.Typer(
    cls=_Lazy,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"gatepost {__version__}")
        raise typer.Exit


@app.callback()
def gatepost(
    config: ConfigFile = None,
    as_json: AsJson = False,
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version, and nothing else."
    ),
) -> None:
    """Gatepost, a mail server that guards its gate. "gatepost COMMAND --help" tells more about each."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command. Exit codes: 0 done, 1 refused or failed, 2 wrong usage; `sendmail` has those of sysexits.h."""
    options.forget()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        words = [*CALLED_AS.get(os.path.basename(sys.argv[0]), ()), *words]
    try:
        words = _sendmail_first(words)
        app(args=words, prog_name="gatepost")
    except Exception as error:
        sys.exit(report(error))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        _flush()
    sys.exit(0)


def _sendmail_first(words: list[str]) -> list[str]:
    """`sendmail` reads its own words and ends here, unless it is asked for help or for the queue."""
    place = next((place for place, word in enumerate(words) if word in NOUNS), None)
    if place is None or words[place] != "sendmail" or "--help" in words[place:]:
        return words
    from gatepost.cli import sendmail

    rest = [*words[:place], *words[place + 1 :]]  # --config may stand before the noun
    queue = sendmail.queue_command(rest)
    if queue is None:
        sys.exit(sendmail.run(rest))
    return queue


def _flush() -> None:
    """What a closed pipe makes of the last line is no error of ours ("gatepost queue list | head")."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
