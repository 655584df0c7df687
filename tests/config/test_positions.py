"""Every key of a document has its line: compared with what tomllib finds in the same document."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.config.positions import positions
from gatepost.config.problem import Location

ODD = '''\
a = 1
"b c".'d' = """
two " lines ""
""" # a [comment]
e = [ 1, # one
  "]", [
    2 ],
  { f = "}", g.h = 1979-05-27 07:32:00 } ,
]

[t."x.y"]   # header
k = 'C:\\'
[[r]]
n = 1
[[r.s]]
[[r.s]]
m = \'\'\'a'b\'\'\'
[r.u]
v = +inf
[[r]]
n = 2
[r.u]
w = ""
[t]
z = "\\"#"
'''


def test_each_key_has_the_line_it_is_written_on() -> None:
    found = positions(ODD)
    expected: dict[Location, int] = {
        ("a",): 1, ("b c", "d"): 2, ("e",): 5, ("e", 0): 5, ("e", 1): 6, ("e", 2): 6, ("e", 2, 0): 7, ("e", 3): 8,
        ("e", 3, "f"): 8, ("e", 3, "g", "h"): 8, ("t", "x.y"): 11, ("t", "x.y", "k"): 12,
        ("r", 0): 13, ("r", 0, "n"): 14,
        ("r", 0, "s", 0): 15, ("r", 0, "s", 1): 16, ("r", 0, "s", 1, "m"): 17, ("r", 0, "u"): 18,
        ("r", 0, "u", "v"): 19,
        ("r", 1): 20, ("r", 1, "n"): 21, ("r", 1, "u", "w"): 23, ("t",): 24, ("t", "z"): 25,
    }  # fmt: skip
    assert {path: found[path] for path in expected} == expected
    assert set(found) == set(paths_of(tomllib.loads(ODD)))


def paths_of(value: Any, at: Location = ()) -> Iterator[Location]:
    if at:
        yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths_of(inner, (*at, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from paths_of(inner, (*at, place))


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)
blanks = st.sampled_from(["", " ", "\t"])
gaps = st.sampled_from(["", " ", "\n", "# ]}\n", "\n\n\t"])


def escaped(text: str) -> str:
    return "".join(f"\\U{ord(c):08X}" if c in '"\\' or ord(c) < 32 or ord(c) == 127 else c for c in text)


keys = st.from_regex(r"[A-Za-z0-9_-]{1,4}", fullmatch=True) | texts.map(lambda text: f'"{escaped(text)}"')
scalars = st.one_of(
    st.sampled_from(["0x1F", "-1_0", "1e3", "nan", "true", "1979-05-27", "07:32:00", "1979-05-27 07:32:00-07:00"]),
    texts.map(lambda text: f'"{escaped(text)}"'),
    texts.map(lambda text: f'"""\n{escaped(text)}""x\n"""'),
    st.sampled_from(["''", "'a\"[b'", "'''a''\n]b'''''", '""""a"""""']),
)


@st.composite
def lists(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = [draw(gaps) + item + draw(gaps) for item in draw(st.lists(values, max_size=3))]
    return "[" + ",".join(items) + (draw(gaps) if not items else draw(st.sampled_from(["", ",", ",\n"]))) + "]"


@st.composite
def inline_tables(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    pairs = [
        f"{key}{draw(blanks)}={draw(blanks)}{draw(values)}" for key in draw(st.lists(keys, max_size=3, unique=True))
    ]
    return "{ " + " , ".join(pairs) + " }"


values = st.recursive(scalars, lambda inner: lists(inner) | inline_tables(inner), max_leaves=6)
dotted = st.lists(keys, min_size=1, max_size=3).map(" . ".join)
lines = st.one_of(
    st.tuples(dotted, blanks, values).map(lambda parts: f"{parts[0]} ={parts[1]}{parts[2]} # c"),
    dotted.map(lambda key: f"[ {key} ]"),
    dotted.map(lambda key: f"[[{key}]]"),
    st.sampled_from(["", "# = [x]"]),
)


@given(st.lists(lines, max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_every_path_that_tomllib_finds_has_a_line_and_no_other_has(parts: list[str], line_end: str) -> None:
    text = line_end.join(parts)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = positions(text)
    assert set(found) == set(paths_of(document))
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())


@pytest.mark.parametrize("text", ["[", "a", "a = [", "a = {b", '"', "= =", "[[x", "a = ]", "a = [}]"])
def test_what_is_not_toml_ends_all_the_same(text: str) -> None:
    positions(text)
