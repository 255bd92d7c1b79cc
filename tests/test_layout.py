"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tmrl_ray.config.loading import load_config, load_settings
from tmrl_ray.config.pretrain import BCConfig, VisualConfig

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tmrl_ray"
CODE = ("tmrl_ray", "actors", "learner", "pretrain")
SHIPPED = ("tmrl_ray", "actors", "learner", "pretrain")
"""Folders whose code is installed."""
MOST_LINES = 400
HEAVY = {"numpy", "numba", "llvmlite", "torch", "ray", "pydantic", "av", "PIL", "gymnasium", "pygame", "rich", "psutil"}
VAGUE = re.compile(r"(^|_)(utils?|common|misc|helpers?|tools)(_|$)")


def tracked_files() -> list[Path]:
    """Return the files that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_go_one_way() -> None:
    from importlinter.cli import lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_no_file_is_too_long() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in python_files(*SHIPPED, "tests")}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def is_setter(method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(each, ast.Attribute) and each.attr == "setter" for each in method.decorator_list)


def undocumented(path: Path) -> Iterator[str]:
    """Yield what is public in a file of the package and has no docstring.

    A method that overrides one of a base class is documented there; which ones do is not known here, so methods of
    classes with a base class may do without.
    """
    tree = ast.parse(path.read_text())
    if not ast.get_docstring(tree):
        yield name_of(path)
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in tree.body:
        if not isinstance(node, (*functions, ast.ClassDef)) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield f"{name_of(path)}: {node.name}"
        if isinstance(node, ast.ClassDef) and not node.bases:
            for method in node.body:
                if not isinstance(method, functions) or method.name.startswith("_") or is_setter(method):
                    continue
                if not ast.get_docstring(method):
                    yield f"{name_of(path)}: {node.name}.{method.name}"


def test_everything_public_has_a_docstring() -> None:
    assert [name for path in python_files(*SHIPPED) for name in undocumented(path)] == []


def test_no_module_has_a_vague_name() -> None:
    assert [name_of(path) for path in python_files(*SHIPPED) if VAGUE.search(path.stem)] == []
    folders = {path.parent for path in python_files(*SHIPPED)}
    assert [name_of(path) for path in folders if VAGUE.search(path.name)] == []


def test_only_the_command_line_prints() -> None:
    printing = [
        f"{name_of(path)}:{node.lineno}"
        for path in python_files(*SHIPPED)
        if path.parent.name != "commands" and path.name != "cli.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []


def test_the_command_line_imports_nothing_heavy() -> None:
    code = "import sys, tmrl_ray.cli as c; c.run(['--help']); print(sorted({m.split('.')[0] for m in sys.modules}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(result.stdout.splitlines()[-1]))
    assert "click" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("package", ["tmrl_ray.errors", "tmrl_ray.config.run", "tmrl_ray.config.loading"])
def test_configuration_needs_no_arrays(package: str) -> None:
    code = f"import sys, {package}; print(sorted({{m.split('.')[0] for m in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(result.stdout)) & {"numpy", "numba", "torch", "ray"} == set()


def test_shipped_configurations_are_valid() -> None:
    experiments = ROOT / "configs" / "experiments"  # some only make sense over others: tests/experiments sees to them
    shipped = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if experiments not in path.parents)
    assert shipped
    stages = {"visual": VisualConfig, "bc": BCConfig}
    for path in shipped:
        if path.parent.name == "pretrain":
            load_settings(stages[path.stem.partition("_")[0]], path)
        else:
            load_config(path)


def test_nothing_names_the_machine_it_was_made_on() -> None:
    private = re.compile(
        r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/|/tmp/\w|https?://[\w.-]*(?:pypi|mirror|index)[\w.-]*"
    )
    found = [
        f"{name_of(path)}: {match[0]}"
        for path in tracked_files()
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".txt", ".as", ""} and path != Path(__file__)
        for match in private.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {re.split(r"[\[<>=!~; ]", name)[0].lower().replace("_", "-") for name in wanted}
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    assert all("==" in line for line in lines)
    assert names - pinned == set()


def test_every_data_file_of_the_package_is_in_the_wheel() -> None:
    """Each file that is no Python must match a pattern of ``package-data``."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packed = {path for pattern in setuptools["package-data"]["tmrl_ray"] for path in PACKAGE.glob(pattern)}
    data = {path for path in tracked_files() if PACKAGE in path.parents and path.suffix != ".py"}
    assert {name_of(path) for path in data - packed} == set()


COMMAND = re.compile(r"\s*(?:\$ )?(?:\S*/)?tmrl-ray\s(.*)")


def commands_in_blocks(text: str) -> Iterator[str]:
    for block in re.findall(r"^ *```[a-z]*\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if match := COMMAND.match(line):
                yield match[1]


def test_documented_commands_exist() -> None:
    from click import MissingParameter

    from tests.commands.parsing import parse_only

    documents = {path: path.read_text() for path in tracked_files() if path.suffix == ".md"}
    assert ROOT / "README.md" in documents
    for text in documents.values():
        for command in commands_in_blocks(text):
            parse_only(shlex.split(command, comments=True))
        for command in re.findall(r"(?<!`)`tmrl-ray ([^`]+)`", text):
            with contextlib.suppress(MissingParameter):  # a sentence may name a command without its arguments
                parse_only(shlex.split(command))
