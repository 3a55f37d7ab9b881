import itertools
import json
import math
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dbutterfly.errors import ChainError, InputError, MemoryBudgetError
from dbutterfly.planning import copies, footprints
from dbutterfly.planning.budget import Budget
from dbutterfly.planning.footprints import GROUP_COPIES, GROUP_READING
from dbutterfly.planning.predicted_time import DEVICES, Device, device_named
from dbutterfly.planning.search import make_plan
from dbutterfly.planning.sizes import format_bytes
from dbutterfly.sources.info import SourceInfo
from dbutterfly.structure.axes import Axis, Tile
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import Orderings
from dbutterfly.structure.tree import tree_leaves

GIB = 1 << 30
WORK = {"float32": "float32", "complex128": "complex128", "int16": "float64", "float16": "float32"}


def chunk_edges(length, chunk):
    return np.append(np.arange(0, length, chunk), length).astype(np.int64)


def stored(shape, chunks=None, dtype="float32", **kwargs):
    """Describe a matrix in chunks, or one in memory."""
    if chunks is None:
        return SourceInfo(shape=shape, dtype=dtype, work_dtype=WORK.get(dtype, dtype), **kwargs)
    edges = tuple(chunk_edges(size, chunk) for size, chunk in zip(shape, chunks, strict=True))
    decode = 2 * math.prod(chunks) * np.dtype(dtype).itemsize
    return SourceInfo(
        shape=shape,
        dtype=dtype,
        work_dtype=WORK.get(dtype, dtype),
        edges=edges,
        copies_tiles=True,
        decode_bytes=decode,
    )


def planned(source, chain=None, *, memory=GIB, workers=1, **kwargs):
    return make_plan(source, chain, budget=Budget(memory, workers), **kwargs)


def chunks_of(edges, positions):
    return np.unique(np.searchsorted(edges, positions, side="right") - 1)


def touched(axis, first, last):
    """Positions of one side in the chunks that a range of groups wants, one by one."""
    if axis.edges is None:
        return axis.positions(first, last).size
    return int(np.diff(axis.edges)[chunks_of(axis.edges, axis.positions(first, last))].sum())


@st.composite
def jobs(draw):
    """Arguments of ``make_plan`` except the budget."""
    radices = st.lists(st.sampled_from([2, 2, 3, 4, 5]), min_size=1, max_size=4)
    shape = math.prod(draw(radices)), math.prod(draw(radices))
    chain = Chain.chainable(shape)
    kind = draw(st.sampled_from(["chunked", "memory", "entries"]))
    dtype = draw(st.sampled_from(sorted(WORK)))
    chunks = tuple(draw(st.integers(1, size + 3)) for size in shape) if kind == "chunked" else None
    source = stored(shape, chunks, dtype, **({"copies_tiles": True} if kind == "entries" else {}))
    sides = [draw(st.sampled_from([None, "bitreversal", "index"])) for _ in shape]
    orderings = Orderings(
        *(
            np.random.default_rng(0).permutation(n) if side == "index" else side
            for side, n in zip(sides, shape, strict=True)
        )
    )
    tree = draw(st.sampled_from(["balanced", "left", "right"]))
    return source, chain, {"orderings": orderings, "tree": tree, "passes": draw(st.sampled_from([1, 2]))}


# ---------------------------------------------------------------- invariants


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(jobs(), st.integers(1, 8), st.sampled_from([1 << 23, 1 << 24, 1 << 28]))
def test_tiles_and_groups_cover_everything_once(job, workers, memory):
    source, chain, kwargs = job
    plan = planned(source, chain, memory=memory, workers=workers, **kwargs)
    if plan.split is None:
        assert plan.tiles == [Tile(0, 1, 0, 1)]
        assert (plan.left_ranges, plan.right_ranges) == ([], [])
        return
    p, u, q, v, rank = plan.split
    assert rank == 1
    assert (p * u, q * v) == source.shape
    covered = np.zeros((u, q), int)
    for r0, r1, c0, c1 in plan.tiles:
        assert 0 < r1 - r0 <= plan.layout.tile_rows
        assert 0 < c1 - c0 <= plan.layout.tile_cols
        covered[r0:r1, c0:c1] += 1
    assert (covered == 1).all()
    for ranges, groups, per_task, per_tile in (
        (plan.left_ranges, u, plan.layout.left_groups, plan.layout.tile_rows),
        (plan.right_ranges, q, plan.layout.right_groups, plan.layout.tile_cols),
    ):
        assert [k for first, last in ranges for k in range(first, last)] == list(range(groups))
        assert per_task % per_tile == 0 or per_tile % per_task == 0
    assert plan.layout.root == len(tree_leaves(plan.tree[0]))
    assert tree_leaves(plan.tree) == list(range(len(chain)))


@settings(deadline=None, max_examples=150)
@given(jobs(), st.integers(1, 4))
def test_bytes_read_are_those_of_the_chunks_touched(job, workers):
    source, chain, kwargs = job
    plan = planned(source, chain, workers=workers, **kwargs)
    itemsize = np.dtype(source.dtype).itemsize
    assert plan.source_bytes == math.prod(source.shape) * itemsize
    if plan.split is None:
        assert plan.bytes_read == plan.source_bytes
        return
    read = sum(
        touched(plan.rows, tile.r0, tile.r1) * touched(plan.cols, tile.c0, tile.c1) * itemsize for tile in plan.tiles
    )
    assert plan.bytes_read == kwargs["passes"] * read
    assert plan.amplification == pytest.approx(read / plan.source_bytes)
    assert plan.amplification >= 1


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(jobs(), st.integers(1, 8), st.integers(0, 1 << 26))
def test_peak_is_within_the_budget_or_the_least_budget_is_named(job, workers, memory):
    source, chain, kwargs = job
    try:
        plan = planned(source, chain, memory=memory, workers=workers, **kwargs)
    except MemoryBudgetError as error:
        least = int(re.search(r"the least that works is memory=(\d+) \(", str(error))[1])
        assert least > memory
        assert planned(source, chain, memory=least, workers=workers, **kwargs).peak_bytes == least
        with pytest.raises(MemoryBudgetError, match=f"the least that works is memory={least} "):
            planned(source, chain, memory=least - 1, workers=workers, **kwargs)
    else:
        assert 0 < plan.peak_bytes <= memory


@pytest.mark.parametrize("tree", ["left", "right"])
def test_peak_of_a_comb_is_that_of_its_large_groups(tree):
    """Peeling off a single factor leaves groups of half the side squared, which no tiling makes smaller."""
    plan = planned(stored((8192, 8192)), tree=tree)
    assert plan.peak_bytes == (GROUP_COPIES + GROUP_READING) * 4096 * 4096 * 4
    least = GROUP_COPIES * 4096 * 4096 * 4
    by_turns = planned(stored((8192, 8192)), tree=tree, memory=plan.peak_bytes - 1)
    assert (by_turns.peak_bytes, by_turns.layout.prefetch, plan.layout.prefetch) == (least, False, True)
    with pytest.raises(MemoryBudgetError, match=f"the least that works is memory={least} "):
        planned(stored((8192, 8192)), tree=tree, memory=least - 1)


@settings(deadline=None, max_examples=50)
@given(jobs(), st.integers(1, 8))
def test_plan_becomes_plain_json_and_text(job, workers):
    source, chain, kwargs = job
    plan = planned(source, chain, workers=workers, **kwargs)
    assert json.loads(json.dumps(plan.to_json())) == plan.to_json()
    text = str(plan)
    assert f"{source.shape[0]} x {source.shape[1]} {source.dtype}" in text
    assert all(f"{count} {stage}" in text for stage, count in plan.tasks.items())


@settings(deadline=None, max_examples=50)
@given(jobs(), st.integers(1, 4), st.integers(1, 4))
def test_layout_of_an_earlier_plan_is_taken_over(job, before, after):
    """A run is continued with the same tasks, whatever the workers now are."""
    source, chain, kwargs = job
    first = planned(source, chain, workers=before, **kwargs)
    if first.split is not None:
        second = planned(source, chain, workers=after, layout=first.layout, **kwargs)
        assert second.layout == first.layout
        assert second.tree == first.tree
        assert second.tiles == first.tiles


# ---------------------------------------------------------------- copying in another order


@st.composite
def plans_with_copies(draw):
    """Plans of matrices with both sides scattered, such that a copy is worth its while; and the matrix."""
    radices = st.lists(st.sampled_from([2, 3, 4, 5]), min_size=1, max_size=4)
    shape = math.prod(draw(radices)), math.prod(draw(radices))
    source = stored(shape, tuple(draw(st.integers(1, size + 3)) for size in shape), draw(st.sampled_from(sorted(WORK))))
    job = {
        "orderings": Orderings(*(np.random.default_rng(0).permutation(size) for size in shape)),
        "tree": draw(st.sampled_from(["balanced", "left", "right"])),
        "passes": draw(st.sampled_from([1, 2])),
        "can_copy": True,
    }
    settled = {"memory": draw(st.sampled_from([3 << 21, 1 << 23, 1 << 28])), "workers": draw(st.integers(1, 4))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "WRITE_COST", -100.0)
        patch.setattr(copies, "COPY_WIDTH", draw(st.sampled_from([1, 8, 1024])))
        patch.setattr(copies, "COPY_STRIP", draw(st.sampled_from([64, 1 << 12, 1 << 26])))
        patch.setattr(footprints, "STACK_BYTES", 1 << 10)
        try:
            plan = planned(source, Chain.chainable(shape), **job, **settled)
        except MemoryBudgetError:
            assume(False)
        assume(plan.copy is not None)
        assert planned(source, plan.chain, layout=plan.layout, **job, **settled).panels == plan.panels
    return source, plan


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(plans_with_copies())
def test_panels_cover_the_matrix_once_and_write_whole_chunks(found):
    source, plan = found
    copy, itemsize = plan.copy, np.dtype(source.dtype).itemsize
    stored_, written, read = np.zeros(source.shape, int), np.zeros(source.shape, int), 0
    grid = [math.ceil(size / chunk) for size, chunk in zip(source.shape, copy.chunks, strict=True)]
    writers = np.zeros(grid, int)
    for r0, r1, c0, c1 in plan.panels:
        stored_[np.ix_(copy.rows.positions(r0, r1), copy.cols.positions(c0, c1))] += 1
        read += touched(copy.rows, r0, r1) * touched(copy.cols, c0, c1) * itemsize
        span, chunks = [], []
        for first, last, axis, size, chunk in zip(
            (r0, c0), (r1, c1), (copy.rows, copy.cols), source.shape, copy.chunks, strict=True
        ):
            start, stop = first * axis.members, last * axis.members
            assert start % chunk == 0
            assert stop % chunk == 0 or stop == size
            span.append(slice(start, stop))
            chunks.append(slice(start // chunk, math.ceil(stop / chunk)))
        written[tuple(span)] += 1
        writers[tuple(chunks)] += 1
    assert (stored_ == 1).all()
    assert (written == 1).all()
    assert (writers == 1).all()
    assert read == copy.bytes_read


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(plans_with_copies())
def test_tiles_of_a_copy_cover_it_once_and_are_read_as_they_were_written(found):
    source, plan = found
    itemsize, read = np.dtype(plan.source.work_dtype).itemsize, 0
    for axis, size, chunk in zip((plan.rows, plan.cols), source.shape, plan.copy.chunks, strict=True):
        assert axis.edges.tolist() == [*range(0, size, chunk), size]
    covered = np.zeros(source.shape, int)
    for r0, r1, c0, c1 in plan.tiles:
        covered[np.ix_(plan.rows.positions(r0, r1), plan.cols.positions(c0, c1))] += 1
        read += touched(plan.rows, r0, r1) * touched(plan.cols, c0, c1) * itemsize
    assert (covered == 1).all()
    assert plan.tile_bytes_read == plan.passes * read
    assert plan.bytes_read == plan.tile_bytes_read + plan.copy.bytes_read
    assert plan.peak_bytes <= plan.budget.memory
    for per_task, per_tile in (
        (plan.layout.left_groups, plan.layout.tile_rows),
        (plan.layout.right_groups, plan.layout.tile_cols),
    ):
        assert per_task % per_tile == 0 or per_tile % per_task == 0


# ---------------------------------------------------------------- reading every chunk once


@pytest.mark.parametrize("workers", [1, 16])
@pytest.mark.parametrize("n", [16384, 65536])
@pytest.mark.parametrize("rows", [None, "bitreversal"])
def test_square_chunks_are_read_once(n, rows, workers):
    plan = planned(stored((n, n), (1024, 1024)), orderings=Orderings(rows), workers=workers)
    assert plan.amplification == 1
    assert plan.bytes_read == 4 * n * n
    assert "amplification 1.00" in str(plan)
    assert len(plan.tiles) >= workers


@pytest.mark.parametrize("n", [16384, 65536])
@pytest.mark.parametrize("chunks", [(64, None), (16, None), (8, 16384)], ids=str)
def test_slabs_of_the_fourier_transform_are_read_once(n, chunks):
    chunks = tuple(n if side is None else side for side in chunks)
    plan = planned(stored((n, n), chunks, "complex64"), orderings=Orderings(None, "bitreversal"), memory=4 * GIB)
    assert plan.rows.strided
    assert plan.cols.strided
    assert plan.amplification == 1


def test_array_in_memory_is_read_once_whatever_the_ordering():
    shuffled = np.random.default_rng(0).permutation(1024)
    for side in (None, "bitreversal", shuffled):
        assert planned(stored((1024, 1024)), orderings=Orderings(side, side)).amplification == 1


def test_second_pass_reads_again():
    source = stored((4096, 4096), (256, 256))
    one, two = (planned(source, passes=passes) for passes in (1, 2))
    assert two.bytes_read == 2 * one.bytes_read
    assert two.amplification == one.amplification == 1
    assert one.bytes_written < two.bytes_written
    assert list(one.tasks) == ["tiles", "left", "right"]
    assert list(two.tasks) == ["tiles", "left", "project", "right"]
    assert two.tasks["project"] == two.tasks["tiles"]


def test_root_cut_follows_the_chunks():
    """A tile of whole slabs holds 64 row groups of all columns, so in a small budget the groups must be small."""
    source = stored((16384, 16384), (64, 16384))
    middle, moved = planned(source, memory=GIB), planned(source, memory=GIB >> 2)
    assert moved.amplification == middle.amplification == 1
    assert moved.layout.root < middle.layout.root
    assert planned(stored((16384, 16384))).layout.root == 7


def test_given_tree_is_kept():
    chain = Chain.square_dyadic(16)
    tree = ((0, (1, 2)), 3)
    plan = planned(stored((16, 16), (4, 4)), chain, tree=tree)
    assert plan.tree == tree
    assert plan.tree_is_given
    assert not planned(stored((16, 16), (4, 4)), chain).tree_is_given
    assert planned(stored((16, 16)), chain, tree="left").tree == (0, (1, (2, 3)))


def test_more_workers_get_more_tasks():
    source = stored((32768, 32768), (64, 64))
    counts = [len(planned(source, workers=workers).tiles) for workers in (1, 8, 64)]
    assert all(count >= 4 * workers for count, workers in zip(counts, (1, 8, 64), strict=True))
    groups = [planned(source, workers=workers).tasks["left"] for workers in (1, 8, 64)]
    assert all(count >= workers for count, workers in zip(groups, (1, 8, 64), strict=True))


def test_less_memory_gives_smaller_tiles():
    source = stored((65536, 65536), (256, 256))
    peaks = [planned(source, memory=memory).peak_bytes for memory in (GIB, GIB >> 3, GIB >> 5)]
    assert all(peak <= memory for peak, memory in zip(peaks, (GIB, GIB >> 3, GIB >> 5), strict=True))


@pytest.mark.parametrize("orderings", [(None, None), ("bitreversal", "bitreversal"), ("index", "index")], ids=str)
def test_number_of_choices_grows_slowly(monkeypatch, orderings):
    """Planning a large matrix weighs some thousand tilings, and walks each side once for each of its own."""
    costs = []
    tiling_cost = Axis.tiling_cost

    def counted(axis, per_tile):
        costs.append(axis.length)
        return tiling_cost(axis, per_tile)

    monkeypatch.setattr(Axis, "tiling_cost", counted)
    n = 131072
    index = np.random.default_rng(0).permutation(n)
    sides = (index if side == "index" else side for side in orderings)
    plan = planned(stored((n, n), (1024, 1024)), orderings=Orderings(*sides), memory=16 * GIB)
    assert len(costs) <= 2 * 17 * 2 * 18
    assert len(plan.tiles) <= 4096**2


# ---------------------------------------------------------------- text and numbers


def test_printed_plan():
    text = str(planned(stored((4096, 4096), (512, 512), "int16"), workers=3, passes=2))
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert list(lines) == [
        "matrix", "orderings", "chain", "tree", "root", "tile", "tasks", "reads", "writes", "memory", "time", "note",
    ]  # fmt: skip
    assert lines["matrix"] == "4096 x 4096 int16, computed in float64, 32.00 MiB"
    assert lines["orderings"] == "rows standard, columns standard"
    assert lines["chain"] == "12 factors, 98304 values, 768.00 KiB"
    assert re.fullmatch(r"cut +after factor \d+: \d+ x \d+ blocks of \d+ x \d+", lines["root"])
    assert re.fullmatch(r"\d+ x \d+ blocks, [\d.]+ [KM]iB", lines["tile"])
    assert re.fullmatch(r"\d+ tiles, \d+ left, \d+ project, \d+ right", lines["tasks"])
    assert lines["reads"] == "64.00 MiB in 2 passes, amplification 1.00"
    assert re.fullmatch(r"[\d.]+ [KM]iB", lines["writes"])
    peak = r"[\d.]+ MiB per worker at its peak, the next task read ahead"
    assert re.fullmatch(rf"{peak} \(1.00 GiB allowed, 3 at a time\)", lines["memory"])
    assert re.fullmatch(r"\d+\.\d s if 1 GB/s are read", lines["time"])
    assert lines["note"] == "entries are stored as int16 and taken as float64"


def test_plan_of_a_single_factor():
    plan = planned(stored((7, 13), (2, 5)))
    assert plan.split is None
    assert plan.tasks == {"tiles": 1}
    assert plan.bytes_read == plan.bytes_written == 7 * 13 * 4
    assert plan.passes == 1
    assert plan.layout.root == 0
    assert plan.to_json()["split"] is None
    assert "a chain of one pattern: its factor is the matrix itself" in str(plan)
    assert "root cut" not in str(plan)


def test_seconds_are_those_of_the_slower_of_reading_and_arithmetic():
    plan = planned(stored((16384, 16384), (1024, 1024)), workers=2)
    assert plan.seconds(1e6) == pytest.approx(plan.bytes_read / 1e6, rel=0.05)
    fast = plan.seconds(1e15)
    assert fast == pytest.approx(plan.seconds(1e14), rel=1e-2)
    assert 0 < fast < plan.seconds(1e9)
    assert planned(stored((16384, 16384), (1024, 1024)), workers=1).seconds(1e15) > fast


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1.5 * 2**20, "1.50 MiB"), (3 << 30, "3.00 GiB"),
     (5 << 40, "5.00 TiB"), (7 << 50, "7168.00 TiB")],
)  # fmt: skip
def test_format_bytes(count, text):
    assert format_bytes(count) == text


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("passes", [0, 3, None, 1.5])
def test_passes(passes):
    with pytest.raises(InputError, match=f"passes={passes!r} is not possible; use 1, or 2"):
        planned(stored((16, 16)), passes=passes)


def test_chain_of_another_shape():
    with pytest.raises(
        ChainError, match=r"chain has shape 8 x 8 but the matrix is 8 x 12; the nearest chain that fits is Chain"
    ) as info:
        planned(stored((8, 12)), Chain.square_dyadic(8))
    suggested = eval(str(info.value).split("that fits is ")[1], {"Chain": Chain})
    assert planned(stored((8, 12)), suggested).chain == suggested


@pytest.mark.parametrize(
    "patterns", [[(2, 2, 2, 2), (4, 2, 2, 1)], [(1, 2, 2, 4), (2, 2, 2, 2)], [(1, 2, 2, 4), (4, 2, 2, 1)]], ids=str
)
def test_chain_that_is_not_dense(patterns):
    with pytest.raises(ChainError, match=r"does not multiply to a full matrix; .* such as Chain\(\[\(1, 2, 2, 4\)"):
        planned(stored((8, 8)), Chain(patterns))


def test_a_higher_rank_holds_and_writes_more():
    one, three = (planned(stored((64, 64)), Chain.chainable((64, 64), rank=rank)) for rank in (1, 3))
    assert "of rank 3" in str(three)
    assert "of rank" not in str(one)
    assert three.ranks == (3,)
    assert three.peak_bytes > one.peak_bytes
    assert three.bytes_written > 2 * one.bytes_written


@pytest.mark.parametrize("tree", ["random", ((0, 1), 2), (0, 1), 3.5], ids=str)
def test_tree_that_does_not_fit(tree):
    with pytest.raises(ChainError, match="tree"):
        planned(stored((16, 16)), tree=tree)


@pytest.mark.parametrize("shape", [(16, 16), (7, 13)], ids=str)
def test_orderings_that_are_no_permutation(shape):
    for side in (np.arange(5), np.zeros(shape[0], int), np.arange(1, shape[0] + 1)):
        with pytest.raises(InputError, match=f"rows is not a permutation of 0 .. {shape[0] - 1}"):
            planned(stored(shape), orderings=Orderings(side))


def test_budget_too_small_is_also_a_memory_error():
    for shape in ((16, 16), (7, 13)):
        with pytest.raises(
            MemoryError, match=r"memory=100 B is too small for a \d+ x \d+ float32 matrix .* per worker"
        ):
            planned(stored(shape, (4, 4)), memory=100)


def test_every_tree_of_a_matrix_is_planned_alike():
    """All root cuts describe the same matrix: what they read of an array in memory is the matrix."""
    source, chain = stored((64, 64)), Chain.square_dyadic(64)
    for tree, passes in itertools.product(["balanced", "left", "right", ((0, 1), (2, (3, (4, 5))))], (1, 2)):
        assert planned(source, chain, tree=tree, passes=passes).bytes_read == passes * 64 * 64 * 4


def test_times_of_the_stages_follow_reading_workers_and_arithmetic():
    source = stored((65536, 65536), (1024, 1024))
    one, four = (planned(source, workers=workers, memory=GIB).stage_seconds(1e12) for workers in (1, 4))
    assert list(one) == ["tiles", "left", "right"]
    assert all(3.5 * four[stage] < one[stage] <= 4.2 * four[stage] for stage in one)
    slow = planned(source, workers=4, memory=GIB)
    assert slow.stage_seconds(1e8)["tiles"] == pytest.approx(slow.tile_bytes_read / 1e8, rel=0.02)
    ahead, by_turns = (planned(source, workers=1, memory=memory) for memory in (GIB, 400 << 20))
    assert (ahead.layout.prefetch, by_turns.layout.prefetch) == (True, False)
    assert by_turns.stage_seconds(1e9)["tiles"] > 1.5 * ahead.stage_seconds(1e9)["tiles"]


def test_a_device_takes_what_its_memory_and_the_copies_take():
    source = stored((65536, 65536), (1024, 1024))
    plan = planned(source, workers=1, memory=GIB)
    core, fast, slow = (plan.stage_seconds(1e12, device) for device in (None, DEVICES["h100"], DEVICES["l4"]))
    assert all(fast[stage] < slow[stage] for stage in core)
    assert fast["left"] < core["left"] / 20
    copies = Device("copies only", 1e12, 1e18, 1e9)
    _, u, q, v, rank = plan.split
    copying = plan.stage_seconds(1e12, copies)
    assert copying["right"] > v * rank * u * q * 4 / 1e9
    kernels = Device("kernels only", 1e12, 1e9, 1e18)
    both = plan.stage_seconds(1e12, Device("both", 1e12, 1e9, 1e9))["right"]
    assert plan.layout.prefetch
    assert both == pytest.approx(max(copying["right"], plan.stage_seconds(1e12, kernels)["right"]))
    assert plan.seconds(1e12, copies) == sum(plan.stage_seconds(1e12, copies).values())
    with pytest.raises(InputError, match=r"device='tpu' is not known; use one of l4, a100, h100, h200"):
        device_named("tpu")


def test_a_side_that_cannot_be_divided_is_made_longer():
    """The plan says so; a side that can be divided stays as it is."""
    plan = make_plan(SourceInfo(shape=(61, 64), dtype="float64", work_dtype="float64"), None, budget=Budget(1 << 30))
    assert "padded        to 64 x 64 with rows and columns of zeros, which are neither read nor stored" in str(plan)
    assert plan.source_bytes == plan.bytes_read == 61 * 64 * 8
    big = SourceInfo(shape=(1000003, 1 << 20), dtype="float64", work_dtype="float64")
    assert len(make_plan(big, None, budget=Budget(8 << 30)).chain) > 10
    assert "padded" not in str(planned(stored((64, 64), (16, 16))))


@pytest.mark.parametrize(("shape", "chunks"), [((1009, 61), (128, 61)), ((509, 509), (64, 128))])
def test_gaps_cost_no_reads(shape, chunks):
    """Where tiles take whole chunks, each is read once; the bytes are those of the entries that there are."""
    plan = planned(stored(shape, chunks), memory=1 << 30)
    assert plan.chain.shape != shape
    assert plan.bytes_read == plan.source_bytes == math.prod(shape) * 4


def test_the_least_memory_that_reads_twice_is_named_too():
    source = stored((2048, 2048), (256, 256))
    with pytest.raises(MemoryBudgetError) as caught:
        planned(source, memory=1000)
    least, twice = map(int, re.findall(r"(?:works is memory=|with )(\d+) ", str(caught.value)))
    assert planned(source, memory=least).amplification > 2
    assert planned(source, memory=twice).amplification <= 2
    assert planned(source, memory=twice - 1).amplification > 2
