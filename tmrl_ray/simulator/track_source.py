"""Reading and writing of track files: YAML to a checked ``TrackSpec``, with everything that is wrong said at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tmrl_ray.config.describe import field_allowed, models_in
from tmrl_ray.config.yaml_text import Document, KeyPath, dump_yaml, parse_yaml
from tmrl_ray.errors import ConfigError, TrackError
from tmrl_ray.simulator.track_file import KINDS, MARKERS, TrackSpec

SEGMENT_WORDS = f"one of {', '.join(MARKERS)}, or a mapping with one of the keys {', '.join(KINDS)}"


def read_track_file(path: Path) -> TrackSpec:
    """Read a track file.

    Raises:
        TrackError: it cannot be read, or says something that a track file cannot say; names file, line and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise TrackError(f"{path}: cannot be read: {reason}") from error
    return parse_track(text, str(path))


def parse_track(text: str, source: str) -> TrackSpec:
    """Return the track that a text describes.

    Args:
        text: YAML (see ``track_file``).
        source: what errors call it, a file's path for example.

    Raises:
        TrackError: as :func:`read_track_file`.
    """
    try:
        document = parse_yaml(text, source)
    except ConfigError as error:
        raise TrackError(str(error)) from error
    if not isinstance(document.value, dict):
        raise TrackError(f"{source}: a track file must be a mapping of keys to values")
    try:
        return TrackSpec.model_validate(document.value)
    except ValidationError as error:
        problems = [_describe(detail, document, source) for detail in error.errors(include_url=False)]
        raise TrackError("\n".join(dict.fromkeys(problems))) from error


def format_track(spec: TrackSpec) -> str:
    """Return a track file that :func:`parse_track` reads back to an equal track."""
    return dump_yaml(spec.model_dump(mode="json", by_alias=True, exclude_unset=True))


def _describe(detail: ErrorDetails, document: Document, source: str) -> str:
    path, info, model = _resolve(detail["loc"], document.value)
    line = next((document.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in document.lines), 1)
    where = f"{source}:{line}: {'.'.join(str(key) for key in path) or 'the file'}"
    kind = detail["type"]
    if kind == "extra_forbidden":
        return f"{where}: unknown key; keys here: {', '.join(_keys(model))}"
    if kind == "missing":
        return f"{where}: required but not given; must be {field_allowed(info) if info else 'given'}"
    if kind == "value_error":
        return f"{where}: {detail['ctx']['error']}"
    given = json.dumps(detail["input"], default=str)
    given = given if len(given) <= 60 else f"{given[:57]}..."
    if path[-1:] == ("segments",):
        return f"{where} = {given}: must be a list, each item {SEGMENT_WORDS}"
    if isinstance(path[-1] if path else None, int) and kind in ("union_tag_invalid", "literal_error"):
        words = SEGMENT_WORDS if path[-2] == "segments" else "a mapping with one of the keys at, near"
        return f"{where} = {given}: must be {words}"
    return f"{where} = {given}: must be {field_allowed(info) if info else detail['msg']}"


def _keys(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _resolve(loc: tuple[int | str, ...], value: Any) -> tuple[KeyPath, FieldInfo | None, type[BaseModel]]:
    """Return the keys of a place as they stand in the file, its field, and the model that the field belongs to.

    In pydantic's locations the kind of an item follows its index; it is no key, but says which model applies.
    """
    path: KeyPath = ()
    info: FieldInfo | None = None
    model: type[BaseModel] = TrackSpec
    models: list[type[BaseModel]] = [TrackSpec]
    for before, key in zip((None, *loc), loc, strict=False):
        if isinstance(before, int) and isinstance(key, str) and len(models) > 1:
            models = [each for each in models if key in _keys(each)]
            model = models[0] if models else model
            continue
        path = (*path, key)
        value = value[key] if _holds(value, key) else None
        if isinstance(key, str):
            model = next((each for each in models if key in _keys(each)), model)
            info = next((info for name, info in model.model_fields.items() if (info.alias or name) == key), None)
            models = models_in(info.annotation) if info else []
            model = models[0] if len(models) == 1 and key != loc[-1] else model
    return path, info, model


def _holds(value: Any, key: int | str) -> bool:
    return key in value if isinstance(value, dict) else isinstance(value, list) and key in range(len(value))
