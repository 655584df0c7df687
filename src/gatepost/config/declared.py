"""Tables whose keys a part declares as a msgspec Struct: a model that reads them, and the way back to the Struct.

What each type is called in TOML follows from its annotation (`mail.units`). Not here: the tables that this package
declares itself (`config.schema`).
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from pydantic import BeforeValidator, PlainValidator, WrapValidator, create_model

from gatepost.accounts.addresses import key_of
from gatepost.config.access import AccessText
from gatepost.config.hosts import NetworkText, read_address_pattern, read_domain, read_mailbox, read_network
from gatepost.config.problem import Wrong, show
from gatepost.config.table import Table
from gatepost.config.texts import (
    MAX_COUNT,
    Count,
    DurationText,
    RateText,
    SizeText,
    Switch,
    choice,
    counted,
    read_duration,
    read_octet_rate,
    read_text,
)
from gatepost.mail.units import Quota
from gatepost.policy.checks.command_allowed import WHO

S = TypeVar("S", bound=msgspec.Struct)


def _read_who(value: object) -> str:
    """A word of `WHO`, or a network in its normal form."""
    if value in WHO:
        return str(value)
    try:
        return read_network(value)
    except Wrong:
        if isinstance(value, str) and any(sign in value for sign in ".:/"):
            raise  # it was meant as a network
        return choice(WHO)(value)  # which says what is allowed


def _read_duration_or_none(value: object) -> float:
    """Seconds, 0.0 for none."""
    return 0.0 if value == "0s" else read_duration(value)


def _read_address(value: object) -> str:
    """An address as a key."""
    return key_of(read_mailbox(value))


_UNITS: Final[Mapping[str, Any]] = {
    "duration": DurationText,
    "duration or none": Annotated[float, PlainValidator(_read_duration_or_none)],
    "size": SizeText,
    "network": NetworkText,
    "access": AccessText,
    "address": Annotated[str, PlainValidator(_read_address)],
    "domain": Annotated[str, PlainValidator(read_domain)],
    "address pattern": Annotated[str, PlainValidator(read_address_pattern)],
    "who": Annotated[str, PlainValidator(_read_who)],
    "octet rate": Annotated[Quota, PlainValidator(read_octet_rate)],
}
"""By the marks of `mail.units`."""
_STRUCTS: dict[type[Table], type[msgspec.Struct]] = {}


@cache
def model_of(settings: type[msgspec.Struct]) -> type[Table]:
    """The model of a settings value: the same keys, written as an administrator writes them.

    Raises TypeError for a type that nobody can write in TOML.
    """
    hints = get_type_hints(settings, include_extras=True)
    fields: dict[str, Any] = {name: (_typed(hint), None) for name, hint in hints.items()}
    name = f"{settings.__module__.rpartition('.')[2]}.{settings.__name__}"
    model: type[Table] = create_model(name, __base__=Table, **fields)
    _STRUCTS[model] = settings
    return model


def struct_of(table: Table, default: S) -> S:
    """`default` with what the table sets, tables inside it likewise."""
    given = {name: _value(getattr(table, name), getattr(default, name)) for name in table.model_fields_set}
    return msgspec.structs.replace(default, **given)


def _value(value: Any, default: Any) -> Any:
    match value:
        case list():
            return tuple(_value(item, None) for item in value)
        case dict():
            return {key: _value(item, None) for key, item in value.items()}
        case Table():
            return struct_of(value, default if isinstance(default, msgspec.Struct) else _STRUCTS[type(value)]())
        case _:
            return value


def _typed(hint: Any) -> Any:
    """The type that reads what `hint` declares."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(*arguments)
    if origin is Literal:
        return Annotated[str, PlainValidator(choice(arguments))]
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return list[_typed(arguments[0])]  # type: ignore[misc]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        key, inner = (_typed(argument) for argument in arguments)
        if not (isinstance(inner, type) and issubclass(inner, Table)):
            inner = Annotated[inner, BeforeValidator(_no_table)]
        return Annotated[dict[key, inner], WrapValidator(_read_mapping)]  # type: ignore[valid-type]
    if origin in (Union, types.UnionType) and type(None) in arguments:
        return _typed(next(argument for argument in arguments if argument is not type(None)))  # TOML has no null
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and hint is not Quota:
        return model_of(hint)
    plain = {bool: Switch, int: Count, Quota: RateText, str: Annotated[str, PlainValidator(_read_text)]}
    if hint not in plain:
        raise TypeError(f"{hint} has no form in the configuration; see gatepost.mail.units for those that have")
    return plain[hint]


def _annotated(hint: Any, *extras: Any) -> Any:
    for extra in extras:
        if isinstance(extra, str) and extra in _UNITS:
            return _UNITS[extra]
        if isinstance(extra, msgspec.Meta) and hint is int:
            least = 1 if extra.ge is None else int(extra.ge)
            most = MAX_COUNT if extra.le is None else int(extra.le)
            return Annotated[int, PlainValidator(counted(least, most))]
    return _typed(hint)


def _read_text(value: object) -> str:
    return read_text(value, "write a text in quotes")


def _no_table(value: object) -> object:
    """A name with dots and without quotes is a table in a table."""
    if isinstance(value, dict):
        raise Wrong(
            "a table stands where a value is meant", 'put names that have dots in quotes, as in "example.org" = ...'
        )
    return value


def _read_mapping(value: object, read: Callable[[object], dict[str, Any]]) -> dict[str, Any]:
    """A table whose keys are names. Two that mean the same would hide each other."""
    if not isinstance(value, dict):
        raise Wrong(f"{show(value)} is not a table", "write a table: name = value, below a header or in { }")
    found = read(value)
    if len(found) < len(value):
        raise Wrong("two keys of this table mean the same", "keep one of them: upper and lower case are the same")
    return found
