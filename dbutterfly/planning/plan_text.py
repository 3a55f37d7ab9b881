"""A plan as text for people, and as plain numbers, strings and lists for machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ..structure.tree import format_tree
from .sizes import format_bytes

if TYPE_CHECKING:
    from .plan import Plan

__all__ = ["format_plan", "plan_lines", "plan_to_json", "summarize_plan"]


def format_plan(plan: Plan) -> str:
    """Show a plan, a line for each of its numbers."""
    return "\n".join(f"{name:<14}{text}" for name, text in plan_lines(plan))


def summarize_plan(plan: Plan) -> str:
    """Show a plan in one line: what is factorized into how much, what that reads, and what it holds."""
    (rows, cols), stored = plan.source.shape, plan.source.dtype
    return (
        f"<Plan for a {rows} x {cols} {stored} matrix: {len(plan.chain)} factors; {' '.join(_reading(plan))}; "
        f"{format_bytes(plan.peak_bytes)} per worker at its peak>"
    )


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain numbers, strings and lists."""
    return {
        "shape": list(plan.source.shape),
        "padded_shape": list(plan.chain.shape),
        "dtype": plan.source.dtype,
        "work_dtype": plan.source.work_dtype,
        "decoding": plan.source.decoding,
        "weights": plan.source.weights,
        "exponent": plan.source.exponent,
        "chain": [list(pattern) for pattern in plan.chain],
        "tree": format_tree(plan.tree),
        "orderings": plan.orderings.describe(),
        "passes": plan.passes,
        "split": None if plan.split is None else plan.split._asdict(),
        "ranks": list(plan.ranks),
        "tile_groups": [plan.layout.tile_rows, plan.layout.tile_cols],
        "prefetch": plan.layout.prefetch,
        "compiled": plan.layout.compiled,
        "copy": None if plan.copy is None else {"chunks": list(plan.copy.chunks), "bytes_read": plan.copy.bytes_read},
        "chunks": {"count": plan.source.chunk_count, "missing": plan.source.missing_chunks},
        "tasks": plan.tasks,
        "source_bytes": plan.source_bytes,
        "bytes_read": plan.bytes_read,
        "amplification": plan.amplification,
        "bytes_written": plan.bytes_written,
        "peak_bytes": plan.peak_bytes,
        "device_peak_bytes": plan.device_peak_bytes,
        "budget": asdict(plan.budget),
        "notes": list(plan.notes),
    }


def plan_lines(plan: Plan) -> Iterator[tuple[str, str]]:
    """Names and texts of the numbers of a plan."""
    (rows, cols), stored, work = plan.source.shape, plan.source.dtype, plan.source.work_dtype
    converted = "" if stored == work else f", computed in {work}"
    yield "matrix", f"{rows} x {cols} {stored}{converted}, {format_bytes(plan.source_bytes)}"
    if plan.chain.shape != plan.source.shape:
        longer = " x ".join(map(str, plan.chain.shape))
        yield "padded", f"to {longer} with rows and columns of zeros, which are neither read nor stored"
    if plan.source.decoding:
        yield "decoded", f"from {plan.source.decoding} (by its attributes; decode=False takes the numbers stored)"
    if plan.source.weights:
        yield "weighted", f"{plan.source.weights}; errors are those of the weighted matrix"
    if plan.source.exponent:
        yield "scaled", f"entries are divided by 2^{plan.source.exponent}, so that their squares stay in range"
    yield "orderings", plan.orderings.describe()
    yield (
        "chain",
        f"{len(plan.chain)} factors, {plan.chain.nnz} values, {format_bytes(plan.chain.nnz * plan.itemsize)}",
    )
    yield "tree", format_tree(plan.tree)
    if plan.split is not None:
        p, u, q, v, rank = plan.split
        kept = f", {plan.ranks[-1]} kept" if plan.ranks[-1] > rank else ""
        of_rank = f" of rank {rank}{kept}" if plan.ranks[-1] > 1 else ""
        yield "root cut", f"after factor {plan.layout.root}: {u} x {q} blocks of {p} x {v}{of_rank}"
        yield (
            "tile",
            f"{plan.layout.tile_rows} x {plan.layout.tile_cols} blocks, {format_bytes(_tile_bytes(plan))}",
        )
    yield "tasks", ", ".join(f"{count} {stage}" for stage, count in plan.tasks.items())
    yield _reading(plan)
    if plan.source.steps is not None:
        yield "computes", plan.source.steps
    yield "writes", format_bytes(plan.bytes_written)
    budget = f"{format_bytes(plan.budget.memory)} allowed, {plan.budget.workers} at a time"
    ahead = "the next task read ahead" if plan.layout.prefetch else "nothing read ahead"
    yield "memory", f"{format_bytes(plan.peak_bytes)} per worker at its peak, {ahead} ({budget})"
    if plan.budget.device_memory is not None:
        allowed = format_bytes(plan.budget.device_memory)
        yield "device", f"{format_bytes(plan.device_peak_bytes)} of its memory at the peak ({allowed} allowed)"
    yield "time", f"{plan.seconds(1e9):.1f} s if 1 GB/s are read"
    for note in plan.notes:
        yield "note", note


def _reading(plan: Plan) -> tuple[str, str]:
    """What is done to the matrix, and how much of it."""
    if plan.source.probed:
        return "multiplies", f"{plan.amplification * min(plan.source.shape):.0f} vectors"
    if plan.source.sampled:
        return "evaluates", f"{format_bytes(plan.bytes_read)} of entries, {plan.amplification:.3%} of the matrix"
    passes = f" in {plan.passes} passes" if plan.passes > 1 else ""
    copied = "" if plan.copy is None else f", {format_bytes(plan.copy.bytes_read)} of it for a copy in another order"
    return "reads", f"{format_bytes(plan.bytes_read)}{passes}{copied}, amplification {plan.amplification:.2f}"


def _tile_bytes(plan: Plan) -> int:
    assert plan.split is not None
    blocks = min(plan.layout.tile_rows, plan.split.u) * min(plan.layout.tile_cols, plan.split.q)
    return blocks * plan.split.p * plan.split.v * np.dtype(plan.source.dtype).itemsize
