"""The rules of the house: sizes, rooms, imports and documentation, read from the source of the package.

Every exception has a reason, and a test fails when the exception is no longer needed. Parameters have a ceiling too, of
eight below the public interface: ruff counts them (PLR0913), with its exceptions in ``pyproject.toml``.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import dbutterfly as dbf
from tests.support.parts import require

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "dbutterfly"
MODULES = [path.relative_to(ROOT).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]

MOST_LINES_OF_A_MODULE = 300
MOST_LINES_OF_A_FUNCTION = 45
MOST_PARAMETERS = SETTINGS["ruff"]["lint"]["pylint"]["max-args"]
MOST_ARROWS = 90
"""Arrows between rooms, with ``kernels`` opened into its own rooms. All 18 of them could have 153 without a circle."""

LONG_MODULES: dict[str, str] = {
    "dbutterfly/operator/butterfly.py": "the whole vocabulary of one public class, whose docstrings are most of it",
    "dbutterfly/structure/chain.py": "one public class and its constructors, whose docstrings are two thirds of it",
}
"""Modules above the ceiling, and why."""

LONG_FUNCTIONS: dict[str, str] = {}
"""Functions above the ceiling, as ``module:qualified.name``, and why."""

INCOMPLETE: dict[str, str] = {
    "clusters.for_cluster": "a decorator of functions of this package",
    "clusters.on_cluster": "a decorator of functions of this package",
}
"""Public names whose documentation lacks something that :func:`test_public_names_are_documented` asks for, and why."""


@functools.cache
def parsed(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text())


def functions_of(node: ast.AST, place: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions below a node, nested ones and methods included, with their qualified names."""
    for child in ast.iter_child_nodes(node):
        inner = place
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inner = f"{place}{child.name}."
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{place}{child.name}", child
        yield from functions_of(child, inner)


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last: code, blank lines, comments, nested functions."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def dotted(module: str) -> str:
    return module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@functools.cache
def imports_of(module: str) -> list[tuple[str, str]]:
    """Every import from the package that a module makes when it runs: where from, and which name."""
    return list(imports_below(parsed(module), dotted(module).split("."), module.endswith("/__init__.py")))


def imports_below(node: ast.AST, here: list[str], is_package: bool) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, "") for alias in child.names if alias.name.split(".")[0] == "dbutterfly")
        elif isinstance(child, ast.ImportFrom) and child.level:
            up = here[: len(here) - child.level + is_package]
            yield from ((".".join([*up, *filter(None, [child.module])]), alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and (child.module or "").split(".")[0] == "dbutterfly":
            yield from ((child.module or "", alias.name) for alias in child.names)
        yield from imports_below(child, here, is_package)


# ---- sizes


def test_modules_are_short():
    lines = {module: len((ROOT / module).read_text().splitlines()) for module in MODULES}
    long = {module: count for module, count in lines.items() if count > MOST_LINES_OF_A_MODULE}
    assert {module: count for module, count in long.items() if module not in LONG_MODULES} == {}
    assert LONG_MODULES.keys() - long.keys() == set(), "these need no exception any more"


def test_functions_are_short():
    functions = ((module, *function) for module in MODULES for function in functions_of(parsed(module)))
    lines = {f"{module}:{name}": body_lines(function) for module, name, function in functions}
    long = {name: count for name, count in lines.items() if count > MOST_LINES_OF_A_FUNCTION}
    assert {name: count for name, count in long.items() if name not in LONG_FUNCTIONS} == {}
    assert LONG_FUNCTIONS.keys() - long.keys() == set(), "these need no exception any more"


def test_exceptions_name_what_there_is():
    modules = {*LONG_MODULES, *(name.partition(":")[0] for name in LONG_FUNCTIONS)}
    assert modules <= set(MODULES)
    assert set(INCOMPLETE) <= set(PUBLIC)


def test_exceptions_from_the_ceiling_of_parameters_are_needed():
    """What ruff itself does not tell: an exception for files in which no function has so many."""
    ignored = SETTINGS["ruff"]["lint"]["per-file-ignores"]
    for pattern in [pattern for pattern, rules in ignored.items() if "PLR0913" in rules]:
        modules = [path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)]
        counts = [parameters(function) for module in modules for _, function in functions_of(parsed(module))]
        assert max(counts, default=0) > MOST_PARAMETERS, pattern


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


# ---- rooms and names


def room_of(module: str) -> str:
    """Room of a module by its dotted name; a room inside ``kernels`` is one of its own."""
    _, room, *inner = module.split(".")
    return f"{room}.{inner[0]}" if room == "kernels" and inner else room


def test_rooms_have_few_arrows_between_them():
    known = {dotted(module) for module in MODULES}
    arrows = set()
    for module in MODULES:
        if dotted(module) in ("dbutterfly", "dbutterfly.__main__"):
            continue
        here = room_of(dotted(module))
        for place, name in imports_of(module):
            wanted = f"{place}.{name}" if f"{place}.{name}" in known else place
            if wanted != "dbutterfly" and room_of(wanted) != here:
                arrows.add((here, room_of(wanted)))
    assert len(arrows) <= MOST_ARROWS, sorted(arrows)
    assert len(arrows) > 50, "too few to be true"


def test_private_names_stay_in_their_module():
    borrowed = [(module, name) for module in MODULES for _, name in imports_of(module)]
    assert [(module, name) for module, name in borrowed if name.startswith("_") and not name.endswith("__")] == []


@pytest.mark.parametrize("module", [module for module in MODULES if module.endswith("__init__.py")])
def test_packages_hand_on_names_only(module):
    """A package defines nothing, and hides none of its modules behind a name that it hands on.

    The package itself hands on its names when they are used, which tests/system/test_start.py looks at.
    """
    _, *body = parsed(module).body  # after the docstring
    for node in body if module != "dbutterfly/__init__.py" else []:
        if isinstance(node, ast.Assign):
            assert all(isinstance(name, ast.Name) and name.id.startswith("__") for name in node.targets)
        else:
            assert isinstance(node, (ast.Import, ast.ImportFrom)), ast.unparse(node)
    inside = {path.stem for path in (ROOT / module).parent.iterdir() if path.suffix == ".py" or path.is_dir()}
    package = dotted(module)
    assert {name for place, name in imports_of(module) if place != package} & inside == set()


def test_no_module_is_a_drawer():
    assert {Path(module).stem for module in MODULES} & {"utils", "util", "helpers", "misc", "core", "common"} == set()


def test_the_top_of_the_tests_is_empty():
    assert {path.name for path in (ROOT / "tests").glob("*.py")} == {"__init__.py", "conftest.py"}


# ---- documentation


def public_names() -> Iterator[str]:
    """Public names as a user writes them, from ``dbutterfly.``: functions, classes, and the methods of classes."""
    for name in dbf.__all__:
        value = getattr(dbf, name)
        if isinstance(value, types.ModuleType):
            for inner in value.__all__:
                yield from names_of(f"{name}.{inner}", getattr(value, inner))
        else:
            yield from names_of(name, value)


def names_of(name: str, value: object) -> Iterator[str]:
    if inspect.isclass(value):
        yield name
        for method in dir(value):
            owner = next(kind for kind in value.__mro__ if method in vars(kind))
            is_ours = owner.__module__.startswith("dbutterfly")
            if is_ours and not method.startswith("_") and callable(getattr(value, method)):
                yield f"{name}.{method}"
    elif callable(value):
        yield name


PUBLIC = list(public_names())


def test_public_names_are_documented():
    """Functions have sections for parameters and results; methods that have one of the two have the other too.

    One sentence will do for a class, an error, and a method that needs no more. numpydoc checks that the sections are
    in order, and that they describe the parameters that there are and no others.
    """
    lacks = {name: found for name in PUBLIC if (found := what_the_documentation_lacks(name))}
    assert {name: found for name, found in lacks.items() if name not in INCOMPLETE} == {}
    assert INCOMPLETE.keys() - lacks.keys() == set(), "these need no exception any more"


def what_the_documentation_lacks(name: str) -> list[str]:
    checked = require("numpydoc.validate", "lint").validate(f"dbutterfly.{name}")
    asked = {"GL03", "GL06", "GL07", "GL08", "PR02", "PR03", "PR10", "RT02", "RT03", "SS01", "SS03"}
    is_method = "." in name and inspect.isclass(value_of(name.rpartition(".")[0]))
    has_sections = re.search(r"^ *(Parameters|Returns|Yields)\n *-+$", checked["docstring"], re.MULTILINE)
    if not inspect.isclass(value_of(name)) and (has_sections or not is_method):
        asked |= {"PR01", "RT01", "YD01"}
    return [f"{code}: {message}" for code, message in checked["errors"] if code in asked]


def value_of(name: str) -> object:
    value: object = dbf
    for part in name.split("."):
        value = getattr(value, part)
    return value
