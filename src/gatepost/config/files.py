"""Files that the configuration names, and secrets in them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Final

import msgspec
from pydantic import PlainValidator, ValidationInfo

from gatepost.config.problem import Wrong, show
from gatepost.config.texts import read_text

MAX_SECRET_OCTETS: Final = 65536
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Secret(msgspec.Struct, frozen=True):
    """A secret, and the file that holds it (None: the environment does)."""

    text: str
    file: Path | None = None

    def __repr__(self) -> str:
        return f"Secret({str(self.file)!r})"


def file_in(folder: Path, value: object) -> Path:
    """The path that `value` names, normal and absolute; a relative one starts at `folder`."""
    text = read_text(value, 'write a path, as in "/etc/gatepost/key.pem"; a relative one starts at this file\'s folder')
    return Path(os.path.normpath(folder / text))


def own_file(info: ValidationInfo) -> Path:
    """The configuration file, which is the context of every validation."""
    assert isinstance(info.context, Path)
    return info.context


def read_file_name(value: object, info: ValidationInfo) -> Path:
    return file_in(own_file(info).parent, value)


def read_secret(value: object, info: ValidationInfo) -> Secret:
    """A secret that stands here, in a file or in a variable. It is never part of an error."""
    allowed = 'write { file = "NAME" }, { env = "VARIABLE" }, or the text itself'
    match value:
        case str():
            return Secret(_one_line(value, "the text", allowed), own_file(info))
        case {"env": name, **rest} if not rest:
            return _from_environment(read_text(name, allowed), allowed)
        case {"file": name, **rest} if not rest:
            file = file_in(own_file(info).parent, name)
            advice = "write the secret into it as one line of text, readable for the server's user only"
            octets = read_file(file, advice)
            return Secret(_one_line(octets.decode("utf-8", "surrogateescape"), str(file), advice), file)
    raise Wrong("this is not how a secret is given", allowed)


def _from_environment(name: str, allowed: str) -> Secret:
    if not _VARIABLE.fullmatch(name):
        raise Wrong(f"{show(name)} is not the name of a variable", 'write { env = "SMARTHOST_PASSWORD" }, for example')
    if name not in os.environ:
        raise Wrong(f"the environment has no variable {name}", "set it for the service, or use { file = ... }")
    return Secret(_one_line(os.environ[name], f"the variable {name}", allowed))


def _one_line(text: str, where: str, allowed: str) -> str:
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise Wrong(f"{where} is empty", allowed)
    if not text.isprintable():
        raise Wrong(f"{where} holds more than one line, or is not UTF-8 text", allowed)
    return text


def read_file(file: Path, advice: str, most: int = MAX_SECRET_OCTETS) -> bytes:
    """What `file` holds, up to `most` octets. Raises Wrong; its advice is `advice` unless the rights are the cause."""
    try:
        with file.open("rb") as opened:
            octets = opened.read(most + 1)
    except PermissionError:
        raise Wrong(
            f"{file} may not be read by this user", "run this as root, or give this user the right to read it"
        ) from None
    except FileNotFoundError:
        raise Wrong(f"{file} does not exist", advice) from None
    except IsADirectoryError:
        raise Wrong(f"{file} is a folder", advice) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Wrong(f"{file} cannot be read ({reason})", advice) from None
    if len(octets) > most:
        raise Wrong(f"{file} is larger than {most} octets", advice)
    return octets


FileName = Annotated[Path, PlainValidator(read_file_name)]
