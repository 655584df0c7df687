"""`gatepost serve` and `gatepost reload`: thin calls of the wiring, which writes what goes wrong itself."""

from __future__ import annotations

import typer

from gatepost.cli.options import ConfigFile, given, single

apps = {"serve": single(), "reload": single()}


@apps["serve"].command()
def serve(config: ConfigFile = None) -> None:
    """Serve until SIGTERM or Ctrl-C, which let running sessions end; the log goes to standard error."""
    from gatepost.app import processes
    from gatepost.config.locate import find_config

    raise typer.Exit(processes.serve(find_config(given.config)))


@apps["reload"].command()
def reload(config: ConfigFile = None) -> None:
    """Give the running server what its configuration says now. No connection is cut; a bad one changes nothing."""
    from gatepost.app import processes
    from gatepost.config.locate import find_config

    raise typer.Exit(processes.reload(find_config(given.config)))
