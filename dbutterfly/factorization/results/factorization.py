"""The result of a run: factors, certificate and record, in memory or in a Zarr store."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, StoreError
from ...operator.butterfly import ButterflyOperator
from ...operator.files import orderings_of
from ...sources.places_read import places_read
from ...storage.manifest import HIERARCHICAL, OPERATOR, STACK
from ...storage.places import is_store
from ...storage.run_store import RunStore
from ...storage.saving import save_factors
from ...structure.arguments import show_value
from ...structure.chain import Chain
from ...structure.orderings import Orderings
from ...structure.tree import Tree, split_tree
from ...structure.weights import Weights
from ..manifests import describe_factors, digest_weights
from ..workspace_arrays import count_ended
from .certificate import Certificate
from .trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Factorization", "load", "open_complete_run", "read_factorization"]


@dataclass(frozen=True, eq=False)
class Factorization:
    """Butterfly factors of a matrix, with the proof of how good they are.

    Attributes
    ----------
    ks_values : tuple of ndarray, shapes (a, b, c, d)
        Nonzeros of the factors, left to right, in the layout of ``lazylinop.butterfly``.
    chain : Chain
        Patterns of the factors.
    tree : nested tuple
        Where the chain was cut.
    orderings : Orderings
        ``Z[rows][:, cols]`` is approximated by the product of the factors. Where the chain is longer than the matrix,
        index arrays have -1 at positions to which nothing belongs.
    certificate : Certificate
        Error bound, lower bound and their ratio.
    record : dict
        What the run did: plan, seconds, bytes and tasks of each stage; ``errors_by_cut``, the J - 1 errors between
        neighbouring factors, relative to the norm of the matrix
        (:mod:`dbutterfly.factorization.results.cut_errors`).
    trace : Trace, optional
        When its tasks ran, and where in the matrix the error lies.
    weights : Weights, optional
        ``rows`` and ``cols``, the weights by which errors count, each a vector or None. Factors and operator
        approximate the matrix itself; the certificate, and errors in record and trace, are weighted.
    """

    ks_values: tuple[NDArray[Any], ...]
    chain: Chain
    tree: Tree
    orderings: Orderings
    certificate: Certificate
    record: dict[str, Any] = field(default_factory=dict)
    trace: Trace | None = None
    weights: Weights | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return self.orderings.shape(self.chain)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the factors."""
        return self.ks_values[0].dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all factors."""
        return sum(values.nbytes for values in self.ks_values)

    @property
    def compression(self) -> float:
        """Bytes of the dense matrix over those of the factors."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize / self.nbytes

    @cached_property
    def operator(self) -> ButterflyOperator:
        """The factors as a linear operator that approximates the matrix as it was given."""
        return ButterflyOperator(self.ks_values, self.orderings)

    __array_ufunc__ = None
    """NumPy leaves ``x @ fact`` to the factorization."""

    def __matmul__(self, x: Any) -> Any:
        """Multiply by the operator, as ``fact.operator @ x`` does."""
        return self.operator @ x

    def __rmatmul__(self, x: Any) -> Any:
        """Multiply from the left, as ``x @ fact.operator`` does."""
        return x @ self.operator

    def save(self, store: Any, *, overwrite: bool = False) -> None:
        """Write the factorization, to be read by :func:`dbutterfly.open`.

        Parameters
        ----------
        store : str, path, or Zarr store
            Where; anything that ``zarr.open_group`` takes.
        overwrite : bool
            Whether to replace a stored factorization, operator or run that is there. It stays until the new one is
            complete. Nothing else is replaced, and nothing in object storage.

        Raises
        ------
        StoreError
            If something is there that may not be replaced, or the place cannot be written.
        """
        manifest = describe_factors(self.chain, self.tree, self.orderings, self.dtype.name)
        manifest = replace(manifest, weights=digest_weights(self.weights))
        trace = None if self.trace is None else self.trace.to_arrays()
        save_factors(
            store,
            manifest,
            self.ks_values,
            self.orderings.sides,
            sources=places_read(self.ks_values),
            overwrite=overwrite,
            trace=trace,
            weights=None if self.weights is None else self.weights.sides,
            certificate=self.certificate.to_json(),
            record=self.record,
        )

    def prove(self, source: Any, *, ratio: float = 1.001, budget: float | None = None, **where: Any) -> Factorization:
        """Prove how near these factors are to the best product of their chain, as :func:`dbutterfly.prove` does.

        Parameters
        ----------
        source, ratio, budget, **where
            As for :func:`dbutterfly.prove`.

        Returns
        -------
        Factorization
            The same factors, with a better certificate.
        """
        from ..proof.prove import prove

        return prove(self, source, ratio=ratio, budget=budget, **where)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write a page that shows plan, certificate, stages, the work of every worker, and where the error lies.

        Parameters
        ----------
        path : str or path
            Place of the HTML file. It needs nothing else, neither files nor network. Another report that is there is
            replaced, and nothing else.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        from .report.page import page, write_page

        write_page(path, page(self))

    def plot(self, kind: str = "cuts", ax: Axes | None = None) -> Axes:
        """Draw where the error arises.

        Parameters
        ----------
        kind : {"cuts", "residuals"}
            The error of every cut of the chain beside the bounds of the certificate; or a map of the residuals of the
            blocks of the root cut, in the order of the storage, whose scale is the same for all runs.
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default on a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The drawing.

        Raises
        ------
        InputError
            If ``kind`` is unknown, there is no map, ``ax`` is no Axes, or matplotlib is not installed.
        """
        from .plots import plot_factorization

        return plot_factorization(self, kind, ax)

    def _repr_html_(self) -> str:
        """Show a verdict, the bounds and the factors in a notebook."""
        from .pictures import factorization_html

        return factorization_html(self)

    def __repr__(self) -> str:
        rows, cols = self.shape
        factors = f"{len(self.chain)} factors, {self.compression:.1f} times smaller"
        if len(self.chain) == 1:
            factors = "1 factor, which is the matrix itself"
        return f"<Factorization of a {rows} x {cols} {self.dtype.name} matrix: {factors}; {self.certificate}>"


def open_complete_run(store: Any) -> RunStore:
    """Open a run that has ended, of one matrix or of a stack.

    Raises
    ------
    StoreError
        If there is none, or its run has not ended yet.
    """
    run = RunStore.open(store)
    if run is None:
        raise StoreError(f"store={_show_place(store)} holds no dbutterfly factorization")
    if run.manifest.kind == OPERATOR:
        raise StoreError(
            f"store={_show_place(store)} holds an operator without a certificate; ButterflyOperator.load opens it"
        )
    if not run.is_complete:
        done = ", ".join(f"{ended} of {tasks} {stage}" for stage, (ended, tasks) in count_ended(run).items())
        raise StoreError(
            f"store={_show_place(store)} holds a run that has not ended ({done or 'nothing'} done); call factorize as "
            "before to resume it"
        )
    return run


def read_factorization(name: str, value: Any) -> Factorization:
    """Read a factorization, or open the one that is at a place.

    Raises
    ------
    InputError
        If it is neither.
    StoreError
        If the place holds none.
    """
    if isinstance(value, Factorization):
        return value
    if isinstance(value, (str, os.PathLike)) or is_store(value):
        run = open_complete_run(value)
        if run.manifest.kind == STACK:
            raise StoreError(
                f"{name}={_show_place(value)} holds a stack of matrices; pass one of them, as dbutterfly.open(...)[k]"
            )
        if run.manifest.kind == HIERARCHICAL:
            raise StoreError(
                f"{name}={_show_place(value)} holds a result in the hierarchical form, and this is for butterflies; "
                "dbutterfly.open opens it"
            )
        return load(run)
    raise InputError(
        f"{name}={show_value(value)} is a {type(value).__name__}; pass what factorize or dbutterfly.open returns, or "
        "the place of a run"
    )


def load(run: RunStore) -> Factorization:
    """Result of a complete run.

    Raises
    ------
    CheckpointError
        If a factor or an ordering is missing or damaged.
    StoreError
        If the manifest is not that of a factorization.
    """
    run.check_has("dtype", "chain", "tree", "certificate", "record")
    manifest = run.manifest
    assert manifest.certificate is not None
    assert manifest.record is not None
    chain, orderings = Chain(manifest.chain), orderings_of(run)
    rows, cols = orderings.shape(chain)
    weights = run.weights(rows=rows, cols=cols)
    return Factorization(
        tuple(run.factors()),
        chain,
        split_tree(len(chain), manifest.tree),
        orderings,
        Certificate.from_json(manifest.certificate),
        manifest.record,
        Trace.from_arrays(manifest.record.get("stages", ()), run.trace()),
        Weights(**weights) if weights else None,
    )


def _show_place(store: Any) -> str:
    return repr(os.fspath(store)) if isinstance(store, os.PathLike) else repr(store)
