import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from dbutterfly.kernels.backend import tile_memory

SHAPE = (1024, 512)


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_what_is_gone_serves_again(dtype):
    with tile_memory.keep():
        first = tile_memory.empty(SHAPE, dtype)
        assert (first.shape, first.dtype, first.flags.writeable) == (SHAPE, np.dtype(dtype), True)
        first[...] = 1
        place = address(first)
        del first
        again = tile_memory.empty(SHAPE, dtype)
        assert address(again) == place
        assert address(tile_memory.empty(SHAPE, dtype)) != place


def test_a_view_keeps_its_memory():
    with tile_memory.keep():
        view = tile_memory.empty(SHAPE, "f8").reshape(512, 1024)[3:, ::2].T
        view[...] = 7
        tile_memory.empty(SHAPE, "f8")[...] = 0
        assert (view == 7).all()


def test_less_fits_and_more_takes_its_place():
    with tile_memory.keep():
        place = address(tile_memory.empty(SHAPE, "f8"))
        assert address(tile_memory.empty(SHAPE, "f4")) == place
        larger = tile_memory.empty(SHAPE, "c16")
        assert larger.nbytes == 16 * 1024 * 512
        assert [block.nbytes for block in tile_memory._free] == []


def test_memory_goes_back_with_the_last_user():
    with tile_memory.keep():
        with tile_memory.keep():
            tile_memory.empty(SHAPE, "f8")
        assert len(tile_memory._free) == 1
        late = tile_memory.empty(SHAPE, "f8")
    assert tile_memory._free == []
    del late
    gc.collect()
    assert tile_memory._free == []


def test_small_arrays_and_arrays_without_users_are_ordinary():
    with tile_memory.keep():
        assert tile_memory.empty((4, 4), "f8").base is None
    assert tile_memory.empty(SHAPE, "f8").base is None


def test_threads_never_share_memory():
    mixed = []

    def fill(value):
        for _ in range(50):
            tile = tile_memory.empty(SHAPE, "f4")
            tile[...] = value
            if not (tile == value).all():
                mixed.append(value)
            del tile

    with tile_memory.keep():
        threads = [threading.Thread(target=fill, args=(value,)) for value in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(tile_memory._free) <= 4
    assert mixed == []


FAULTS = """
import contextlib, resource, sys
from dbutterfly.kernels.backend import tile_memory
if sys.argv[1] == "after":
    with tile_memory.keep():
        bytearray(1 << 22)
with tile_memory.keep() if sys.argv[1] == "kept" else contextlib.nullcontext():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        bytearray(1 << 22)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator of the GNU C library")
def test_freed_memory_stays_while_tasks_are_under_way():
    """In an environment as that of Dask's workers, before, during and after tasks: a page is cleared for each fault."""
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}

    def faults(how):
        command = [sys.executable, "-c", FAULTS, how]
        return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    plain = faults("plain")
    assert faults("kept") < plain / 5
    assert faults("after") > plain / 2
