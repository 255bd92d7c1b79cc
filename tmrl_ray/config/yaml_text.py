"""YAML as people expect it, with the line of every value.

PyYAML reads YAML 1.1, where ``1e-4`` is a string, ``no`` is false, ``1:30`` is 90 and the second of two equal keys
silently wins. Here a scalar is null, true, false, a whole number, a float or a string, by the rules of YAML 1.2
(plus ``_`` between digits), and equal keys, anchors and tags are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from tmrl_ray.errors import ConfigError

KeyPath = tuple[str | int, ...]
"""Where a value stands: keys of mappings and indices of lists, from the top."""

_LINE_BREAKS = "\n\r\x85\u2028\u2029"
_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?[0-9][0-9_]*\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?\Z")
_SPECIAL_FLOAT = re.compile(r"([-+]?)\.(inf|Inf|INF|nan|NaN|NAN)\Z")


class _Loader(yaml.SafeLoader):
    """SafeLoader whose plain scalars all arrive as strings (``_scalar`` decides) and that knows no anchors."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not supported", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


@dataclass(frozen=True)
class Document:
    """What a YAML text says, and where."""

    value: Any
    """None, bool, int, float, str, and lists and dicts of these."""
    lines: dict[KeyPath, int] = field(default_factory=dict)
    """The line of each value, counted from 1."""


def parse_yaml(text: str, source: str) -> Document:
    """Read a YAML text.

    Args:
        text: one YAML document.
        source: what errors call it, a file's path for example.

    Raises:
        ConfigError: not YAML, or YAML that is refused here; names ``source`` and the line.
    """
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
        document = Document(None)
        value = None if root is None else _convert(root, (), document.lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(f"{where}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {error}") from error
    return Document(value, document.lines)


def dump_yaml(value: Any) -> str:
    """Return ``value`` as YAML that :func:`parse_yaml` reads back to an equal value."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes every string which our reader, or a YAML 1.1 reader, would take for something else."""


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(_scalar(text), str) else "'"
    if any(character in text for character in _LINE_BREAKS):
        style = '"'  # the only style that escapes them; any other folds them into spaces
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    plain = not any(isinstance(item, list | dict) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=plain)


_Dumper.add_representer(str, _represent_str)
_Dumper.add_representer(list, _represent_list)


def _convert(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        _require_tag(node, "map")
        return _convert_mapping(node, path, lines)
    if isinstance(node, yaml.SequenceNode):
        _require_tag(node, "seq")
        return [_convert(item, (*path, index), lines) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.ScalarNode):
        raise yaml.MarkedYAMLError(problem="this is not supported", problem_mark=node.start_mark)
    _require_tag(node, "str")
    return node.value if node.style else _scalar(node.value)


def _convert_mapping(node: yaml.MappingNode, path: KeyPath, lines: dict[KeyPath, int]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key_node.start_mark)
        key = str(key_node.value)
        if key in mapping:
            first = lines[(*path, key)]
            raise yaml.MarkedYAMLError(
                problem=f"key {key!r} is given twice, first in line {first}", problem_mark=key_node.start_mark
            )
        mapping[key] = _convert(value_node, (*path, key), lines)
        lines[(*path, key)] = key_node.start_mark.line + 1
    return mapping


def _require_tag(node: yaml.Node, name: str) -> None:
    if node.tag != f"tag:yaml.org,2002:{name}":
        raise yaml.MarkedYAMLError(problem=f"tag {node.tag!r} is not supported", problem_mark=node.start_mark)


def _scalar(text: str) -> Any:
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text[0] in "tT"
    if _INT.match(text):
        return int(text.replace("_", ""))
    if _FLOAT.match(text):
        return float(text.replace("_", ""))
    special = _SPECIAL_FLOAT.match(text)
    if special:
        return float(special[1] + special[2])
    return text
