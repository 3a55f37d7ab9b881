"""Every call of CuPy, and of an array namespace, checked by name and signature against the real CuPy.

No device is needed for that. What a kernel does with arrays is tested on array-api-strict, which refuses what CuPy
refuses (fixture ``xp``), and whole runs on a simulated CuPy (fixture ``device``), of which the same calls are checked;
what CuPy's own functions take is told by its signatures.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import dbutterfly
from tests.support import cuda_simulation
from tests.support.parts import require

require("cupy", "gpu")

PACKAGE = Path(dbutterfly.__file__).parent
OF_ARRAYS = ("xp", "namespace")
"""Names that stand for the namespace: ``xp`` and ``namespace(array)``."""


class Call(NamedTuple):
    """A call such as ``xp.linalg.qr(a, mode=...)``."""

    place: str
    name: str
    positional: int
    keywords: tuple[str, ...]
    is_open: bool


def calls_in(path: Path) -> Iterator[Call]:
    """Calls of functions of a namespace."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and (name := name_of(node.func)):
            keywords = tuple(keyword.arg for keyword in node.keywords if keyword.arg)
            is_open = len(keywords) < len(node.keywords) or any(isinstance(arg, ast.Starred) for arg in node.args)
            yield Call(f"{path.relative_to(PACKAGE)}:{node.lineno}", name, len(node.args), keywords, is_open)


def name_of(function: ast.expr) -> str | None:
    """Dotted name in the namespace, such as ``linalg.qr``; None for what is no function of a namespace."""
    parts: list[str] = []
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    if isinstance(function, ast.Call):  # namespace(array).sqrt(...)
        function = function.func
    is_namespace = isinstance(function, ast.Name) and function.id in OF_ARRAYS
    return ".".join(reversed(parts)) if parts and is_namespace else None


CALLS = [call for path in sorted(PACKAGE.rglob("*.py")) for call in calls_in(path)]


def test_kernels_are_seen():
    names = {call.name for call in CALLS}
    assert len(CALLS) > 300
    assert {"matmul", "linalg.eigh", "linalg.qr", "take_along_axis", "astype"} <= names


@pytest.mark.parametrize("name", sorted({call.name for call in CALLS}))
def test_cupy_has_what_is_called_and_takes_the_arguments(name):
    import array_api_compat.cupy as xp

    function = xp
    for part in name.split("."):
        assert hasattr(function, part), f"{[call.place for call in CALLS if call.name == name]}: CuPy has no {name}"
        function = getattr(function, part)
    for call in CALLS:
        if call.name == name and not call.is_open:
            assert takes(function, call), f"{call.place}: {name} does not take these arguments"


def documented(function: object) -> inspect.Signature:
    """Signature in the first line of a docstring, where Cython has put it."""
    found = re.match(r"(?:\w+\.)*\w+\((.*?)\)", (function.__doc__ or "").strip())
    assert found is not None, f"{function} does not say what it takes"
    parameters = re.sub(r"(?<=[(,])\s*(?:\w+\s+)+(?=\w+\b)", " ", f"({found[1]}").removeprefix("(")  # types in C
    made: dict[str, object] = {}
    exec(f"def function({parameters}): ...", made)
    return inspect.signature(made["function"])  # type: ignore[arg-type]


def takes(function: object, call: Call) -> bool:
    """Whether a function takes so many arguments, and these keywords."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        if hasattr(function, "nin"):  # a ufunc: its inputs, and the keywords that all of them have
            return call.positional <= function.nin + function.nout and set(call.keywords) <= {"dtype", "out", "casting"}
        signature = documented(function)
    try:
        signature.bind(*[None] * call.positional, **dict.fromkeys(call.keywords))
    except TypeError:
        return False
    return True


OF_CUPY = {
    "cupy": [
        *("get_default_memory_pool()", "get_default_pinned_memory_pool()", "is_available()"),
        *("empty(shape, dtype)", "asarray(array)", "asnumpy(array)"),
    ],
    "cupy.cuda": [
        *("Device(0)", "MemoryPool()", "PinnedMemory(size)", "PinnedMemoryPointer(memory, 0)"),
        *("Stream(non_blocking=True)", "using_allocator(allocator)", "runtime.memGetInfo()"),
        *("runtime.getDeviceProperties(0)", "runtime.driverGetVersion()", "runtime.getDeviceCount()"),
    ],
    "cupy.ndarray": ["set(self, array, stream)"],
    "cupy.cuda.MemoryPool": ["set_limit(self, size=size)", "malloc(self, size)", "free_all_blocks(self)"],
    "cupy.cuda.Stream": ["synchronize(self)", "__enter__(self)", "__exit__(self, *error)"],
}
"""Calls of CuPy's own functions in ``kernels/backend``: where a function is, and how it is called."""


def test_all_calls_of_cupy_are_listed():
    """By the dotted names in the source, beginning with the module or one of the objects that are made of it."""
    text = "".join(path.read_text() for path in sorted((PACKAGE / "kernels" / "backend").glob("*.py")))
    made = r"(?:cupy\(\)|_shared\.pool|self\.pool|self\._driver\.stream|on_device)"
    used = set(re.findall(made + r"\.((?:\w+\.)*\w+)", text))
    listed = {call.partition("(")[0] for calls in OF_CUPY.values() for call in calls}
    assert {name.removeprefix("cuda.") for name in used} <= listed
    assert {name for name in listed if not name.startswith("__")} <= {name.removeprefix("cuda.") for name in used}


@pytest.mark.parametrize(("place", "call"), [(place, call) for place, calls in OF_CUPY.items() for call in calls])
def test_cupy_and_the_simulated_one_take_what_the_lanes_give_them(place, call):
    made = ast.parse(call, mode="eval").body
    keywords = tuple(keyword.arg for keyword in made.keywords)
    named = Call(place, ast.unparse(made.func), len(made.args), keywords, False)
    _, *path = [*place.split("."), *named.name.split(".")]
    in_simulated = ["DeviceArray" if part == "ndarray" else part for part in path]
    for root, parts in ((importlib.import_module("cupy"), path), (cuda_simulation, in_simulated)):
        function = functools.reduce(getattr, parts, root)
        assert takes(function, named), f"{call} of {function}"


@pytest.mark.parametrize(
    ("name", "positional", "keywords", "expected"),
    [
        ("sum", 1, ("axis",), True),
        ("sum", 1, ("axes",), False),
        ("take", 2, ("axis",), True),
        ("matmul", 5, (), False),
        ("permute_dims", 4, (), False),
    ],
)
def test_wrong_calls_are_noticed(name, positional, keywords, expected):
    import array_api_compat.cupy as xp

    function = xp
    for part in name.split("."):
        function = getattr(function, part)
    assert takes(function, Call("", name, positional, keywords, False)) is expected
