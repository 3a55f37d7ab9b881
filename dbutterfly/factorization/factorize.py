"""The main job: source, plan and engine give a certified factorization."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..execution.arguments import read_arguments
from ..execution.choose import check_backend, choose_engine
from ..execution.clusters import on_cluster
from ..execution.engine import Engine
from ..identification.result import IdentifiedOrderings
from ..sources.base import MatrixSource
from ..sources.places_read import places_read
from ..sources.stacks.base import StackSource
from ..sources.stacks.dispatch import open_matrices
from ..sources.stacks.weighted import weigh_stack
from ..sources.weighted import rescale, weigh
from ..storage.destinations import check_apart
from .advice.check_fit import check_fit as look_before
from .advice.choose import choose_orderings, read_orderings_or_auto
from .confirmation import confirm_result
from .hierarchical.factorize import factorize_hierarchical
from .hierarchical.form import HIERARCHICAL, check_form, choose_form
from .proof.prove import complete_proof
from .request import Request
from .results.factorization import Factorization
from .results.hierarchical import HierarchicalFactorization
from .results.stacked import StackedFactorization
from .resume import check_store, open_run, open_store, scale_as_stored
from .run import complete_run
from .stacked.factorize import factorize_stack
from .unknown_orderings import find_orderings

__all__ = ["factorize"]


@read_arguments(orderings=read_orderings_or_auto)
@on_cluster
def factorize(
    source: Any,
    chain: Any = None,
    *,
    tree: Any = "balanced",
    rank: int = 1,
    tol: float | None = None,
    passes: int = 1,
    orderings: Any = None,
    points: Any = None,
    weights: Any = None,
    store: Any = None,
    client: Any = None,
    cluster: Any = None,
    memory: int | str | None = None,
    device_memory: int | str | None = None,
    workers: int | None = None,
    backend: str = "auto",
    missing: str = "fill",
    decode: bool = True,
    resume: bool = True,
    progress: bool = False,
    sweeps: int | str = 0,
    prove: bool = False,
    confirm: str | None = None,
    check_fit: bool | None = None,
    shared: bool | None = None,
    form: str | None = None,
    eta: float | None = None,
    leaf: int | None = None,
    symmetric: bool = False,
) -> Factorization | StackedFactorization | HierarchicalFactorization:
    """Factorize a matrix, or each matrix of a stack, into Kronecker-sparse factors, with a certificate.

    Parameters
    ----------
    source : array_like, memmap, zarr.Array, dask.array.Array, Entries, LinearOperator, sparse matrix, str or path
        Matrix Z of shape (M, N): anything in memory, a Zarr array or its path or URL, a ``.npy`` file. float32,
        float64, complex64 and complex128 stay what they are; integers and booleans are taken as float64. Sampled entry
        functions and operators are not looked at in full, and their certificate is an estimate. Of a stack, several
        matrices: an array of shape (K, M, N), a list of any of these, a Zarr group of two-dimensional arrays, or a
        ``.safetensors`` file.
    chain : Chain, list of patterns, lazylinop chain, or name, optional
        Patterns of the factors; by default (``"chainable"``) ``Chain.chainable((M, N), rank, balanced=rank > 1)``, for
        rank one and a power of two ``Chain.square_dyadic(N)``. Other names are ``"dyadic"``, ``"monarch"`` and
        ``"monarch:p,q"``, of :meth:`Chain.monarch`.
    tree : {"balanced", "left", "right"} or nested pairs
        Where the chain is cut (see :func:`dbutterfly.structure.tree.split_tree`).
    rank : int
        Rank of the default chain: that of the blocks of every cut. A chain that is given has its own ranks.
    tol : float, optional
        Relative Frobenius error to reach, in place of chain and rank: the chain with the fewest values that seems to
        reach it is taken, judged by some blocks of the matrix, which are read beforehand. Where the certificate does
        not confirm it, the rank is raised and the run continued with what the tiles have given; if that is not enough
        either, the matrix is read again for a higher rank. A ToleranceWarning says if it is not reached in the end.
    passes : {1, 2}
        Times that Z is read. The second read fits the right factors to Z itself and makes the certificate exact.
    orderings : None, Orderings, pair (rows, cols), "auto", or "identify"
        Orderings that bring Z to the standard order of the chain: each None, ``"bitreversal"``, an index array, or
        ``"identify"`` to find it (:func:`dbutterfly.identify`, which says how it went; the certificate is that of the
        orderings found, and an OrderingsWarning says if they were not). With a tolerance, they are looked for at ranks
        one and 4. ``"auto"`` takes those of None, ``"bitreversal"`` and the points that fit some blocks best
        (:func:`dbutterfly.advise`). The discrete Fourier transform needs ``(None, "bitreversal")``.
    points : Points or pair (rows, cols), optional
        Coordinates of the points to which rows and columns belong, shapes (M, d) and (N, d), in place of the orderings
        of these sides: the groups of the chain are parts of space then (:meth:`dbutterfly.Orderings.from_points`). With
        a tolerance, each chain that is tried has orderings of its own.
    weights : pair (rows, cols), optional
        Positive numbers for the rows, shape (M,), and for the columns, shape (N,), by which errors count, such as
        quadrature weights or inverse noise levels; None for a side that has none. With both as diagonal matrices D1 and
        D2, the product X of the factors is fitted, and certified, in the norm of ``D1 (Z - X) D2`` relative to
        ``D1 Z D2``. Factors and operator are those of X. The matrices of a stack share them.
    store : str, path, or Zarr store, optional
        Where the run keeps its progress and its result: a path, or a URL such as ``s3://bucket/run``. A run that was
        cut off, by whatever, is resumed by the same call. Without a store, everything is held in memory.
    client : distributed.Client, optional
        Dask cluster to run on; by default threads of this process.
    cluster : str or Kind, optional
        In place of a client: ``"threads"``, ``"local"``, ``"slurm"``, ``"pbs"``, ``"sge"``, ``"lsf"``, ``"kubernetes"``
        or ``"cuda"``, a cluster that is started for this call, when its first task is there, and closed after it; or
        the address of a scheduler that runs, such as ``"tcp://10.0.0.1:8786"``. Options come from Dask's configuration,
        or with :func:`dbutterfly.clusters.choose`.
    memory : int or str, optional
        Bytes that a worker may hold at its peak beyond what it holds idle, such as ``"2 GiB"``: its task and the one
        that it reads ahead. By default a share of what is free, or 55 % of a Dask worker's limit.
    device_memory : int or str, optional
        The same of its GPU, which the kernels' memory pool is limited to. By default 80 % of what is free, or of what
        Dask tells of the GPUs of a cluster. Where neither GPU nor this is known, the plan is made without.
    workers : int, optional
        Threads, or workers of a cluster that is started; by default what is configured, of threads as many as cores.
    backend : {"auto", "numpy", "cupy"}
        Array library of the workers.
    missing : {"fill", "error"}
        What to do about chunks of Z that its store does not hold: take their entries as the fill value, with a
        :class:`~dbutterfly.errors.MissingChunksWarning`, or refuse them.
    decode : bool
        Whether a Zarr array is decoded by its attributes, as xarray does: ``scale_factor``, ``add_offset`` and
        ``_Unsigned`` are applied, and a ``_FillValue`` or ``missing_value`` is a missing entry, which is refused. The
        plan says so. False takes the numbers as they are stored.
    resume : bool
        Whether to continue, or return, what ``store`` holds of the same job; False computes it anew.
    progress : bool
        Whether to show progress on stderr.
    sweeps : int or "converged"
        Most sweeps over the factors after the run, for a matrix that fits in memory: each factor is fitted anew, the
        others being what they are, which never raises the error; the certificate is exact then. ``"converged"`` makes
        as many as it takes until no factor can lower the error any more, sped up by extrapolation; and of matrices up
        to about 450 x 450 (at rank one; smaller ones of higher ranks), from other starts near the result too, unless
        these lead back to it: that takes some seconds, and up to a minute of noise. Of a stack, those of each matrix.
    prove : bool
        Whether to raise the lower bound afterwards, from that of one cut to one of all cuts together, as :func:`prove`
        does. With ``sweeps="converged"`` the ratio often comes to one. Of a stack, those of all matrices.
    confirm : {"full"}, optional
        Whether all of a matrix that was sampled or probed is looked at once in the end, tile by tile, which turns the
        estimate of the error into the error itself. By default the estimate stays.
    check_fit : bool, optional
        Whether to look at some blocks before a new run, and warn (:class:`~dbutterfly.errors.FitWarning`) if they
        promise nothing of it, or much more in other orderings. By default where that takes little beside the run.
    shared : bool, optional
        Whether all matrices of a stack get one chain and one pair of orderings, which are looked for once. By default
        they do where they have one shape and dtype; False looks for those of each matrix. Where the certificate of a
        matrix does not confirm a tolerance, it gets a larger chain in either case.
    form : {"butterfly", "hierarchical", "auto"}, optional
        Form of the result. The hierarchical one is for kernels of points with themselves: clusters of rows and columns
        are halved again and again, blocks of clusters that are far apart are of low rank, others are divided down to
        dense leaves. It takes ``points``, or clusters of the order as stored, and ``tol`` or ``rank``; chains, trees,
        orderings, weights, sweeps, proofs and second reads are for butterflies. ``"auto"`` takes the form for which
        sampled blocks promise fewer values. By default that is the choice where both sides have points and ``tol`` is
        given, else a butterfly.
    eta : float, optional
        Of the hierarchical form: clusters are far apart where the smaller of their diameters is at most this times
        their distance, by default 4. A block that does not come to a low rank is divided nevertheless.
    leaf : int, optional
        Of the hierarchical form: most rows, or columns, of a cluster that is not divided, by default 64.
    symmetric : bool
        Of the hierarchical form: whether Z is symmetric or, if complex, Hermitian, as a sample says. The half above the
        diagonal is then neither read nor kept.

    Returns
    -------
    Factorization, StackedFactorization or HierarchicalFactorization
        Factors, operator, certificate and record; of a stack, those of each matrix. A matrix of a stack that cannot be
        factorized, such as one with a NaN, is named, by a FailedMatricesWarning too, and left out.

    Raises
    ------
    InputError
        If an argument cannot be used; NaN or infinite entries raise its subclass NonFiniteError, a chain that does not
        fit ChainError, an unreadable matrix SourceError.
    MemoryBudgetError
        If ``memory`` or ``device_memory`` is too small; the message gives one that works.
    StoreError
        If ``store`` cannot be written, (StoreMismatchError) holds another run, or (StoreBusyError) another run is at
        work in it; nothing in it is changed. CheckpointError if something that the run had stored is damaged or lost:
        the same call computes it again.
    ClusterError
        If a cluster does not start.
    TaskError
        If a task fails, each time that it is tried; the message names task and worker.

    References
    ----------
    Le, Zheng, Riccietti and Gribonval, "Fast learning of fast transforms, with guarantees", ICASSP 2022; Zheng,
    Riccietti and Gribonval, "Efficient identification of butterfly sparse matrix factorizations", SIMODS 5 (2023); Le,
    Zheng, Riccietti and Gribonval, "Butterfly factorization with error guarantees", arXiv 2411.04506.

    Examples
    --------
    >>> import dbutterfly as dbf
    >>> fact = dbf.factorize(dbf.matrices.dft(256), orderings=(None, "bitreversal"))
    >>> fact.certificate.error_bound < 1e-14
    True
    >>> len(fact.ks_values), fact.compression
    (8, 16.0)
    """
    check_backend(backend, client or cluster)
    request = Request(
        chain=chain,
        tree=tree,
        rank=rank,
        tol=tol,
        passes=passes,
        orderings=orderings,
        points=points,
        weights=weights,
        memory=memory,  # type: ignore[arg-type]  # it was read
        device_memory=device_memory,  # type: ignore[arg-type]
        backend=backend,
        missing=missing,
        sweeps=sweeps,
        prove=prove,
        has_store=store is not None,
        progress=progress,
        confirm=confirm,
        form=form,
        eta=eta,
        leaf=leaf,
        symmetric=symmetric,
    )
    found = open_matrices(source, decode=decode)
    check_form(request, is_stack=isinstance(found, StackSource))
    matrix = weigh_stack(found, weights) if isinstance(found, StackSource) else weigh(found, weights)
    if store is not None:
        check_apart(store, places_read(matrix))
    where: dict[str, Any] = {"client": client, "cluster": cluster, "memory": memory, "backend": backend}
    search = partial(_identify, chain=chain, orderings=orderings, progress=progress, **where)
    engine = choose_engine(client, workers, cluster)
    if isinstance(matrix, StackSource):
        kept: dict[str, Any] = {"store": store, "resume": resume, "progress": progress}
        return factorize_stack(request, matrix, engine, shared=shared, search=search, **kept)
    options: dict[str, Any] = {"store": store, "resume": resume, "check_fit": check_fit}
    return _factorize_matrix(request, matrix, engine, search, **options)


def _factorize_matrix(
    request: Request,
    matrix: MatrixSource,
    engine: Engine,
    search: Callable[..., IdentifiedOrderings],
    *,
    store: Any,
    resume: bool,
    check_fit: bool | None,
) -> Factorization | HierarchicalFactorization:
    """Factorize one matrix, in the form that it gets."""
    stored = open_store(store)
    known = stored if resume else None
    matrix = scale_as_stored(request, matrix, known)
    form, request, prediction = choose_form(request, matrix, engine, known)
    kept: dict[str, Any] = {"store": store, "stored": stored, "resume": resume}
    if form == HIERARCHICAL:
        return factorize_hierarchical(request, matrix, engine, check_fit=check_fit, prediction=prediction, **kept)
    check_store(request, matrix, stored)
    request = choose_orderings(request, matrix, engine, known)
    request = find_orderings(request, matrix, known, lambda rank: search(matrix, rank=rank))
    with open_run(request, matrix, engine, **kept) as run:
        if run.result is None and known is None:
            look_before(run.job.source, run.job.plan, request.tol, check_fit)
        result = run.result or complete_run(run, engine, progress=request.progress)
        result = confirm_result(result, matrix, request, engine)
    where = {"memory": request.memory, "place": store, "progress": request.progress}
    return complete_proof(result, rescale(matrix, 0), engine, **where) if request.prove else result


def _identify(*args: Any, **options: Any) -> IdentifiedOrderings:
    """Find orderings by the room that does it, which is imported when there are any to be found."""
    from ..identification.identify import identify

    return identify(*args, **options)
