"""Results for stacks in stores: the arrays of a result, and the result from them.

/batches/B/factors/l              (n*a, b, c, d)  factors of the n matrices of batch B, one behind the other
/batches/B/certificates           (n, 4)          error bound, lower bound, exact, norm of each
/batches/B/cuts                   (n, J - 1)      errors of the cuts of each
/batches/B/records                (n, 128)        what sweeps and proofs have left of each, where there were some
/batches/B/orderings/rows, cols                   index arrays, where a side has one
/tasks                            (tasks, 9)      records of the tasks of the first round
/weights/rows, cols                               weights of the rows and columns, where a side has some
/alone/K                                          the run of a matrix by itself
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import StoreError
from ...sources.places_read import places_read
from ...storage.manifest import STACK, Manifest, index_arrays
from ...storage.run_store import RunStore
from ...storage.saving import save_arrays
from ...structure.chain import Chain
from ...structure.tree import split_tree
from ...structure.weights import Weights
from ..manifests import digest_weights, running_version
from .batch_entries import batch_entry, from_runs, orderings_of_entry
from .certificate import Certificate
from .factorization import Factorization, load
from .factorized_batch import FactorizedBatch
from .packed_records import RECORD_WORDS, pack_record, unpack_record
from .stacked import StackedFactorization

__all__ = ["arrays_of_result", "load_stack", "result_entry", "save_stack"]


def arrays_of_result(result: StackedFactorization) -> dict[str, NDArray[Any]]:
    """Arrays of a result, by their names in a store."""
    arrays: dict[str, NDArray[Any]] = {}
    for at, batch in enumerate(result.batches):
        place = f"batches/{at}"
        for index, values in enumerate(batch.ks_values):
            arrays[f"{place}/factors/{index}"] = values.reshape(-1, *values.shape[2:])
        rows = [(found.error_bound, found.lower_bound, found.exact, found.norm) for found in batch.certificates]
        arrays[f"{place}/certificates"] = np.array(rows, np.float64)
        if batch.records:
            pairs = zip(batch.records, batch.certificates, strict=True)
            arrays[f"{place}/records"] = np.stack([pack_record(record, found) for record, found in pairs])
        if batch.cuts.size:
            arrays[f"{place}/cuts"] = np.asarray(batch.cuts, np.float64)
        for side, values in index_arrays(batch.orderings.sides).items():
            arrays[f"{place}/orderings/{side}"] = values
    for name in digest_weights(result.weights):
        arrays[f"weights/{name}"] = getattr(result.weights, name)
    return arrays


def result_entry(result: StackedFactorization) -> dict[str, Any]:
    """What the manifest says of a result."""
    return {
        "batches": [
            batch_entry(
                batch.numbers,
                batch.chain,
                batch.tree,
                batch.orderings,
                dtype=batch.ks_values[0].dtype.name,
                guarantee=batch.certificates[0].guarantee,
                **({"has_records": True} if batch.records else {}),
            )
            for batch in result.batches
        ],
        "alone": sorted(result.alone),
        "failed": {str(number): text for number, text in result.failed.items()},
        "names": None if result.names is None else list(result.names),
        "weights": digest_weights(result.weights),
        "shapes": [[*shape, len(list(group))] for shape, group in itertools.groupby(result.shapes)],
    }


def save_stack(result: StackedFactorization, store: Any, *, overwrite: bool) -> None:
    """Write a result; see :meth:`dbutterfly.StackedFactorization.save`."""
    stack = {"asked": {}, "rounds": [], "result": result_entry(result)}
    manifest = Manifest(kind=STACK, version=running_version(), stack=stack)
    arrays = arrays_of_result(result)
    save_arrays(
        store,
        manifest,
        arrays,
        sources=places_read(list(arrays.values())),
        overwrite=overwrite,
        record=result.record,
    )


def load_stack(run: RunStore) -> StackedFactorization:
    """Result of a complete run for a stack.

    Raises
    ------
    CheckpointError
        If an array of it is missing or damaged.
    StoreError
        If the manifest is not that of a stack, or a matrix that was a run by itself is gone.
    """
    run.check_has("stack", "record")
    manifest = run.manifest
    assert manifest.stack is not None
    assert manifest.record is not None
    entry = manifest.stack.get("result")
    if entry is None:
        raise StoreError(f"store={run.group.store_path}: its manifest has no result; restore it from a backup")
    batches = tuple(_load_batch(run, at, batch) for at, batch in enumerate(entry["batches"]))
    shapes = tuple((rows, cols) for rows, cols, count in entry["shapes"] for _ in range(count))
    failed = {int(number): text for number, text in entry["failed"].items()}
    alone = {number: _load_alone(run, number) for number in entry["alone"]}
    numbers = sorted([*failed, *alone, *(k for batch in batches for k in batch.numbers.tolist())])
    if numbers != list(range(len(shapes))):
        raise StoreError(
            f"store={run.group.store_path}: its manifest has not each of its {len(shapes)} matrices once; restore it "
            "from a backup"
        )
    names = None if entry["names"] is None else tuple(entry["names"])
    sizes = dict(zip(("rows", "cols"), shapes[0], strict=True))
    sides = {name: run.read_array(f"weights/{name}", (sizes[name],), "float64") for name in entry.get("weights", {})}
    weights = Weights(**sides) if sides else None
    batches = tuple(replace(batch, certificates=_mark(batch.certificates, weights)) for batch in batches)
    return StackedFactorization(shapes, batches, failed, manifest.record, names, alone, weights)


def _mark(certificates: tuple[Certificate, ...], weights: Weights | None) -> tuple[Certificate, ...]:
    """Certificates of which the errors count by weights, where there are some."""
    return certificates if weights is None else tuple(replace(each, weighted=True) for each in certificates)


def _load_batch(run: RunStore, at: int, entry: dict[str, Any]) -> FactorizedBatch:
    chain, numbers, place = Chain(entry["chain"]), from_runs(entry["numbers"]), f"batches/{at}"
    count, cuts = int(numbers.size), len(chain) - 1
    factors = []
    for index, (a, b, c, d) in enumerate(chain):
        values = run.read_array(f"{place}/factors/{index}", (count * a, b, c, d), entry["dtype"])
        factors.append(values.reshape(count, a, b, c, d))
    rows = run.read_array(f"{place}/certificates", (count, 4), "float64")
    certificates = tuple(
        Certificate(bound, lower, bool(exact), norm, guarantee=entry.get("guarantee"))
        for bound, lower, exact, norm in rows.tolist()
    )
    records: tuple[dict[str, Any], ...] = ()
    if entry.get("has_records"):
        packed = run.read_array(f"{place}/records", (count, RECORD_WORDS), "float64")
        unpacked = [unpack_record(row, found) for row, found in zip(packed, certificates, strict=True)]
        records, certificates = (tuple(each) for each in zip(*unpacked, strict=True))
    return FactorizedBatch(
        numbers,
        tuple(factors),
        chain,
        split_tree(len(chain), entry["tree"]),
        orderings_of_entry(run, f"{place}/orderings", entry),
        certificates,
        run.read_array(f"{place}/cuts", (count, cuts), "float64") if cuts else np.zeros((count, 0)),
        records,
    )


def _load_alone(run: RunStore, number: int) -> Factorization:
    found = RunStore.open(run.place(f"alone/{number}"))
    if found is None or not found.is_complete:
        raise StoreError(
            f"store={run.group.store_path}: the run of matrix {number} in it is missing or has not ended; restore it "
            "from a backup, or call factorize with resume=False"
        )
    return load(found)
