"""Settings in general: frozen, strict, and every field documented."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tmrl_ray.config.describe import REQUIRED, explain
from tmrl_ray.config.game import GameSettings
from tmrl_ray.config.race import CutOffSettings
from tmrl_ray.config.run import RunConfig


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        GameSettings().camera = 3  # type: ignore[misc]


def test_replace_validates_the_copy() -> None:
    settings = GameSettings(frame_size=(5, 7))
    assert settings.replace(camera=3) == GameSettings(frame_size=(5, 7), camera=3)
    with pytest.raises(ValidationError):
        settings.replace(camera=4)
    with pytest.raises(ValidationError, match="it could never end a race"):
        CutOffSettings().replace(race_ms=100)


def test_every_field_is_explained() -> None:
    notes = {note.path: note for note in explain(RunConfig)}
    assert [path for path, note in notes.items() if not note.text.endswith(".")] == []
    assert notes["game.camera"].allowed == "1, 2 or 3"
    assert notes["game.frame_size"].default == [64, 64]
    assert notes["maps[].map"].default == REQUIRED
    assert notes["driver"].allowed == "a mapping whose kind is pursuit or human"
    assert notes["driver[kind=human].seed"].allowed == "a whole number of at least 0"
    assert notes["connection.port"].text.startswith("TCP port")
