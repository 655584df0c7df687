"""`gatepost serve` and `gatepost reload`: thin calls of `app`."""

from __future__ import annotations

import typer

from gatepost.cli import output
from gatepost.cli.options import AsJson, ConfigFile, given, single

serve_app = single()
reload_app = single()
apps = {"serve": serve_app, "reload": reload_app}


@serve_app.command()
def serve(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Serve until SIGTERM or Ctrl-C, which let running sessions end; the log goes to standard error."""
    from gatepost.app import processes
    from gatepost.config.locate import find_config

    raise typer.Exit(processes.serve(find_config(given.config)))


@reload_app.command()
def reload(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Give the running server what its configuration says now. No connection is cut; a bad one changes nothing."""
    from gatepost.app import processes
    from gatepost.config.locate import find_config

    file = find_config(given.config)
    code = processes.reload(file)
    if code:
        raise typer.Exit(code)
    output.done(f"The server goes by {file} now.", config=str(file))
