"""What a setting may be, in words: for ``tmrl-ray config explain`` and for every error about a value."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tmrl_ray.config.yaml_text import KeyPath

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    type(None): "null",
}


@dataclass(frozen=True)
class FieldNote:
    """One setting, explained."""

    path: str
    """Keys joined by dots; ``[]`` stands for each item of a list."""
    allowed: str
    """What it may be."""
    default: Any
    """JSON-able; :data:`REQUIRED` when there is none."""
    text: str
    """The docstring under the field."""


REQUIRED = "(required)"


def allowed_values(annotation: Any, constraints: Iterable[Any] = ()) -> str:
    """Return what a value of this type may be, as words that follow "must be"."""
    constraints = list(constraints)
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        return allowed_values(inner, [*_flat(extra), *constraints])
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _choice([_plain(part) for part in parts])
    if origin in (Union, types.UnionType):
        null_first = sorted(parts, key=lambda part: part is not type(None))
        return " or ".join(dict.fromkeys(allowed_values(part, constraints) for part in null_first))
    if origin is dict:
        return "a mapping of names, each " + allowed_values(parts[1])
    if origin is tuple and parts[-1] is Ellipsis:
        return f"a list, each item {allowed_values(parts[0])}"
    if origin is tuple:
        items = dict.fromkeys(allowed_values(part) for part in parts)
        return f"a list of {len(parts)}, each {' / '.join(items)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a mapping with the keys {', '.join(annotation.model_fields)}"
    limits = [] if annotation is type(None) else list(_limits(constraints))
    return " ".join([_WORDS.get(annotation, str(annotation)), ", ".join(limits)]).strip()


def field_allowed(info: FieldInfo) -> str:
    """Return what a field may be."""
    if isinstance(info.discriminator, str):
        kinds = [_kind(group, info) for group in models_in(info.annotation)]
        return f"a mapping whose {info.discriminator} is {_choice(kinds)}"
    return allowed_values(info.annotation, _flat(info.metadata))


def field_at(model: type[BaseModel], path: KeyPath) -> FieldInfo | None:
    """Return the deepest field that the path leads to, or None when its first key is unknown."""
    found: FieldInfo | None = None
    models: list[type[BaseModel]] = [model]
    for key in path:
        if isinstance(key, int):
            continue
        candidates = [info for each in models if (info := each.model_fields.get(key)) is not None]
        if not candidates:
            break
        found = candidates[0]
        models = [sub for info in candidates for sub in models_in(info.annotation)]
    return found


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the groups of settings that a value of this type may be, its items included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def explain(model: type[BaseModel], prefix: str = "") -> Iterator[FieldNote]:
    """Yield a note for every setting of a model, groups opened, in the order of the source.

    Where a group can be one of several kinds, each kind's settings follow as ``group[kind=name].setting``.
    """
    for name, info in model.model_fields.items():
        path, groups = f"{prefix}{name}", models_in(info.annotation)
        if len(groups) != 1 or info.default is None or _is_list(info.annotation):
            yield FieldNote(path, field_allowed(info), _default(info), " ".join((info.description or "").split()))
        for group in groups:
            item = "[]" if _is_list(info.annotation) else ""
            kind = f"[{info.discriminator}={_kind(group, info)}]" if len(groups) > 1 else ""
            yield from explain(group, f"{path}{item}{kind}.")


def _kind(group: type[BaseModel], info: FieldInfo) -> str:
    return str(group.model_fields[str(info.discriminator)].default)


def _default(info: FieldInfo) -> Any:
    if info.is_required():
        return REQUIRED
    value = info.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return REQUIRED
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple):
        return [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value]
    return str(value) if isinstance(value, Path) else value


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is tuple or any(get_origin(part) is tuple for part in get_args(annotation))


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _flat(item.metadata)
        elif isinstance(item, at.GroupedMetadata):
            yield from item
        else:
            yield item


def _limits(constraints: Iterable[Any]) -> Iterator[str]:
    for limit in constraints:
        if isinstance(limit, at.Ge):
            yield f"of at least {limit.ge}"
        elif isinstance(limit, at.Gt):
            yield f"above {limit.gt}"
        elif isinstance(limit, at.Le):
            yield f"at most {limit.le}"
        elif isinstance(limit, at.Lt):
            yield f"below {limit.lt}"
        elif isinstance(limit, at.MultipleOf):
            yield f"a multiple of {limit.multiple_of}"
        elif isinstance(limit, at.MinLen):
            yield "that is not empty" if limit.min_length == 1 else f"of {limit.min_length} items or more"
        elif isinstance(limit, at.MaxLen):
            yield f"of {limit.max_length} items or less"


def _choice(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _plain(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
