"""What a prompt shows of each public object: a few lines, never a page of numbers."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np

import dbutterfly as dbf
from dbutterfly.factorization.results.trace import Trace
from dbutterfly.identification.result import Trees
from dbutterfly.structure.chain import Cut
from dbutterfly.structure.tree import split_tree
from tests.support.hierarchical_blocks import make_factorization
from tests.support.html_pages import assert_needs_nothing_else

N = 4096
MOST_LINES = 12
MOST_LETTERS = 400


def hilbert(shift, rows, cols):
    return 1.0 / (rows[:, None] + cols + 1 + shift[0])


def public_objects() -> list[Any]:
    """One object of each public class, most of them for a matrix of 4096 rows and columns."""
    chain, tree = dbf.Chain.square_dyadic(N), split_tree(12)
    shuffled = np.random.default_rng(0).permutation(N)
    cuts = tuple(chain.cut(position)[0] for position in range(1, 12))
    found = dbf.IdentifiedOrderings(
        shuffled, shuffled, found=True, confidence=0.9, levels=tuple(range(1, 12)), residuals=np.full(11, 0.1),
        floors=np.full(11, 0.1), trees=Trees.of(shuffled, shuffled, cuts), method="portfolio",
    )  # fmt: skip
    certificate = dbf.Certificate(0.125, 0.1, False, 64.0, guarantee=4.08)
    factors = tuple(np.ones(pattern) for pattern in chain)
    stack = dbf.factorize(np.ones((3, 64, 64)))
    trace = Trace(("tiles",), np.ones((4000, 10)), np.ones((64, 64)))
    return [
        chain,
        chain.patterns[0],
        found,
        dbf.Orderings(shuffled, "bitreversal"),
        dbf.Points(np.ones((N, 2)), np.ones(N)),
        dbf.Factorization(factors, chain, tree, dbf.Orderings(shuffled), certificate, {}, trace),
        make_factorization()[0],
        stack,
        stack.operator,
        dbf.verify(stack, np.ones((3, 64, 64))),
        dbf.plan(np.ones((3, 64, 64))),
        dbf.plan(np.broadcast_to(np.float32(1), (N, N)), form="hierarchical", memory="256 MiB"),
        certificate,
        dbf.VerifiedError(0.125, 0.01, 64),
        dbf.ButterflyOperator(factors, found),
        dbf.HierarchicalOperator([], (N, N), "float64", shuffled, shuffled),
        dbf.StreamedProduct((N, 1 << 20), np.dtype("float32"), 512, 2048, 1 << 40),
        dbf.entries(functools.partial(hilbert, np.arange(N)), (N, N), "float64"),
        dbf.advise(np.broadcast_to(np.float32(1), (N, N))),
        dbf.plan(np.broadcast_to(np.float32(1), (N, N)), orderings=found, memory="256 MiB"),
        dbf.matrices.noisy(dbf.matrices.gaussian_butterfly(N), 0.1),
        *(dbf.clusters.choose(kind) for kind in ("threads", "local", "slurm", "kubernetes", "tcp://10.0.0.1:8786")),
    ]


def test_every_public_object_is_shown_in_few_lines():
    objects = public_objects()
    classes = {value for value in map(functools.partial(getattr, dbf), dbf.__all__) if inspect.isclass(value)}
    assert {value.__name__ for value in classes if not any(isinstance(each, value) for each in objects)} == set()
    plan, found, fact = (
        next(o for o in objects if type(o).__name__ == name)
        for name in ("Plan", "IdentifiedOrderings", "Factorization")
    )
    inner = [plan.source, plan.rows, plan.cols, plan.layout, plan.split, found.trees, fact.trace]
    assert isinstance(plan.split, Cut)
    for value in objects + inner:
        shown = repr(value)
        assert len(shown.splitlines()) <= MOST_LINES, shown
        assert len(shown) <= MOST_LETTERS, shown
    assert len(str(plan).splitlines()) <= MOST_LINES, "which IPython shows"


def test_what_a_notebook_shows_needs_nothing_else():
    """No page about it gives it styles or names, and its lines take the colour of the texts about them."""
    shown = {type(each).__name__: each._repr_html_() for each in public_objects() if hasattr(each, "_repr_html_")}
    assert {
        "Advice",
        "Plan",
        "Certificate",
        "Chain",
        "Factorization",
        "Orderings",
        "IdentifiedOrderings",
    } <= shown.keys()
    for text in shown.values():
        seen = assert_needs_nothing_else(text)
        assert seen.tags.isdisjoint({"style", "html", "body"})
        assert seen.names.isdisjoint({"class", "id"})
        assert "currentColor" in text
        assert len(text) < 40_000


def test_representations_say_what_they_are_of():
    permuted = dbf.Orderings(np.arange(9)[::-1], "bitreversal")
    assert repr(permuted) == "Orderings(rows=<9 indices>, cols='bitreversal')"
    assert repr(dbf.Orderings([1, 0])) == "Orderings(rows=[1, 0], cols=None)"
    assert repr(dbf.VerifiedError(0.25, 0.01, 8)) == "<VerifiedError 0.25 +- 0.01 (estimated from 8 rows)>"
    plan = dbf.plan(np.zeros((64, 64), "float32"), passes=2)
    assert repr(plan).startswith(
        "<Plan for a 64 x 64 float32 matrix: 6 factors; reads 32.00 KiB in 2 passes, amplification 1.00; "
    )
    found = dbf.IdentifiedOrderings(np.arange(4), np.arange(2), found=True, method="portfolio", attempts=3)
    assert repr(found).startswith("<IdentifiedOrderings of 4 rows and 2 cols: found by method portfolio in ")
