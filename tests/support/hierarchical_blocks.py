"""Blocks of a hierarchical matrix, made of a dense one: truncated singular values away from the diagonal."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dbutterfly as dbf
from dbutterfly.operator.block_factors import BlockFactors
from dbutterfly.structure.block_tree import Block, ClusterTree, cluster_trees, divide, is_admissible
from dbutterfly.structure.points import Points


def divided(rows: ClusterTree, cols: ClusterTree, eta: float = 2.0, *, is_half: bool = False) -> Iterator[Block]:
    """Blocks of a matrix: admissible ones, and leaves. With ``is_half``, none above the diagonal."""
    waiting = [Block(0, 0, 0, 0)]
    while waiting:
        block = waiting.pop()
        (first, _), (other, _) = rows.span(block.row_level, block.row), cols.span(block.col_level, block.col)
        if is_half and other > first:
            continue
        parts = [] if is_admissible(rows, cols, block, eta) else list(divide(rows, cols, block))
        if parts:
            waiting.extend(parts[::-1])
        else:
            yield block


def make_blocks(
    matrix: NDArray[Any], points: Points, *, leaf: int = 16, tol: float = 1e-6, is_half: bool = False
) -> tuple[list[BlockFactors], ClusterTree, ClusterTree]:
    """Blocks of a matrix: of low rank where clusters are far apart and that has fewer values, else dense."""
    rows, cols = cluster_trees(matrix.shape, leaf, points)
    ordered = matrix[np.ix_(*(np.arange(t.size) if t.order is None else t.order for t in (rows, cols)))]
    found = []
    for block in divided(rows, cols, is_half=is_half):
        spans = rows.span(block.row_level, block.row), cols.span(block.col_level, block.col)
        part = ordered[slice(*spans[0]), slice(*spans[1])]
        found.append(BlockFactors(*spans, tuple(_factors_of(part, tol))))
    return found, rows, cols


def _factors_of(part: NDArray[Any], tol: float) -> list[NDArray[Any]]:
    u, s, vh = np.linalg.svd(part, full_matrices=False)
    rank = int(np.count_nonzero(s > tol * s[0])) if s[0] else 0
    if rank * sum(part.shape) >= part.size:
        return [part[None, :, :, None]]
    pair = u[:, :rank], (s[:rank, None] * vh[:rank]).astype(part.dtype)
    return [values[None, :, :, None] for values in pair] if rank else []


@functools.cache
def _points(is_square: bool) -> Points:
    rng = np.random.default_rng(0)
    x = rng.random((200, 2))
    return Points(x, x if is_square else np.concatenate([x[:80], rng.random((90, 2))]))


def make_kernel(
    dtype: str, symmetry: str, *, decay: float = 2.0, is_square: bool | None = None
) -> tuple[NDArray[Any], Points]:
    """A covariance of random points in the plane: of one set, or of two that overlap where there is no symmetry.

    Complex ones have a phase: as a wave, or one that keeps the matrix Hermitian and positive definite.
    """
    points = _points(symmetry != "none" if is_square is None else is_square)
    between = points.rows[:, None] - points.cols[None]
    distances = np.linalg.norm(between, axis=-1)
    matrix = np.exp(-decay * distances).astype(np.result_type(np.float64, dtype))
    if matrix.dtype.kind == "c":
        matrix *= np.exp(1j * (distances if symmetry == "symmetric" else between[..., 0]))
    return matrix.astype(dtype), points


def make_operator(
    dtype: str, symmetry: str, *, decay: float = 2.0, is_square: bool | None = None
) -> tuple[dbf.HierarchicalOperator, NDArray[Any]]:
    """Operator of such a matrix, and the matrix."""
    matrix, points = make_kernel(dtype, symmetry, decay=decay, is_square=is_square)
    tol = 1e-7 if np.finfo(matrix.dtype).eps > 1e-10 else 1e-11
    blocks, rows, cols = make_blocks(matrix, points, tol=tol, is_half=symmetry != "none")
    return dbf.HierarchicalOperator(blocks, matrix.shape, dtype, rows.order, cols.order, symmetry), matrix


def make_factorization(
    dtype: str = "float64", symmetry: str = "symmetric", tol: float = 1e-4, record: dict[str, Any] | None = None
) -> tuple[dbf.HierarchicalFactorization, NDArray[Any]]:
    """A result in the hierarchical form, as a run leaves one, and its matrix."""
    matrix, points = make_kernel(dtype, symmetry)
    blocks, rows, cols = make_blocks(matrix, points, tol=tol, is_half=symmetry != "none")
    shuffled = matrix[np.ix_(*(np.arange(t.size) if t.order is None else t.order for t in (rows, cols)))]
    table = np.zeros((len(blocks), 4))
    for number, block in enumerate(blocks):
        part = shuffled[slice(*block.rows), slice(*block.cols)]
        product = functools.reduce(np.matmul, (values[0, :, :, 0] for values in block.ks_values or (part * 0,)))
        error = float(np.linalg.norm(part - product) ** 2) if block.kind != "dense" else 0.0
        table[number] = float(np.linalg.norm(part)) ** 2, error, 0.9 * error, 0.0
    twice = [2 if symmetry != "none" and block.rows != block.cols else 1 for block in blocks]
    energy, error, lower, _ = np.array(twice) @ table
    norm = float(np.sqrt(energy))
    certificate = dbf.Certificate(
        float(np.sqrt(error)) / norm, float(np.sqrt(lower)) / norm, True, norm, form="hierarchical"
    )
    found = dbf.HierarchicalFactorization(
        tuple(blocks), matrix.shape, matrix.dtype, rows.order, cols.order, symmetry, certificate, table, record or {}
    )
    return found, matrix
