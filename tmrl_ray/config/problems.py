"""What is wrong with a configuration, one line a problem: key, value, where it was given, what it may be."""

from __future__ import annotations

import difflib
import json
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tmrl_ray.config.describe import field_allowed, field_at, models_in
from tmrl_ray.config.yaml_text import KeyPath

_MISSING = object()


def describe_problems(
    model: type[BaseModel], error: ValidationError, value: Any, sources: dict[KeyPath, str]
) -> list[str]:
    """Return a line for each problem, in the order of the model.

    Args:
        model: what ``value`` was validated as.
        error: what pydantic found.
        value: the merged mapping.
        sources: where each value was given.
    """
    lines: dict[str, None] = {}
    for detail in error.errors(include_url=False):
        path = _given_path(detail["loc"], value, detail["type"])
        lines[f"{_dotted(path)}{_describe(model, detail, path, value, sources)}"] = None
    return list(lines)


def _describe(
    model: type[BaseModel], detail: ErrorDetails, path: KeyPath, value: Any, sources: dict[KeyPath, str]
) -> str:
    given, info = _lookup(value, path), field_at(model, path)
    where = f" ({source})" if (source := _source(sources, path)) else ""
    kind = detail["type"]
    if kind == "extra_forbidden":
        return f"{where}: unknown key; {_nearest(str(path[-1]), _keys_beside(model, path, value))}"
    if kind == "missing":
        must = field_allowed(info) if info else "given"
        return f"{where}: required but not given; must be {must}"
    if kind == "value_error":
        return f"{where}: {detail['ctx']['error']}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        discriminator = detail["ctx"]["discriminator"].strip("'")
        tag = given.get(discriminator) if isinstance(given, dict) else None
        tags = detail["ctx"].get("expected_tags") or _tags(model, path, discriminator)
        return f".{discriminator} = {_short(tag)}{where}: must be {' or '.join(tags.replace(chr(39), '').split(', '))}"
    if kind == "finite_number":
        return f" = {_short(given)}{where}: must be finite"
    must = f"must be {field_allowed(info)}" if info else detail["msg"]
    return f" = {_short(given)}{where}: {must}"


def _tags(model: type[BaseModel], path: KeyPath, discriminator: str) -> str:
    info = field_at(model, path)
    groups = models_in(info.annotation) if info else []
    return ", ".join(str(group.model_fields[discriminator].default) for group in groups)


def _given_path(loc: tuple[int | str, ...], value: Any, kind: str) -> KeyPath:
    """Leave out the branches of unions that pydantic names in its locations: they are no keys."""
    path: KeyPath = ()
    for position, key in enumerate(loc):
        last = position == len(loc) - 1
        inside = _lookup(value, (*path, key)) is not _MISSING
        if inside or (last and kind == "missing"):
            path = (*path, key)
    return path


def _lookup(value: Any, path: KeyPath) -> Any:
    for key in path:
        inside = key in value if isinstance(value, dict) else isinstance(value, list) and key in range(len(value))
        if not inside:
            return _MISSING
        value = value[key]
    return value


def _keys_beside(model: type[BaseModel], path: KeyPath, value: Any) -> list[str]:
    """Return the keys that are allowed where an unknown one was given."""
    if len(path) == 1:
        return list(model.model_fields)
    info = field_at(model, path[:-1])
    groups = models_in(info.annotation) if info else []
    given = _lookup(value, path[:-1])
    if info and isinstance(info.discriminator, str) and isinstance(given, dict):
        name = info.discriminator
        groups = [group for group in groups if group.model_fields[name].default == given.get(name)]
    return [key for group in groups for key in group.model_fields]


def _nearest(key: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(key, allowed, n=3, cutoff=0.6)
    names = ", ".join(allowed)
    return f"did you mean {' or '.join(near)}? Keys here: {names}" if near else f"keys here: {names}"


def _source(sources: dict[KeyPath, str], path: KeyPath) -> str | None:
    for depth in range(len(path), -1, -1):
        if path[:depth] in sources:
            return sources[path[:depth]]
    return None


def _dotted(path: KeyPath) -> str:
    return ".".join(str(key) for key in path)


def _short(value: Any) -> str:
    if value is _MISSING:
        return "(nothing)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
