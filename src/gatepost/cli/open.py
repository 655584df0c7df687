"""`gatepost open`: a sealed message on standard input, its text on standard output, the verdict on standard error."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from gatepost.cli import output
from gatepost.cli.errors import FAILED
from gatepost.cli.options import AsJson, given, single
from gatepost.cli.sealing_keys import KeyFiles, PassphraseFile, PrivateFiles

app = single()

# A few octets can be compressed into a text that fills the machine; the process ends before that, and shows nothing.
MEMORY_OCTETS: Final = 4 * 1024**3
MEMORY_PER_OCTET: Final = 40


@app.command(name="open")
def open_command(
    key: KeyFiles = None,
    private: PrivateFiles = None,
    passphrase_file: PassphraseFile = None,
    authority: Annotated[
        list[Path] | None,
        typer.Option("--authority", metavar="FILE", help="A certificate authority of S/MIME that you trust."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decrypt and verify the message on standard input. Prints nothing of it when anything is in doubt, and exits 1."""
    from gatepost.cli import sealing_keys
    from gatepost.seal.opening import open_

    message = sys.stdin.buffer.read()
    _bound_memory(len(message))
    secrets = sealing_keys.secrets(private, passphrase_file)
    known = sealing_keys.known_keys(key, authority)
    opened = open_(message, secrets, known, sealing_keys.now())
    if given.as_json:
        text = None if opened.text is None else opened.text.decode("utf-8", "surrogateescape")
        shown = None if text is None else text.encode("utf-8", "replace").decode()
        output.thing({"text": shown, "verdict": opened.verdict, "words": opened.verdict.words()})
    else:
        print(output.printable(opened.verdict.words(), lines=True), file=sys.stderr)
        if opened.text is not None:
            sys.stdout.buffer.write(opened.text)
    if opened.text is None:
        raise typer.Exit(FAILED)


def _bound_memory(octets: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = MEMORY_OCTETS + MEMORY_PER_OCTET * octets
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
