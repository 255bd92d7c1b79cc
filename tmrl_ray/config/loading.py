"""From files and overrides to one validated configuration.

A file may name another one, relative to itself, as ``base:``; mappings are merged key by key, everything else is
replaced. Then come the overrides, ``key.sub=value``, in order. Whatever is wrong is told at once: each line of the
error names the key, the value, the file and line (or the override) that it came from, and what it may be.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tmrl_ray.config.problems import describe_problems
from tmrl_ray.config.run import RunConfig
from tmrl_ray.config.settings import Settings
from tmrl_ray.config.yaml_text import KeyPath, dump_yaml, parse_yaml
from tmrl_ray.errors import ConfigError

S = TypeVar("S", bound=Settings)

_KIND = "kind"
"""The key that selects between kinds of a group: a new kind replaces the group instead of being merged into it."""


@dataclass
class _Layered:
    """Values so far, and where each of them was given."""

    value: dict[str, Any] = field(default_factory=dict)
    sources: dict[KeyPath, str] = field(default_factory=dict)


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the configuration that a file, its bases and the overrides give.

    Args:
        path: a YAML file; None: the defaults.
        overrides: ``key.sub=value``, the value being YAML; ``maps.0.repeat=3`` reaches into a list.

    Raises:
        ConfigError: with everything that is wrong.
    """
    return load_settings(RunConfig, path, overrides)


def load_settings(
    model: type[S],
    path: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    overlays: Mapping[Path, Path] | None = None,
) -> S:
    """Return settings of any group, read as :func:`load_config` reads the whole configuration.

    Args:
        model: of the group.
        path: a YAML file; None: the defaults.
        overrides: ``key.sub=value``.
        overlays: resolved path of the file, or of one of its bases: a YAML file that is laid over it before what is
            based on it.

    Raises:
        ConfigError: with everything that is wrong.
    """
    chain = [] if path is None else list(_overlaid(_base_chain(path), overlays or {}))
    layered = _Layered()
    for file, value, lines in reversed(chain):
        _merge(layered, value, {key: f"{file}:{line}" for key, line in lines.items()})
    problems = [problem for text in overrides if (problem := _override(layered, text))]
    settings = None
    _name_kinds(model, layered.value)
    try:
        settings = model.model_validate_json(json.dumps(layered.value))
    except ValidationError as error:
        problems += describe_problems(model, error, layered.value, layered.sources)
    if problems or settings is None:
        raise ConfigError(_headline([file for file, _, _ in chain], problems))
    return settings


def to_yaml(settings: Settings) -> str:
    """Return settings as YAML, every field spelled out; reading it back gives equal settings."""
    return dump_yaml(settings.model_dump(mode="json"))


def config_hash(settings: Settings) -> str:
    """Return a SHA-256 that is equal for equal settings, however and in whatever order they were written."""
    canonical = json.dumps(settings.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


_File = tuple[Path, dict[str, Any], dict[KeyPath, int]]
"""A file, what it says, and in which line."""


def _overlaid(chain: list[_File], overlays: Mapping[Path, Path]) -> Iterator[_File]:
    for file in chain:
        overlay = overlays.get(file[0].resolve())
        if overlay is not None:
            yield from _base_chain(overlay)
        yield file


def _base_chain(path: Path) -> list[_File]:
    """Read a file and its bases, the file first."""
    chain: list[_File] = []
    seen: list[Path] = []
    while True:
        if path.resolve() in seen:
            raise ConfigError(f"the bases go round in a circle: {_arrows([*(f for f, _, _ in chain), path])}")
        seen.append(path.resolve())
        by = f" (the base of {chain[-1][0]})" if chain else ""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError(f"{path}{by}: cannot be read: {reason}") from error
        document = parse_yaml(text, str(path))
        value, lines = document.value if document.value is not None else {}, document.lines
        if not isinstance(value, dict):
            raise ConfigError(f"{path}{by}: must be a mapping of keys to values, is {value!r}")
        base = value.pop("base", None)
        chain.append((path, value, lines))
        if base is None:
            return chain
        if not isinstance(base, str):
            raise ConfigError(f"{path}:{lines[('base',)]}: base = {base!r} must be the path of a file")
        path = path.parent / base


def _merge(layered: _Layered, child: dict[str, Any], sources: dict[KeyPath, str], at: KeyPath = ()) -> None:
    """Lay ``child`` over the mapping at ``at``."""
    target = _mapping_at(layered.value, at)
    for key, value in child.items():
        path = (*at, key)
        old = target.get(key)
        layered.sources[path] = sources.get(path, sources.get(at, ""))
        if isinstance(old, dict) and isinstance(value, dict) and not _another_kind(old, value):
            _merge(layered, value, sources, path)
            continue
        for known in [known for known in layered.sources if known[: len(path)] == path and known != path]:
            del layered.sources[known]
        layered.sources |= {deeper: source for deeper, source in sources.items() if deeper[: len(path)] == path}
        target[key] = value


def _another_kind(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return _KIND in new and new[_KIND] != old.get(_KIND, new[_KIND])


def _name_kinds(model: type[Settings], value: dict[str, Any]) -> None:
    """Write down the default kind of a group of which settings are given, but not the kind."""
    for name, info in model.model_fields.items():
        group, default = value.get(name), info.default
        if isinstance(info.discriminator, str) and isinstance(group, dict) and isinstance(default, Settings):
            group.setdefault(info.discriminator, getattr(default, info.discriminator))


def _mapping_at(value: dict[str, Any], path: KeyPath) -> dict[str, Any]:
    for key in path:
        value = value[str(key)]
    return value


def _override(layered: _Layered, text: str) -> str | None:
    """Apply one override; return what is wrong with it, or None."""
    source = f"override {text!r}"
    name, equals, value_text = text.partition("=")
    if not equals or not re.fullmatch(r"[^\s.=]+(\.[^\s.=]+)*", name):
        return f"{source}: must look like key.sub=value"
    if not value_text.strip():
        return f"{source}: has no value; write null or '' if that is meant"
    try:
        value = parse_yaml(value_text, source).value
    except ConfigError as error:
        return str(error)
    keys = name.split(".")
    if any(part.isdigit() for part in keys):
        return _override_item(layered, keys, value, source)
    for key in reversed(keys):
        value = {key: value}
    paths: dict[KeyPath, str] = {tuple(keys[:depth]): source for depth in range(len(keys) + 1)}
    _merge(layered, value, paths)
    return None


def _override_item(layered: _Layered, keys: list[str], value: Any, source: str) -> str | None:
    """Set a value inside a list that a file gave."""
    container: Any = layered.value
    path: KeyPath = ()
    for position, text in enumerate(keys):
        key: str | int = int(text) if isinstance(container, list) and text.isdigit() else text
        where = ".".join(keys[:position]) or "the top"
        if isinstance(container, list):
            if not isinstance(key, int) or key >= len(container):
                return f"{source}: {where} is a list with the indices 0 to {len(container) - 1}"
        elif not isinstance(container, dict) or (key not in container and position < len(keys) - 1):
            return f"{source}: {where} has no {text!r} in the files; an item of a list must be there to be changed"
        path = (*path, key)
        if position == len(keys) - 1:
            container[key] = value
            for known in [known for known in layered.sources if known[: len(path)] == path]:
                del layered.sources[known]
            layered.sources[path] = source
        else:
            container = container[key]
    return None


def _headline(files: list[Path], problems: list[str]) -> str:
    name = f"configuration {_arrows(files)}" if files else "configuration"
    count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
    return "\n  ".join([f"{name} has {count}:", *problems])


def _arrows(files: Iterable[Path]) -> str:
    first, *bases = [str(file) for file in files]
    return first + "".join(f" (base: {base})" for base in bases[:1]) if len(bases) < 2 else " -> ".join([first, *bases])
