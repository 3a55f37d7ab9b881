"""No kernel makes the host wait for a device unseen: every one of them on arrays without data.

PyTorch's ``meta`` device knows shapes and dtypes and holds no entries, so that whatever asks for a value raises there:
``float(x)``, ``if x > 0``, ``.item()``, NumPy functions, shapes that depend on data. On CUDA each of these would make
the host wait until the device has caught up, silently. Kernels ask in three ways only, and these are counted here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dbutterfly import kernels
from dbutterfly.kernels import backend
from dbutterfly.kernels.products.few_columns import FewColumns
from tests.support.kernel_calls import ANSWERS, CALLS, Call, Place

torch = pytest.importorskip("torch", reason="needs PyTorch, for arrays without data: pip install torch")

DTYPES = ["float32", "float64", "complex64", "complex128"]

NO_KERNELS = {
    "backend": "the array namespace itself, the device, and the ways in which a kernel may wait; no arithmetic",
    "products.choose": "chooses between modules; takes no array",
    "compilation": "says when kernels are compiled; takes no array",
    "compiler": "how Numba compiles; takes no array",
    "low_rank.compiled": "calls the compiled loops, for NumPy's arrays only",
    "low_rank.jit": "compiled by Numba, for NumPy's arrays only",
    "factors.jit": "compiled by Numba, for NumPy's arrays only",
    "products.jit": "compiled by Numba, for NumPy's arrays only",
    "low_rank.skeletons.compiled": "calls the compiled loop, for NumPy's arrays only",
    "low_rank.skeletons.jit": "compiled by Numba, for NumPy's arrays only",
    "products.few_columns.are_few_bytes": "a choice by sizes; takes no array",
    "low_rank.sketch.fixed_sketch": "makes an array of NumPy; takes none",
    "low_rank.truncated.rank_within": "takes singular values on the host",
}

WAITING = [
    (module, way)
    for module in {sys.modules[call.kernel.__module__] for call in CALLS}
    for way in ("any_true", "true_places", "host_array")
    if hasattr(module, way)
]
"""Names by which kernels know the ways to wait."""


@dataclass
class Host:
    """What a kernel learns from a device that has nothing to tell, and how often it has waited for it.

    Attributes
    ----------
    answer : str
        Which entries of a mask are true, one of ``ANSWERS``. Numbers are one.
    """

    answer: str
    waits: int = 0

    def any_true(self, mask: Any) -> bool:
        self._waited_for(mask)
        return self.answer != "none"

    def true_places(self, mask: Any) -> Any:
        self._waited_for(mask)
        (size,) = mask.shape
        count = {"none": 0, "ends": min(2, size), "all": size}[self.answer]
        return torch.zeros(count, dtype=torch.int64, device="meta")

    def host_array(self, array: Any) -> Any:
        self._waited_for(array)
        if array.dtype is not torch.bool:
            return np.ones(array.shape)
        flags = np.full(array.shape, self.answer == "all")
        flags[[0, -1]] |= self.answer == "ends"
        return flags

    def _waited_for(self, array: Any) -> None:
        assert array.device.type == "meta"
        self.waits += 1


def on_meta_device(
    call: Call, answer: str, monkeypatch: pytest.MonkeyPatch, dtype: str = "float32", many: int = 1
) -> tuple[Any, int]:
    """Result of a call, and how often the host waited."""
    host = Host(answer)
    with monkeypatch.context() as patch:
        for module, way in WAITING:
            patch.setattr(module, way, getattr(host, way))
        found = call(Place(torch, lambda array: torch.asarray(array, device="meta"), dtype, many))
    return found, host.waits


def described(found: Any) -> Any:
    """Shapes and dtypes of a result."""
    if isinstance(found, (np.ndarray, np.generic)):
        return tuple(found.shape), str(found.dtype)
    if isinstance(found, torch.Tensor):
        assert found.device.type == "meta"
        return tuple(found.shape), str(found.dtype).removeprefix("torch.")
    if isinstance(found, (list, tuple)):
        return [described(part) for part in found]
    if isinstance(found, FewColumns):  # made of NumPy's arrays alone, beside what any others get
        return type(None)
    return type(found)


PREFIX = f"{kernels.__name__}."

MODULES = {info.name.removeprefix(PREFIX) for info in pkgutil.walk_packages(kernels.__path__, PREFIX) if not info.ispkg}


def is_excepted(name: str) -> bool:
    """Whether a module, or a function of one, is listed in ``NO_KERNELS``, itself or with the package that it is in."""
    parts = name.split(".")
    return any(".".join(parts[:length]) in NO_KERNELS for length in range(1, len(parts) + 1))


def public_functions() -> set[str]:
    """Public functions of the kernels, as ``package.module.name``."""
    found = set()
    for name in MODULES:
        if is_excepted(name):
            continue
        module = importlib.import_module(f"{PREFIX}{name}")
        public = {public: getattr(module, public) for public in module.__all__}
        found |= {f"{name}.{key}" for key, value in public.items() if callable(value) and not inspect.isclass(value)}
    return found


def test_every_kernel_is_called():
    called = {f"{call.kernel.__module__.removeprefix(PREFIX)}.{call.kernel.__name__}" for call in CALLS}
    public = public_functions()
    assert called == {name for name in public if not is_excepted(name)}
    for excepted in NO_KERNELS:
        assert excepted in public or any(f"{module}.".startswith(f"{excepted}.") for module in MODULES), excepted


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_no_value_is_asked_for_and_shapes_and_dtypes_are_those_of_numpy(call, dtype, monkeypatch):
    expected = described(call(Place(np, lambda array: array, dtype)))
    for answer in ANSWERS:
        found, waits = on_meta_device(call, answer, monkeypatch, dtype)
        assert described(found) == expected, f"where {answer} of what a mask has is true"
        if waits == 0:  # it asks nothing, whatever the answer
            break


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_waits_do_not_grow_with_the_work(call, monkeypatch):
    for answer in ANSWERS:
        few, many = (on_meta_device(call, answer, monkeypatch, many=many)[1] for many in (1, 3))
        if answer == "none":
            assert few == call.waits
        if few == many == 0:
            break
        if answer in call.by_stack:
            assert few < many <= 3 * few
        else:
            assert many == few, f"where {answer} of what a mask has is true"


@pytest.mark.parametrize(
    "hidden",
    [
        lambda x: float(x[0]),
        lambda x: bool(x[0] > 0),
        lambda x: x[0].item(),
        lambda x: x.tolist(),
        lambda x: np.asarray(x),
        lambda x: x[x > 0],
        lambda x: torch.nonzero(x),
        lambda x: backend.any_true(x > 0),
        lambda x: backend.true_places(x > 0),
        lambda x: backend.host_array(x),
    ],
)
def test_a_wait_is_noticed(hidden):
    with pytest.raises((RuntimeError, TypeError), match=r"meta"):
        hidden(torch.ones(3, device="meta"))
