"""Bases, overrides, errors with their place, and the hash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tmrl_ray.config.game import ConnectionSettings
from tmrl_ray.config.loading import config_hash, load_config, load_settings, to_yaml
from tmrl_ray.config.race import HumanSettings, MapEntry, PursuitSettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import ConfigError

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def errors_of(path: Path | None, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value).split("\n  ")


def test_nothing_given_is_the_defaults() -> None:
    assert load_config() == RunConfig()


def test_an_empty_file_is_the_defaults(write: Write) -> None:
    assert load_config(write("empty.yaml", "# nothing\n")) == RunConfig()


def test_an_overlay_comes_before_what_is_based_on_its_file(write: Write) -> None:
    base = write("base.yaml", "game: {camera: 1, running_speed: 3.0}\n")
    child = write("child.yaml", "base: base.yaml\ngame: {camera: 2}\n")
    write("over/shared.yaml", "network: {head_hidden: 17}\n")
    over = write("over/base.yaml", "base: shared.yaml\ngame: {camera: 3, running_speed: 5.0}\n")
    config = load_settings(RunConfig, child, overlays={base.resolve(): over})
    assert (config.game.camera, config.game.running_speed, config.network.head_hidden) == (2, 5.0, 17)
    assert load_settings(RunConfig, base, overlays={base.resolve(): over}).game.camera == 3


def test_mappings_merge_and_lists_are_replaced(write: Write) -> None:
    write("shared/grand.yaml", "game: {camera: 3, grey: false}\nreward: {per_metre: 0.5}\n")
    write("shared/base.yaml", "base: grand.yaml\ngame: {camera: 1}\nmaps: [{name: a, map: x}, {name: b, map: y}]\n")
    path = write("run.yaml", "base: shared/base.yaml\ngame: {frame_size: [5, 7]}\nmaps: [{name: c, map: z}]\n")
    config = load_config(path, ["reward.per_ms=-1e-4"])
    assert (config.game.camera, config.game.grey, config.game.frame_size) == (1, False, (5, 7))
    assert (config.reward.per_metre, config.reward.per_ms) == (0.5, -1e-4)
    assert config.maps == (MapEntry(name="c", map="z"),)


def test_another_kind_replaces_the_group(write: Write) -> None:
    path = write("human.yaml", "driver: {kind: human, seed: 11}\n")
    assert load_config(path, ["driver.seed=13"]).driver == HumanSettings(seed=13)
    assert load_config(path, ["driver.kind=pursuit"]).driver == PursuitSettings()


def test_a_group_without_its_kind_is_of_the_default_kind() -> None:
    assert errors_of(None, "driver.sed=3")[1].startswith("driver.sed (override 'driver.sed=3'): unknown key; ")


def test_overrides_reach_into_lists(write: Write) -> None:
    path = write("maps.yaml", "maps: [{name: a, map: x}, {name: b, map: y}]\n")
    assert [entry.repeat for entry in load_config(path, ["maps.1.repeat=7"]).maps] == [1, 7]


def test_later_overrides_win() -> None:
    assert load_config(None, ["game.camera=1", "game={camera: 3, grey: false}"]).game.camera == 3


def test_an_override_can_switch_a_group_off_and_on() -> None:
    assert load_config(None, ["connection.port=9000"]).connection == ConnectionSettings(port=9000)
    assert load_config(None, ["connection.port=9000", "connection=null"]).connection is None


def test_every_error_is_told_at_once_with_its_place(write: Write) -> None:
    base = write("base.yaml", "game:\n  camera: 7\n")
    path = write(
        "bad.yaml",
        "base: base.yaml\ngame:\n  fram_size: 3\n  decision_period_ms: 55\n"
        "connection: {port: 99999}\ndriver: {kind: robot}\nmaps:\n  - {map: x}\n",
    )
    assert errors_of(path, "game.grey=yes") == [
        f"configuration {path} (base: {base}) has 7 errors:",
        f"game.decision_period_ms = 55 ({path}:4): must be a whole number of at least 10, at most 1000, "
        "a multiple of 10",
        "game.grey = \"yes\" (override 'game.grey=yes'): must be true or false",
        f"game.camera = 7 ({base}:2): must be 1, 2 or 3",
        f"game.fram_size ({path}:3): unknown key; did you mean frame_size? "
        "Keys here: decision_period_ms, frame_size, grey, camera, running_speed",
        f"connection.port = 99999 ({path}:5): must be a whole number of at least 1, at most 65535",
        f"maps.0.name ({path}:8): required but not given; must be a text that is not empty",
        f'driver.kind = "robot" ({path}:6): must be pursuit or human',
    ]


def test_a_key_like_no_other_is_shown_those_that_there_are() -> None:
    (message,) = errors_of(None, "game.zzz=1")[1:]
    assert "unknown key; keys here: decision_period_ms, frame_size," in message


def test_a_wrong_type_is_not_converted() -> None:
    assert errors_of(None, "game.running_speed='80'", "game.decision_period_ms=true", "reward.per_ms=.nan")[1:] == [
        "game.decision_period_ms = true (override 'game.decision_period_ms=true'): "
        "must be a whole number of at least 10, at most 1000, a multiple of 10",
        'game.running_speed = "80" (override "game.running_speed=\'80\'"): must be a number above 0',
        "reward.per_ms = NaN (override 'reward.per_ms=.nan'): must be finite",
    ]


def test_fields_that_do_not_fit_together_say_how_to_fix_it() -> None:
    assert errors_of(None, "cut_offs.race_ms=1000")[1] == (
        "cut_offs (override 'cut_offs.race_ms=1000'): no_progress_ms = 2000 is longer than race_ms = 1000, "
        "so that it could never end a race: make it shorter"
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("game", "override 'game': must look like key.sub=value"),
        ("=3", "override '=3': must look like key.sub=value"),
        ("a..b=3", "override 'a..b=3': must look like key.sub=value"),
        ("game.grey=", "override 'game.grey=': has no value; write null or '' if that is meant"),
        ("game.grey=[", "override 'game.grey=[':1: expected the node content, but found '<stream end>'"),
        ("maps.4.name=x", "override 'maps.4.name=x': the top has no 'maps' in the files; "
         "an item of a list must be there to be changed"),
    ],
)  # fmt: skip
def test_a_malformed_override_is_named(override: str, message: str) -> None:
    assert errors_of(None, override) == ["configuration has 1 error:", message]


def test_an_index_outside_its_list_is_named(write: Write) -> None:
    path = write("maps.yaml", "maps: [{name: a, map: x}, {name: b, map: y}]\n")
    assert errors_of(path, "maps.2.name=c")[1] == "override 'maps.2.name=c': maps is a list with the indices 0 to 1"


def test_bases_in_a_circle_are_refused(write: Write) -> None:
    first, second = write("a.yaml", "base: b.yaml\n"), write("b.yaml", "base: a.yaml\n")
    assert errors_of(first) == [f"the bases go round in a circle: {first} -> {second} -> {first}"]


def test_a_missing_base_names_who_wants_it(write: Write) -> None:
    path = write("a.yaml", "base: gone.yaml\n")
    assert errors_of(path) == [
        f"{path.parent / 'gone.yaml'} (the base of {path}): cannot be read: No such file or directory"
    ]


def test_a_base_that_is_no_path_is_refused(write: Write) -> None:
    path = write("a.yaml", "game: {camera: 1}\nbase: 3\n")
    assert errors_of(path) == [f"{path}:2: base = 3 must be the path of a file"]


def test_a_list_is_no_configuration(write: Write) -> None:
    path = write("a.yaml", "- 1\n")
    assert errors_of(path) == [f"{path}: must be a mapping of keys to values, is [1]"]


def test_yaml_round_trip_keeps_everything(write: Write) -> None:
    config = load_config(None, ["game.frame_size=null", "driver.kind=human", "connection={}", "line.deck_height_m=-3"])
    again = load_config(write("resolved.yaml", to_yaml(config)))
    assert again == config
    assert config_hash(again) == config_hash(config)


def test_the_hash_follows_values_not_spelling(write: Write) -> None:
    spelled = write("a.yaml", "game: {running_speed: 80, camera: 2}\n")
    other = write("b.yaml", "game:\n  camera: 2\n  running_speed: 8e1\n")
    assert config_hash(load_config(spelled)) == config_hash(load_config(other)) == config_hash(RunConfig())
    assert config_hash(load_config(spelled, ["game.camera=3"])) != config_hash(RunConfig())


def test_one_group_can_be_read_alone(write: Write) -> None:
    path = write("connection.yaml", "port: 9001\n")
    assert load_settings(ConnectionSettings, path, ["host=::1"]) == ConnectionSettings(host="::1", port=9001)
