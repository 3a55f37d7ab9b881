import json
import subprocess
import sys
from pathlib import Path

import pytest

from dbutterfly.planning.footprints import Footprint, tile_footprint
from dbutterfly.planning.sides import RootCut, tile_side
from dbutterfly.sources.info import SourceInfo
from dbutterfly.structure.axes import axes_of_cut
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import Orderings
from tests.support.patience import PATIENCE

MIB = 1 << 20
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process cannot be set back")
@pytest.mark.parametrize(
    ("kind", "side", "rank", "dtype", "allowed"),
    [
        ("tile", "bitreversal", 3, "float32", 1.0),
        ("tile", "index", 1, "float32", 1.0),
        ("tile", "weights", 1, "float32", 1.0),  # multiplied in place
        ("tile", "weights", 1, "float16", 1.0),  # multiplied into a copy
        ("left", None, 1, "float32", 1.0),
        # Arrays of up to 32 MiB come from glibc's heap, which keeps what is freed between others.
        ("right", "bitreversal", 3, "complex128", 1.35),
    ],
    ids=str,
)
def test_a_task_holds_what_was_predicted(kind, side, rank, dtype, allowed):
    """A task in a process of its own stays within its footprint, which is at most 2.2 times what was held."""
    command = [sys.executable, "-m", "tests.planning.task_peaks", kind, str(side), str(rank), dtype]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE)
    found = json.loads(told.stdout.splitlines()[-1])
    assert found["measured"] > 20 * MIB
    assert found["measured"] <= allowed * found["predicted"]
    assert found["predicted"] <= 2.2 * found["measured"]


def test_a_worker_that_reads_ahead_holds_two_tasks():
    footprint = Footprint(reading=5, computing=7)
    assert (footprint.peak(prefetch=True), footprint.peak(prefetch=False)) == (12, 7)


@pytest.mark.parametrize("per_tile", [1, 4, 16])
def test_tiles_that_are_copied_once_more_are_held_twice_while_they_are_read(per_tile):
    chain, peaks = Chain.square_dyadic(256), {}
    for again in (False, True):
        source = SourceInfo(shape=(256, 256), dtype="float32", work_dtype="float32", recopies_tiles=again)
        axes = axes_of_cut(chain, 4, Orderings(), source.edges)
        cut = RootCut(((0, (1, (2, 3))), (4, (5, (6, 7)))), chain.cut(4)[0], *axes, 1)
        peaks[again] = tile_footprint(source, cut, *(tile_side(axis, per_tile) for axis in axes))
    assert peaks[True].reading - peaks[False].reading == (16 * per_tile) ** 2 * 4
    assert peaks[True].computing == peaks[False].computing


@pytest.mark.parametrize("per_tile", [1, 4, 16])
def test_only_sources_that_copy_tiles_hold_them(per_tile):
    chain, item = Chain.square_dyadic(256), 4
    peaks = {}
    for copies in (False, True):
        source = SourceInfo(shape=(256, 256), dtype="float32", work_dtype="float32", copies_tiles=copies)
        axes = axes_of_cut(chain, 4, Orderings(), source.edges)
        cut = RootCut(((0, (1, (2, 3))), (4, (5, (6, 7)))), chain.cut(4)[0], *axes, 1)
        peaks[copies] = tile_footprint(source, cut, *(tile_side(axis, per_tile) for axis in axes))
    tile = (16 * per_tile) ** 2 * item
    assert peaks[True].reading - peaks[False].reading == tile
    assert peaks[True].computing - peaks[False].computing == tile
    assert peaks[False].reading == 0
