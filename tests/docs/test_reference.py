"""The reference has an entry for everything that there is, and for nothing else, and its defaults are the true ones."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import msgspec
import pytest
import typer
from pydantic import BaseModel
from tests.docs.configurations import loaded
from tests.docs.manual import DOCS, ROOT, blocks, codes, rows, sections, text_of

from gatepost.admin.exposition import GAUGES
from gatepost.audit.event import Event, EventClient, Kind
from gatepost.audit.metrics import FAMILIES
from gatepost.cli.entry import app
from gatepost.config.listen import SERVICES, UNBUILT_SERVICES
from gatepost.config.model import Config
from gatepost.config.policy import LATER
from gatepost.config.schema import ARRAYS, NAMED, TABLES, UNBUILT, Table, Top
from gatepost.config.tables import model_in
from gatepost.gate import turns
from gatepost.intake import content as content_limits
from gatepost.mail import address as address_limits
from gatepost.mail import downgrade as downgrade_limits
from gatepost.mail import header as header_limits
from gatepost.mail import reply as reply_limits
from gatepost.policy.check import CheckSettings
from gatepost.policy.registry import CHECKS
from gatepost.policy.verdict import Evaluated
from gatepost.protocol.pop3 import lines as pop3_lines
from gatepost.protocol.pop3 import replies as pop3_replies
from gatepost.protocol.smtp import limits as smtp_limits
from gatepost.store.data_folder import DataFolder
from gatepost.store.maildir import names as maildir_names

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
        inner = model_in(field.annotation)
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
            inner = model_in(field.annotation)
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


# --- events --------------------------------------------------------------------------------------------------------

EVENTS = text_of("reference/events.md")


def _first_column(section: str) -> list[str]:
    return [codes(row[0])[0] for row in rows(section) if codes(row[0])]


def test_every_kind_of_event_is_documented_and_no_other() -> None:
    assert _first_column(sections(EVENTS)["Kinds"]) == list(get_args(Kind))


@pytest.mark.parametrize(
    ("heading", "struct"), [("Fields", Event), ("`client`", EventClient), ("`verdicts`", Evaluated)]
)
def test_every_field_of_an_event_is_documented_and_no_other(heading: str, struct: type[msgspec.Struct]) -> None:
    section = sections(EVENTS, 3).get(heading) or sections(EVENTS)[heading].partition("\n### ")[0]
    documented_fields = _first_column(section.partition("\n## ")[0])
    assert set(documented_fields) == set(struct.__struct_fields__)
    assert len(documented_fields) == len(struct.__struct_fields__)


# --- limits --------------------------------------------------------------------------------------------------------

LIMITS = sections(text_of("reference/limits.md"))


def _written(value: int | timedelta) -> str:
    return str(value) if isinstance(value, int) else f"{value // timedelta(minutes=1)} minutes"


def _limits(module: ModuleType) -> dict[str, str]:
    return {name: _written(value) for name, value in vars(module).items() if isinstance(value, int | timedelta)}


def test_every_limit_of_smtp_is_documented_with_its_value_and_no_other() -> None:
    written = {codes(row[0])[0]: row[1] for heading in ("SMTP: sizes", "SMTP: times") for row in rows(LIMITS[heading])}
    assert written == _limits(smtp_limits)


@pytest.mark.parametrize(
    ("heading", "modules"),
    [
        ("Addresses and replies", (address_limits, header_limits, content_limits, reply_limits, turns)),
        ("POP3", (downgrade_limits, pop3_lines, pop3_replies, maildir_names)),
    ],
)
def test_the_other_limits_that_are_named_have_their_value(heading: str, modules: tuple[ModuleType, ...]) -> None:
    known = {name: value for module in modules for name, value in _limits(module).items()}
    for row in rows(LIMITS[heading]):
        assert row[1] == known[codes(row[0])[0]]


# --- replies, files, standards -------------------------------------------------------------------------------------


def _replies_in(*folders: str) -> Iterator[str]:
    """ "CODE ENHANCED" of every `Reply(...)` that is written down in the source."""
    for folder in folders:
        for path in (ROOT / "src" / "gatepost" / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Reply" and len(node.args) >= 2:
                    code, esc = node.args[:2]
                    if isinstance(code, ast.Constant) and isinstance(esc, ast.Constant) and isinstance(code.value, int):
                        yield f"{code.value} {esc.value!s}".strip()


@pytest.mark.parametrize(
    ("heading", "folders"),
    [
        ("SMTP, as a server", ("intake", "gate", "policy", "protocol/sasl")),
        ("In the queue and in notices", ("delivery",)),
    ],
)
def test_every_reply_of_ours_has_its_row(heading: str, folders: tuple[str, ...]) -> None:
    section = sections(text_of("reference/replies.md"))[heading]
    listed = {code for row in rows(section) for code in codes(row[0])}
    spoken = set(_replies_in(*folders))
    assert len(spoken) > 10
    # A 250 needs no enhanced code to be understood, and has several.
    assert {reply for reply in spoken if reply not in listed and reply[:3] not in ("220", "221", "250")} == set()


def test_every_path_of_the_data_folder_is_documented() -> None:
    text = text_of("reference/files.md")
    folder = DataFolder(Path("data"))
    parts = [
        name
        for name, part in vars(DataFolder).items()
        if isinstance(part, property) and isinstance(getattr(folder, name), Path)
    ]
    assert {"accounts", "audit", "run"} <= set(parts)
    first = {path.partition("/")[0] for row in rows(text) for path in codes(row[0])}
    assert {getattr(folder, name).relative_to("data").parts[0] for name in parts} <= first


def test_every_module_that_the_standards_name_exists_and_each_row_says_how_far() -> None:
    found = 0
    for row in rows(text_of("reference/standards.md")):
        what, status, remark, modules = row
        assert status in ("yes", "partial", "no"), what
        assert bool(codes(modules)) == (status != "no"), f"{what}: a module is named where something is done"
        assert remark or status == "yes", f"{what}: what is missing is not said"
        for module in codes(modules):
            assert (ROOT / "src" / "gatepost" / module).is_file(), f"{what}: {module} does not exist"
            found += 1
    assert found > 80


def test_every_decision_has_its_line() -> None:
    listed = re.findall(r"^- \[.+\]\((0\d+-.+\.md)\)$", text_of("adr/README.md"), re.M)
    assert listed == sorted(path.name for path in (DOCS / "adr").glob("0*.md"))


# --- commands ------------------------------------------------------------------------------------------------------


def leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by the words that call it."""
    if hasattr(command, "commands"):
        for name in command.list_commands(None):
            yield from leaves(command.commands[name], f"{path} {name}")
    else:
        yield path, command


COMMANDS = dict(leaves(typer.main.get_command(app), "gatepost"))
COMMANDS_PAGE = text_of("reference/commands.md")
COMMON = {"--config", "--json", "--help"}


def test_every_command_has_its_section_and_no_other_has() -> None:
    assert sorted(heading.strip("`") for heading in sections(COMMANDS_PAGE)) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_has_its_row_and_no_other_has(name: str) -> None:
    section = sections(COMMANDS_PAGE)[f"`{name}`"]
    written: set[str] = set()
    tables = section.split("| state | means |")[0]
    for row in rows(tables):
        first = codes(row[0])
        option = first[0].startswith("-")
        written |= {word.split(" ")[0] for word in first} if option else {first[0]}
    taken: set[str] = set()
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "argument":
            taken.add(parameter.metavar)
        elif not COMMON & set(parameter.opts):
            taken |= set(parameter.opts)
    assert written == taken


# --- metrics -------------------------------------------------------------------------------------------------------


def test_every_metric_has_its_row_with_its_labels_and_no_other_has() -> None:
    page = sections(text_of("reference/metrics.md"))["`/metrics`"]
    written = {codes(row[0])[0]: tuple(codes(row[1])) for row in rows(page)}
    known = {name: family.labels for name, family in FAMILIES.items()}
    assert written == known | {name: labels for name, (_, labels) in GAUGES.items()}
