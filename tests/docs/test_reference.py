"""The reference has an entry for everything that there is, and for nothing else, and its defaults are the true ones."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from tests.docs.configurations import loaded
from tests.docs.manual import DOCS, blocks, codes, rows, sections, text_of

from gatepost.config.listen import SERVICES, UNBUILT_SERVICES
from gatepost.config.model import Config
from gatepost.config.policy import LATER
from gatepost.config.schema import ARRAYS, NAMED, TABLES, UNBUILT, Table, Top
from gatepost.config.tables import _model_in
from gatepost.policy.check import CheckSettings
from gatepost.policy.registry import CHECKS

# --- configuration -------------------------------------------------------------------------------------------------

CONFIGURATION = sections(text_of("reference/configuration.md"))
TOP = "The top of the file"
KEYED = re.compile(r"`([a-z0-9_.]+)`")
NO_DEFAULT = {"required", "none", "one per core", "the check's"}


def documented(heading: str) -> dict[str, list[str]]:
    """The keys of a section's first table: key, type, default, meaning."""
    return {codes(row[0])[0]: row for row in rows(CONFIGURATION[heading]) if len(row) == 4 and codes(row[0])}


def keys_of(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Dotted; a list of tables has a section of its own."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is None:
            found.add(prefix + name)
        elif isinstance(field.annotation, type) and issubclass(inner, field.annotation):
            found |= keys_of(inner, f"{prefix}{name}.")
    return found


def sections_of_the_schema() -> dict[str, type[Table]]:
    found: dict[str, type[Table]] = {TOP: Top}
    found |= {f"`[[{name}]]`": model for name, model in ARRAYS.items()}
    found |= {f'`[{name}."NAME"]`': model for name, model in NAMED.items()}
    for name, model in TABLES.items():
        found[f"`[{name}]`"] = model
        for key, field in model.model_fields.items():
            inner = _model_in(field.annotation)
            if inner is not None and field.annotation is not inner:
                assert issubclass(inner, Table)
                found[f"`[[{name}.{key}]]`"] = inner
    return found


SCHEMA = sections_of_the_schema()


def test_every_table_has_its_section_and_no_section_is_about_a_table_that_does_not_exist() -> None:
    written = {heading for heading in CONFIGURATION if heading.startswith("`[") or heading == TOP}
    assert written == {*SCHEMA, '`[policy."CHECK"]`'}


@pytest.mark.parametrize("heading", SCHEMA)
def test_every_key_has_its_row_and_no_row_is_about_a_key_that_does_not_exist(heading: str) -> None:
    assert set(documented(heading)) == keys_of(SCHEMA[heading])


def test_the_settings_that_all_checks_have_are_documented() -> None:
    assert set(documented('`[policy."CHECK"]`')) == set(CheckSettings.__struct_fields__)
    fixed = {check.name for check in CHECKS if not check.optional}
    last = CONFIGURATION['`[policy."CHECK"]`'].strip().splitlines()[-1]
    assert set(codes(last)) == fixed


def test_every_service_is_documented() -> None:
    assert {codes(row[0])[0] for row in rows(CONFIGURATION["`[[listen]]`"]) if len(row) == 3} == set(SERVICES)


@pytest.mark.parametrize("heading", SCHEMA)
def test_every_key_is_shown_in_an_example_of_its_section(heading: str) -> None:
    shown: set[str] = set()
    name = heading.strip("`[]").partition(".")[0] if heading != TOP else ""
    for block in blocks(DOCS / "reference/configuration.md", "toml"):
        if block.text in CONFIGURATION[heading].replace("\n #", "\n#"):
            document = tomllib.loads(block.text)
            shown |= _keys(document if heading == TOP else _table(document, heading, name))
    assert keys_of(SCHEMA[heading]) <= shown


def _table(document: dict[str, Any], heading: str, name: str) -> Any:
    table = document.get(name, {})
    if '."NAME"' in heading:
        return list(table.values())
    return table[heading.strip("`[]").partition(".")[2]] if heading.startswith("`[[") and "." in heading else table


def _keys(value: Any, prefix: str = "") -> set[str]:
    if isinstance(value, list):
        return {key for item in value for key in _keys(item, prefix)}
    if not isinstance(value, dict):
        return set()
    found = {prefix + key for key in value}
    for key, inner in value.items():
        found |= _keys(inner, f"{prefix}{key}.") if isinstance(inner, dict) else set()
    return found


def test_a_default_that_is_written_out_changes_nothing(tmp_path: Path) -> None:
    """Whoever copies a default from the manual gets what they had."""
    base = loaded("", tmp_path)
    checked = 0
    for heading, model in SCHEMA.items():
        for key, row in documented(heading).items():
            if row[2] in NO_DEFAULT:
                continue
            (literal,) = codes(row[2])
            with_it = loaded(_setting(heading, key, literal), tmp_path)
            alike = _comparable(with_it) == _comparable(loaded(_setting(heading, "", ""), tmp_path))
            assert alike, f"{heading} {key} = {literal} is not the default of {model.__name__}"
            checked += 1
    assert checked > 20
    assert _comparable(base)["hostname"] == "mx.example.org"


def _setting(heading: str, key: str, literal: str) -> str:
    """A configuration that sets `key` (none: its table without it)."""
    assignment = f"{key} = {literal}\n" if key else ""
    if heading == TOP:
        return assignment
    header = heading.strip("`")
    if header == "[[listen]]":
        return f'{header}\naddress = "127.0.0.1:0"\nservice = "mx"\n{assignment}'
    if header.startswith("[route"):
        return f'{header.replace("NAME", "partner.example")}\nto = "smtp://192.0.2.10"\n{assignment}'
    return f"{header.replace('NAME', 'example.org')}\n{assignment}"


def _comparable(config: Config) -> dict[str, Any]:
    plain: dict[str, Any] = {
        name: getattr(config, name) for name in Config.__struct_fields__ if name not in ("file", "warnings")
    }
    # A check with a table that says its defaults is a check without one.
    plain["policy"] = {
        check.name: config.policy.get(check.name, check.settings)
        for check in CHECKS
        if config.policy.get(check.name, check.settings) != check.settings
    }
    for name in ("trusted", "relay_networks"):
        networks = getattr(config, name)
        plain[name] = [getattr(networks, slot) for slot in type(networks).__slots__]
    return plain


def test_defaults_that_no_value_can_say_are_those_of_keys_without_one() -> None:
    for heading, model in SCHEMA.items():
        for key, row in documented(heading).items():
            field = model.model_fields[key] if "." not in key else None
            assert (row[2] == "required") == bool(field and field.is_required()), f"{heading} {key}"


def test_what_this_version_refuses_is_named() -> None:
    text = CONFIGURATION["Not in this version"]
    named = set(codes(text))
    assert {".".join(path) for path in UNBUILT} <= named
    assert set(UNBUILT_SERVICES) <= named
    for path in named - set(UNBUILT_SERVICES):
        if re.fullmatch(r"[a-z_.]+", path) and path not in ("http", "relay_to"):
            assert tuple(path.split(".")) in UNBUILT, f"{path} is there"


# --- checks --------------------------------------------------------------------------------------------------------


def test_the_index_of_checks_lists_each_in_its_order_and_those_that_are_yet_to_come() -> None:
    text = text_of("reference/checks/index.md")
    assert re.findall(r"^\| \[`([a-z.]+)`\]\(\1\.md\)", text, re.M) == [check.name for check in CHECKS]
    later = sections(text)["Not in this version"]
    assert set(codes(later)) - {"check config"} == set(LATER)
