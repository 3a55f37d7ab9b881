"""Verification: the error of a factorization measured against the matrix, streamed in full or on sampled rows."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .engine import choose_engine, parse_memory
from .errors import InputError, NonFiniteError
from .factorization import Factorization
from .kernels.hierarchy import left_rows, multiply_stack, part_left, part_right, right_rows
from .kernels.product_rows import product_row
from .layout import Axis
from .plan import Plan, Tile
from .planning import make_plan
from .progress import ProgressBar
from .sources import MatrixSource, as_source
from .tasks import Job, Record, VerifyTask, done_name
from .workspace import MemoryWorkspace

__all__ = ["VerifiedError", "verify"]

ROWS_AT_A_TIME = 64

ROW_BYTES = 1 << 25
"""Bytes of rows that are compared at a time: fewer than 64 of them where they are long (at least one)."""


class VerifiedError(float):
    """Relative Frobenius error of a factorization: a float that knows how it was found.

    Attributes
    ----------
    exact : bool
        Whether every entry was compared.
    deviation : float
        Standard deviation of the estimate, 0 where exact.
    samples : int or None
        Rows that were compared, None for all.
    """

    exact: bool
    deviation: float
    samples: int | None

    def __new__(cls, value: float, deviation: float = 0.0, samples: int | None = None) -> Self:
        """Make the float and attach how it was found."""
        self = super().__new__(cls, value)
        self.exact, self.deviation, self.samples = samples is None, deviation, samples
        return self

    def __str__(self) -> str:
        value = float(self)
        if self.exact:
            return f"{value:.6g} (exact)"
        return f"{value:.6g} +- {self.deviation:.2g} (estimated from {self.samples} rows)"


def verify(
    factorization: Factorization,
    source: Any,
    *,
    samples: int | None = None,
    seed: int = 0,
    client: Any = None,
    memory: int | str | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> VerifiedError:
    """Measure the relative Frobenius error ``||Z - product|| / ||Z||`` of a factorization.

    Parameters
    ----------
    factorization : Factorization
        What to verify.
    source : array_like, zarr.Array, path, ...
        The matrix Z, as for :func:`dbutterfly.factorize`.
    samples : int, optional
        Number of rows to compare, drawn at random without replacement; by default all of Z is read.
    seed : int
        Seed of the draw.
    client, memory, workers, progress
        As for :func:`dbutterfly.factorize`.

    Returns
    -------
    VerifiedError
        A float; ``.exact`` says whether all of Z was read, ``.deviation`` how uncertain an estimate is.

    Raises
    ------
    InputError
        If the matrix has another shape, holds NaN or infinities, or ``samples`` is not positive.
    """
    wrapped = as_source(source)
    if wrapped.shape != factorization.shape:
        raise InputError(f"source has shape {wrapped.shape} but the factorization is of a {factorization.shape} matrix")
    if samples is None and len(factorization.chain) > 1:
        return _streamed(factorization, wrapped, client, parse_memory(memory), workers, progress)
    rows = wrapped.shape[0]
    if samples is not None and samples < 1:
        raise InputError(f"samples={samples} is not positive; leave it out to compare all {rows} rows")
    count = rows if samples is None else min(samples, rows)
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:count]).astype(np.int64)
    return _estimate(*_row_energies(factorization, wrapped, chosen), rows, sampled=samples is not None)


def _streamed(
    factorization: Factorization,
    source: MatrixSource,
    client: Any,
    memory: int | None,
    workers: int | None,
    progress: bool,
) -> VerifiedError:
    engine = choose_engine(client, workers)
    planned = make_plan(
        source.info,
        factorization.chain,
        tree=factorization.tree,
        orderings=factorization.orderings,
        budget=engine.budget(memory),
    )
    job = Job(source, planned, _products(factorization, planned))
    fields = len(Record._fields)
    job.workspace.create(done_name("verify"), (len(planned.tiles), fields), (1, fields), np.float64)
    tasks = [(number, VerifyTask(tile)) for number, tile in enumerate(planned.tiles)]
    with ProgressBar(progress) as bar:
        bar.start("verify", len(tasks), 0)

        def on_done(number: int, record: Record) -> None:  # noqa: ARG001
            bar.advance(int(record.bytes_read))

        engine.run(job, tasks, on_done)
    errors = job.workspace.read("errors", (slice(None),))
    energy, residual = (math.fsum(errors[..., k].ravel()) for k in range(2))
    return VerifiedError(_ratio(residual, energy))


def _products(factorization: Factorization, planned: Plan) -> MemoryWorkspace:
    """Columns X and rows B of the root cut, in storage order: every block of the product is one of each."""
    assert planned.split is not None
    assert isinstance(planned.tree, tuple)
    p, u, q, v, rank = planned.split
    root = planned.layout.root
    _, left_chain, right_chain = planned.chain.cut(root)
    factors = [values[None] for values in factorization.ks_values]
    left = multiply_stack([part_left(f, u) for f in factors[:root]], left_chain, planned.tree[0])
    right = multiply_stack([part_right(f, q) for f in factors[root:]], right_chain, planned.tree[1])
    workspace, everything = MemoryWorkspace(), (slice(None),)
    for name, size, axis, values in (
        ("X", p, planned.rows, left_rows(left, rank)),
        ("B", v, planned.cols, right_rows(right, q, rank)[0].transpose(1, 0, 2, 3)),
    ):
        workspace.create(name, (u, q, rank, size), (u, q, rank, size), values.dtype)
        workspace.write(name, everything, _in_storage_order(values, planned, axis))
    workspace.create("errors", (u, q, 2), (u, q, 2), np.float64)
    return workspace


def _in_storage_order(values: NDArray[Any], planned: Plan, member_axis: Axis) -> NDArray[Any]:
    orders = {0: planned.rows.group_order, 1: planned.cols.group_order, 3: member_axis.member_order}
    for axis, order in orders.items():
        if order is not None:
            values = np.take(values, np.argsort(order), axis=axis)
    return values


def _row_energies(
    factorization: Factorization, source: MatrixSource, chosen: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared norms of the chosen rows of Z and of their residuals."""
    rows, cols = source.shape
    rest = np.setdiff1d(np.arange(rows, dtype=np.int64), chosen, assume_unique=True)
    row_axis = Axis(rows, rows, False, index=np.concatenate([chosen, rest]), edges=source.edges[0])
    col_axis = Axis(cols, 1, False, edges=source.edges[1])
    positions, order = factorization.orderings.permutations(factorization.chain)
    standard = chosen if positions is None else np.argsort(positions)[chosen]
    step = min(ROWS_AT_A_TIME, max(1, ROW_BYTES // (cols * np.dtype(source.info.work_dtype).itemsize)))
    energies, residuals = [], []
    for first in range(0, chosen.size, step):
        last = min(first + step, chosen.size)
        stored = source.read(row_axis, col_axis, Tile(first, last, 0, 1))[:, 0, 0, :]
        stored = stored.astype(source.info.work_dtype)
        bad = np.argwhere(~np.isfinite(stored))
        if bad.size:
            index = int(chosen[first + bad[0, 0]]), int(bad[0, 1])
            raise NonFiniteError(f"{source.name} holds a NaN or an infinity at index {index}", index)
        energies.append(np.sum(np.abs(stored) ** 2, axis=1, dtype=np.float64))
        stored = stored.astype(np.result_type(stored, factorization.dtype), copy=False)
        for row, position in zip(stored, standard[first:last], strict=True):
            row[slice(None) if order is None else order] -= product_row(
                factorization.ks_values, factorization.chain, int(position)
            )
        residuals.append(np.sum(np.abs(stored) ** 2, axis=1, dtype=np.float64))
    return np.concatenate(energies), np.concatenate(residuals)


def _estimate(
    energies: NDArray[np.float64], residuals: NDArray[np.float64], rows: int, *, sampled: bool
) -> VerifiedError:
    """Ratio estimate of the error, with its deviation by linearization (Cochran, Sampling Techniques, section 6.4)."""
    count = energies.size
    squared = _ratio(float(residuals.sum()), float(energies.sum())) ** 2
    if math.isinf(squared):
        return VerifiedError(math.inf, math.inf if sampled else 0.0, count if sampled else None)
    if not sampled or count == rows:
        return VerifiedError(math.sqrt(squared), 0.0, count if sampled else None)
    spread = float(np.var(residuals - squared * energies, ddof=1)) if count > 1 else math.inf
    mean = float(energies.mean())
    variance = (1 - count / rows) * spread / (count * mean**2) if mean else 0.0
    error = math.sqrt(squared)
    return VerifiedError(error, math.sqrt(variance) / (2 * error) if error else 0.0, count)


def _ratio(residual: float, energy: float) -> float:
    if energy == 0:
        return 0.0 if residual == 0 else math.inf
    return math.sqrt(residual / energy)
