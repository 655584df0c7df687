"""Entries of the tables of `client.access`: networks, host names, and files that hold more of them."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import PlainValidator, ValidationInfo

from gatepost.config.files import read_file_name
from gatepost.config.hosts import read_network
from gatepost.config.problem import Wrong, show
from gatepost.config.texts import read_text
from gatepost.policy.access_table import FILE, host_name

_ADVICE: Final = "put the table there, one network or host name on each line, or correct the path"


def read_access(value: object, info: ValidationInfo) -> str:
    """The entry in its normal form; a file's path is absolute. The file's own lines are read when the server starts."""
    allowed = 'write a network or address, a host name, as in "mail.example.net" or ".example.net", or "file:PATH"'
    text = read_text(value, allowed).strip()
    if text.startswith(FILE):
        path = read_file_name(text.removeprefix(FILE), info)
        try:
            with path.open("rb") as opened:
                opened.read(1)
        except PermissionError:
            raise Wrong(f"{path} may not be read by this user", "give the server's user the right to read it") from None
        except OSError as error:
            raise Wrong(f"{path} cannot be read ({error.strerror or error})", _ADVICE) from None
        return f"{FILE}{path}"
    if "/" in text or ":" in text or text.rpartition(".")[2].isdigit():
        return read_network(text)
    try:
        return host_name(text)
    except ValueError:
        raise Wrong(f"{show(value)} is neither a network nor a host name", allowed) from None


AccessText = Annotated[str, PlainValidator(read_access)]
