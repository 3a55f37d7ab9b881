import importlib
import pickle
import re
import sys

import array_api_strict
import numpy as np
import pytest

from dbutterfly.errors import InputError, how_to_install
from dbutterfly.kernels.backend import (
    BACKENDS,
    Backend,
    any_true,
    cuda,
    is_complex,
    namespace,
    resolve_backend,
    true_places,
)


@pytest.fixture
def no_cupy(monkeypatch):
    monkeypatch.setattr(cuda, "is_installed", lambda **_: False)


@pytest.mark.parametrize(("files", "is_cupy"), [((), False), (("__init__.py",), True)])
def test_a_folder_of_its_name_beside_a_program_is_not_cupy(files, is_cupy, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    (tmp_path / "cupy").mkdir()
    for file in files:
        (tmp_path / "cupy" / file).touch()
    assert cuda.is_installed() is is_cupy


def test_cupy_that_a_running_program_installs_is_found_where_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(cuda, "cupy", lambda: pytest.fail("found"))
    if cuda.is_installed():
        pytest.skip("CuPy is installed")
    (tmp_path / "cupy").mkdir()
    (tmp_path / "cupy" / "__init__.py").touch()
    importlib.invalidate_caches()  # the time of a folder may be too coarse to tell
    with pytest.raises(pytest.fail.Exception, match="found"):
        resolve_backend("cupy")


def test_numpy_copies_nothing():
    array = np.ones(3)
    found = resolve_backend("numpy")
    assert found.name == "numpy"
    assert found.to_device(array) is array
    assert found.to_host(array) is array
    assert found.to_host(np.float64(2.0)).shape == ()


def test_auto_without_cupy_is_numpy(no_cupy):
    assert resolve_backend() == resolve_backend("numpy")


def test_cupy_must_be_installed(no_cupy):
    with pytest.raises(InputError, match=re.escape(f"needs CuPy; install it with: {how_to_install('gpu')}")):
        resolve_backend("cupy")


def test_cupy_needs_a_device(device, monkeypatch):
    monkeypatch.setattr(device, "is_available", lambda: False)
    with pytest.raises(InputError, match='finds no CUDA device in this process; use backend="numpy"'):
        resolve_backend("cupy")
    assert resolve_backend("auto").name == "numpy"


def test_auto_takes_the_device(device):
    found = resolve_backend()
    assert found == resolve_backend("cupy")
    assert found.name == "cupy"
    assert found.stack_bytes > resolve_backend("numpy").stack_bytes
    assert resolve_backend("numpy").name == "numpy"


def test_arrays_go_to_the_device_and_come_back(device):
    array = np.arange(4.0)
    found = resolve_backend("cupy")
    there = found.to_device(array)
    assert there.device == device.DEVICE
    np.testing.assert_array_equal(found.to_host(there), array)


@pytest.mark.parametrize("name", ["torch", "", "NumPy", None])
def test_unknown_backend(name):
    with pytest.raises(InputError, match=r"backend=.* is unknown; use one of \('auto', 'numpy', 'cupy'\)"):
        resolve_backend(name)
    assert name not in BACKENDS


def test_backend_is_a_value():
    found = resolve_backend("numpy")
    assert pickle.loads(pickle.dumps(found)) == found == Backend("numpy", found.stack_bytes)
    with pytest.raises(AttributeError, match="cannot assign"):
        found.name = "cupy"


def test_namespace_is_that_of_the_array(xp):
    found = namespace(xp.asarray([1.0]))
    assert found is namespace(xp.asarray([[2]]))
    assert found is (np if xp.name == "numpy" else array_api_strict)


@pytest.mark.parametrize("stranger", [[1.0], "text"], ids=str)
def test_namespace_of_no_array(stranger):
    with pytest.raises(TypeError, match="not a supported array type"):
        namespace(stranger)


@pytest.mark.parametrize(
    ("name", "expected"), [("float32", False), ("complex64", True), ("int8", False), ("bool", False)]
)
def test_is_complex(xp, name, expected):
    array = xp.asarray(np.zeros(2, name))
    assert is_complex(namespace(array), array.dtype) is expected


@pytest.mark.parametrize("values", [[False, False], [False, True], []])
def test_any_true(xp, values):
    assert any_true(xp.asarray(np.asarray(values, bool))) is any(values)


@pytest.mark.parametrize("values", [[False, False], [True, False, True], []])
def test_true_places(xp, values):
    found = xp.to_numpy(true_places(xp.asarray(np.asarray(values, bool))))
    assert found.tolist() == [place for place, value in enumerate(values) if value]
