"""The configuration file: read, check, freeze; what a setting means lives with the part that declares it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatepost.config.model import Config
    from gatepost.config.problem import ConfigError
    from gatepost.config.read import load

__all__ = ["Config", "ConfigError", "load"]
_HOMES = {"Config": "model", "ConfigError": "problem", "load": "read"}


def __getattr__(name: str) -> Any:
    """What others need, loaded when it is asked for: `locate` is for programs in a hurry, and must not load it all."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
