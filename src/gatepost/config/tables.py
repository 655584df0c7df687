"""One table of the document against its model: the typed value, and every mistake in it as a problem."""

from __future__ import annotations

import difflib
import types
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gatepost.config.problem import Location, Problems, Wrong, show
from gatepost.config.schema import ARRAYS, NAMED, POLICY, TABLES, Top

T = TypeVar("T", bound=BaseModel)
TOP_LEVEL: Final = (*Top.model_fields, *ARRAYS, *TABLES, *NAMED, POLICY)


def read_table(model: type[T], value: object, at: Location, problems: Problems) -> T | None:
    """`value` as `model`, None when it has a mistake. at: where the table stands."""
    try:
        return model.model_validate(value, context=problems.file)
    except ValidationError as error:
        for mistake in error.errors(include_url=False):
            where = (*at, *mistake["loc"])
            problems.wrong(where, _explained(model, mistake, at))
        return None


def _explained(model: type[BaseModel], mistake: ErrorDetails, at: Location) -> Wrong:
    """What pydantic found, in our words."""
    kind, found = mistake["type"], mistake.get("input")
    cause = mistake.get("ctx", {}).get("error")
    if isinstance(cause, Wrong):
        return cause
    if kind == "extra_forbidden":
        inner = _model_at(model, mistake["loc"][:-1])
        return unknown_key(str(mistake["loc"][-1]), inner.model_fields if inner else (), (*at, *mistake["loc"][:-1]))
    if kind == "missing":
        return Wrong("this setting is missing", _ADVICE_FOR_MISSING.get(str(mistake["loc"][-1]), "add it"))
    if kind == "list_type":
        return Wrong(
            f"{show(found)} is not a list",
            f"write it in brackets: [{show(found)}]" if _is_plain(found) else "write a list in brackets",
        )
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return Wrong(f"{show(found)} is not a table", "write a table: its keys below a header in brackets, or in { }")
    return Wrong(f"{show(found)} cannot be used here ({mistake['msg']})", "see the manual's page on this setting")


_ADVICE_FOR_MISSING: Final[Mapping[str, str]] = {
    "hostname": 'write the full name of this host at the top of the file, as in hostname = "mx.example.org"',
    "address": 'add where to listen, as in address = "0.0.0.0:25"',
    "service": 'add what is spoken there, as in service = "mx"',
    "certificate": "add the file that holds the certificate and its chain",
    "key": "add the file that holds the certificate's private key",
    "to": 'add the next hop, as in to = "smtp://192.0.2.10:25"',
}


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)


def unknown_key(key: str, known: Collection[str], at: Location) -> Wrong:
    """A key that no table has there: the nearest valid name, the table that it belongs to, or what is valid here."""
    close = difflib.get_close_matches(key.lower().replace("-", "_"), known, 1)
    if close:
        return Wrong("there is no such setting", f"did you mean {close[0]}?")
    if at and key in Top.model_fields:
        return Wrong(
            "there is no such setting in this table", f"move {key} to the top of the file, before the first table"
        )
    homes = [table for table, model in TABLES.items() if key in model.model_fields and (table,) != at[:1]]
    if homes:
        return Wrong("there is no such setting here", f"{key} belongs below [{homes[0]}]")
    return Wrong("there is no such setting", f"write one of {', '.join(known)}" if known else "remove it")


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model of the table at `loc` inside `model`."""
    for part in loc:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return None
        model = inner
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as `list[Model]` or `Model | None` holds."""
    if (
        isinstance(annotation, type)
        and not isinstance(annotation, types.GenericAlias)
        and issubclass(annotation, BaseModel)
    ):
        return annotation
    if get_origin(annotation) in (list, tuple, Union, types.UnionType):
        return next((inner for argument in get_args(annotation) if (inner := _model_in(argument))), None)
    return None
