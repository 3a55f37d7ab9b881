"""Begin a stored run, or continue it."""

from __future__ import annotations

import hashlib
from importlib import metadata
from typing import Any

from ..errors import StoreError, StoreMismatchError
from ..identification.identify import are_unknown
from ..identification.result import IdentifiedOrderings
from ..planning.plan import Plan
from ..sources.base import MatrixSource
from ..storage.run_store import RunStore
from ..structure.tree import split_tree
from .request import Request, layout_of
from .results.factorization import as_lists, index_arrays, manifest_of

__all__ = ["build_manifest", "check_chunks", "check_same", "create_or_open", "installed_version", "load_identified"]


SAME_RUN = ("dtype", "chain", "tree", "orderings", "matrix", "passes", "tol", "sweeps")
"""Entries of the manifest in which a resumed run must agree with the stored one."""


def installed_version() -> str:
    """Version of the installed package; the top package, which states it, imports this module."""
    try:
        return metadata.version("dbutterfly")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "not installed"


def load_identified(run: RunStore | None, source: MatrixSource, orderings: Any) -> IdentifiedOrderings | None:
    """Orderings of both sides that an earlier call has identified for the run of the same matrix."""
    if run is None or "identified" not in run.manifest or not are_unknown(orderings):
        return None
    if run.manifest["matrix"]["fingerprint"] != source.fingerprint():
        return None  # another matrix: the store is refused once its plan is known
    try:
        return IdentifiedOrderings.from_json(run.manifest["identified"], run.side("rows"), run.side("cols"))
    except StoreError:  # the call was cut off before it had stored them
        return None


def create_or_open(store: Any, manifest: dict[str, Any]) -> RunStore:
    """A new run, or that of another call which has begun it at the same moment: the lease decides."""
    try:
        return RunStore.create(store, manifest)
    except StoreError:
        run = RunStore.open(store, mode="r+")
        if run is None:
            raise
        return run


def check_same(run: RunStore, manifest: dict[str, Any], planned: Plan) -> None:
    """Refuse a store of another job; where the arguments leave the root cut free, that of the stored run is asked."""
    factors = len(planned.chain)
    root = layout_of(run).root if "layout" in run.manifest else 0  # what was saved was not run here, and has none
    if not planned.tree_is_given and 1 <= root < factors:
        manifest = manifest | {"tree": as_lists(split_tree(factors, "balanced", root))}
    run.check_same(manifest, SAME_RUN)


def check_chunks(source: MatrixSource, run: RunStore) -> None:
    """Refuse to go on with a matrix that has lost or gained chunks since the run began."""
    before = run.manifest["plan"]["chunks"]["missing"]
    if before != source.missing_chunks:
        raise StoreMismatchError(
            f"{source.name} had {before} missing chunks when the run in store={run.group.store_path} began, and has "
            f"{source.missing_chunks} now; put the matrix back as it was, or begin anew with resume=False"
        )


def build_manifest(source: MatrixSource, planned: Plan, settings: Request) -> dict[str, Any]:
    """Manifest of a run that begins."""
    sides = index_arrays(planned.orderings)
    digests = {name: hashlib.blake2b(side.tobytes(), digest_size=16).hexdigest() for name, side in sides.items()}
    return {
        **manifest_of(planned.chain, planned.tree, planned.orderings, planned.source.work_dtype),
        "version": installed_version(),
        "matrix": {
            "shape": list(source.shape),
            "dtype": source.dtype.name,
            "fingerprint": source.fingerprint(),
            "orderings": digests,
        },
        "passes": planned.passes,
        "tol": settings.tol,
        "sweeps": settings.sweeps or None,
        "layout": list(planned.layout),
        "plan": planned.to_json(),
    }
