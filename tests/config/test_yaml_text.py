"""YAML as people expect it."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tmrl_ray.config.yaml_text import dump_yaml, parse_yaml
from tmrl_ray.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("300_000", 300_000),
        ("010", 10),
        ("-7", -7),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-02", "2024-01-02"),
        ("'1e-4'", "1e-4"),
        ('"null"', "null"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
        ("0x10", "0x10"),
        ("-.inf", -math.inf),
        ("[1, [2, a]]", [1, [2, "a"]]),
        ("{1: x, true: y}", {"1": "x", "true": "y"}),
    ],
)
def test_scalars_are_what_they_look_like(text: str, value: object) -> None:
    parsed = parse_yaml(text, "test").value
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "test:3: key 'a' is given twice, first in line 1"),
        ("top:\n  x: 1\n  x: 2", "test:3: key 'x' is given twice, first in line 2"),
        ("a: &anchor 1\nb: *anchor", "test:1: anchors and aliases are not supported"),
        ("a: !!python/object:os.system x", "test:1: tag 'tag:yaml.org,2002:python/object:os.system' is not supported"),
        ("[a]: 1", "test:1: a key must be a word"),
        ("a: [1, 2", "test:1: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\n---\nb: 2", "test:2: but found another document"),
    ],
)
def test_bad_text_names_the_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "test")
    assert str(caught.value) == message


def test_every_value_has_its_line() -> None:
    lines = parse_yaml("a:\n  b: 1\n\n  c:\n    - x\n    - y\n", "test").lines
    assert lines == {(): 1, ("a",): 1, ("a", "b"): 2, ("a", "c"): 4, ("a", "c", 0): 5, ("a", "c", 1): 6}


_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=7,
)


@given(_values)
@example("\x85")
@example("a\r\u2028b")
@example("1e-4")
def test_what_is_written_is_read_back(value: object) -> None:
    assert parse_yaml(dump_yaml(value), "test").value == value
