"""One table of the document against its model: the typed value, and every mistake in it as a problem."""

from __future__ import annotations

import difflib
import types
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

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
            where = (*at, *(part for part in mistake["loc"] if part != "[key]"))  # pydantic's word for a bad key
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
    """The model of the table at `loc` inside `model`. A place in a list and a name in a table of tables lead to what
    stands there."""
    inside: Any = model
    for part in loc:
        if isinstance(inside, type) and issubclass(inside, BaseModel) and not isinstance(inside, types.GenericAlias):
            field = inside.model_fields.get(str(part))
            inside = _without_none(field.annotation) if field else None
        elif get_origin(inside) in (list, dict):
            inside = _without_none(get_args(inside)[-1])
        else:
            return None
    is_model = isinstance(inside, type) and not isinstance(inside, types.GenericAlias) and issubclass(inside, BaseModel)
    return inside if is_model else None


def _without_none(annotation: Any) -> Any:
    """What `Model | None` and annotated types hold."""
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return next(each for each in get_args(annotation) if each is not type(None))
    return annotation


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation holds: `Model`, `list[Model]`, `dict[..., Model]`, `Model | None`."""
    inside = _without_none(annotation)
    if get_origin(inside) in (list, dict):
        inside = _without_none(get_args(inside)[-1])
    is_model = isinstance(inside, type) and not isinstance(inside, types.GenericAlias) and issubclass(inside, BaseModel)
    return inside if is_model else None
