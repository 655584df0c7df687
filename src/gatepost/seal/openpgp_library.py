"""The OpenPGP library, which is an extra: loaded when it is needed, its errors made ours."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OpenPgpError(Exception):
    """It could not be done; the message is the library's first line. is_missing: the library is not installed."""

    is_missing = False


def library() -> Any:
    """pysequoia, with `packet` in it. Raises OpenPgpError where it is not installed."""
    try:
        module: Any = import_module("pysequoia")
        module.packet = import_module("pysequoia.packet")
    except ImportError:
        error = OpenPgpError('OpenPGP needs a library that is missing; install it with "pip install gatepost[openpgp]"')
        error.is_missing = True
        raise error from None
    return module


def call(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What it returns. Raises OpenPgpError for whatever the library raises, a panic of Rust included."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of keys that hold secrets, which we look for
            return function(*arguments, **named)
    except (KeyboardInterrupt, SystemExit, OpenPgpError):
        raise
    except BaseException as error:  # a panic is no Exception
        text = str(error).partition("\n")[0][:200] or type(error).__name__
        raise OpenPgpError(text) from None
