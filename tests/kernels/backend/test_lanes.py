"""Lanes over a simulated device: copies are late, memory is counted, and nothing is brought over in silence."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest

from dbutterfly.errors import MemoryBudgetError
from dbutterfly.kernels.backend import HOST, cuda, resolve_backend, tile_memory

MIB = 1 << 20


def on_host(device, array):
    return device.asnumpy(array)


ARRAYS = {
    "as it lies": np.arange(24.0).reshape(2, 3, 4),
    "axes in another order": np.arange(24, dtype="complex64").reshape(2, 3, 4).transpose(2, 0, 1),
    "part of another": np.arange(24, dtype="float32").reshape(4, 6)[1:, ::2],
    "backwards": np.arange(6)[::-1],
    "the same entries": np.broadcast_to(np.float32(3), (4, 5)),
    "bytes of another machine": np.arange(4, dtype=">f8"),
    "nothing": np.empty((0, 3), "float32"),
    "a number": np.array(2.5),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_uploaded_arrays_are_what_they_were(device, kind):
    array, backend = ARRAYS[kind], resolve_backend("cupy")
    with backend.lane(1) as lane:
        lane.upload([array])
        found = lane.call(lambda: backend.to_device(array))
        assert found is lane.call(lambda: backend.to_device(array))
        assert found.shape == array.shape
        copied = lane.call(lambda: backend.to_host(found))
        np.testing.assert_array_equal(copied, array)
        assert copied.dtype == array.dtype.newbyteorder("=")


def test_only_uploaded_arrays_are_there_and_in_their_lane_alone(device):
    array, backend = np.ones(3), resolve_backend("cupy")
    with backend.lane(1) as lane, backend.lane(1) as other:
        lane.upload([array])
        assert lane.call(lambda: cuda.find_uploaded(array)) is not None
        assert lane.call(lambda: cuda.find_uploaded(array.copy())) is None
        assert other.call(lambda: cuda.find_uploaded(array)) is None
        assert cuda.find_uploaded(array) is None
        lane.release()
        assert lane.call(lambda: cuda.find_uploaded(array)) is None


def test_copies_are_made_in_the_lane_and_not_before(device):
    array, backend = np.ones(3), resolve_backend("cupy")
    with backend.lane(1) as lane:
        lane.upload([array])
        assert np.isnan(device.asnumpy(lane.copy_of(array))).all()
        assert lane.call(lambda: (device.asnumpy(cuda.find_uploaded(array)) == 1).all())


def test_kernels_run_in_threads_that_stay(device):
    """The handles of CUDA's libraries are those of a thread, and to give them up makes the device wait."""
    backend, threads = resolve_backend("cupy"), set()

    def task():
        with backend.lane(1) as lane:
            lane.upload([np.ones(3)])
            threads.add(lane.call(threading.current_thread))

    for _ in range(3):
        short = threading.Thread(target=task)
        short.start()
        short.join()
    (thread,) = threads
    assert thread.is_alive()


def test_what_is_copied_is_held_until_it_is_there(device):
    with tile_memory.keep(), resolve_backend("cupy").lane(1) as lane:
        array = tile_memory.empty((MIB,), np.uint8)
        array[...] = 7
        lane.upload([array])
        at = array.ctypes.data
        del array
        other = tile_memory.empty((MIB,), np.uint8)
        assert other.ctypes.data != at
        lane.release()
        assert tile_memory.empty((MIB,), np.uint8).ctypes.data == at


def test_lanes_share_streams_and_a_pool_that_is_empty_in_the_end(device):
    backend = resolve_backend("cupy")
    for _ in range(3):
        with backend.lane(1) as lane, backend.lane(1):
            lane.upload([np.ones(4)])
    assert len(device.Stream.made) == 2
    (pool,) = device.MemoryPool.made
    assert (pool.held, pool.peak, pool.given_back) == (0, 32, 3)


def test_the_pool_has_the_limit_of_all_tasks_at_a_time(device):
    assert resolve_backend("cupy").device_memory == int(0.8 * device.FREE)
    backend = resolve_backend("cupy", device_memory=MIB)
    with backend.lane(3) as lane:
        (pool,) = device.MemoryPool.made
        assert pool.limit == 3 * MIB
        lane.upload([np.ones(MIB // 8), np.ones(MIB // 8)])
        with pytest.raises(
            MemoryBudgetError, match=r"no room: Out of memory .*; 3145728 bytes are allowed .* smaller device"
        ):
            lane.upload([np.ones(MIB // 4)])
    assert pool.held == 0


def test_what_the_pool_keeps_for_other_streams_makes_room(device):
    with resolve_backend("cupy", device_memory=MIB).lane(1) as lane:
        for _ in range(3):
            lane.upload([np.ones(MIB // 12)])
            lane.release()
        (pool,) = device.MemoryPool.made
        assert pool.peak == MIB // 12 * 8
        assert pool.given_back >= 1


def test_the_limit_is_that_of_the_largest_job_and_never_more_than_the_device(device):
    large, small = (resolve_backend("cupy", device_memory=size * MIB) for size in (8, 1))
    with large.lane(1), small.lane(1):
        (pool,) = device.MemoryPool.made
        assert pool.limit == 8 * MIB
    with small.lane(1):
        assert pool.limit == MIB
    with large.lane(1000):
        assert pool.limit == int(0.8 * device.FREE)


def test_a_failed_task_holds_nothing_of_the_device(device):
    backend, array = resolve_backend("cupy"), np.ones(MIB)

    def fails():
        there = backend.to_device(array)
        raise ValueError(f"of {there.shape}")

    with backend.lane(1) as lane:
        lane.upload([array])
        with pytest.raises(ValueError, match="of") as error:
            lane.call(fails)
    assert error.value.__traceback__ is not None
    assert device.MemoryPool.made[0].held == 0


def test_a_host_without_memory_is_not_the_device(device):
    def asks():
        raise MemoryError("the host")

    with resolve_backend("cupy").lane(1) as lane, pytest.raises(MemoryError, match="the host"):
        lane.call(asks)


def test_the_size_of_stacks_goes_with_the_memory(device):
    sizes = [resolve_backend("cupy", device_memory=size << 20).stack_bytes >> 20 for size in (8, 1 << 10, 1 << 17)]
    assert sizes == [1, 16, 256]


def test_a_lane_that_fails_lets_go(device):
    with pytest.raises(AttributeError, match="ndim"), resolve_backend("cupy").lane(1) as lane:
        lane.upload([np.ones(4), None])
    assert cuda.find_uploaded(np.ones(4)) is None
    assert device.MemoryPool.made[0].held == 0
    with resolve_backend("cupy").lane(1):
        assert len(device.Stream.made) == 1


def test_tiles_lie_in_pinned_memory(device, caplog, monkeypatch):
    backend = resolve_backend("cupy")
    with tile_memory.keep(backend.host_memory):
        tile_memory.empty((2 * MIB,), np.uint8)
        tile_memory.empty((MIB,), np.uint8)  # there still
    assert device.PinnedMemory.made == [2 * MIB]
    monkeypatch.setattr(device._Cuda, "PinnedMemory", None)
    with caplog.at_level(logging.WARNING, "dbutterfly"):
        assert cuda.allocate_pinned(MIB).nbytes == MIB
    assert "no pinned memory for 1048576 bytes" in caplog.text


def test_the_host_has_no_lane():
    backend = resolve_backend("numpy")
    assert backend.lane(1) is HOST
    assert backend.host_memory is None
    array = np.ones(3)
    with backend.lane(1) as lane:
        lane.upload([array])
        assert lane.call(lambda: backend.to_device(array)) is array
        lane.release()
